package conformance

import (
	"encoding/json"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// An object with every field of a schema comes back from its Go type as it
// went in: nothing is lost, renamed or made up.
func TestGoTypesHoldEveryField(t *testing.T) {
	scheme := allKinds(NewWithT(t))
	for name, crd := range readCRDs(NewWithT(t), bases) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			gvk := schema.GroupVersionKind{Group: crd.Spec.Group, Version: storage(crd).Name, Kind: crd.Spec.Names.Kind}
			want := full(storage(crd).Schema.OpenAPIV3Schema).(map[string]any)
			want["apiVersion"], want["kind"] = gvk.GroupVersion().String(), gvk.Kind
			want["metadata"] = map[string]any{"name": "full"}

			typed, err := scheme.New(gvk)
			g.Expect(err).NotTo(HaveOccurred())
			encoded, err := json.Marshal(want)
			g.Expect(err).NotTo(HaveOccurred())
			unknown, err := kjson.UnmarshalStrict(encoded, typed)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(unknown).To(BeEmpty())

			// Both ways to write it, the one of clients and the one of patches.
			encoded, err = json.Marshal(typed)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(decode(encoded)).To(Equal(any(want)))
			fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
			g.Expect(err).NotTo(HaveOccurred())
			encoded, err = json.Marshal(fields)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(decode(encoded)).To(Equal(any(want)))
			g.Expect(typed.DeepCopyObject()).To(Equal(typed))
		})
	}
}
