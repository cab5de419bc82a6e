package e2e

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// A kind that no controller serves is left alone: it gets no condition and no
// finalizer. An ExternalArtifact is its maker's.
func TestKindsWithoutAControllerAreLeftAlone(t *testing.T) {
	n := newTenant(t, map[string]string{"a.yaml": configMap("a", "1")})
	samples := []string{
		"externalartifact",
	}
	var made []*unstructured.Unstructured
	for _, sample := range samples {
		content, err := os.ReadFile(filepath.Join("..", "config", "samples", sample+".yaml"))
		n.Expect(err).NotTo(HaveOccurred())
		obj := &unstructured.Unstructured{}
		n.Expect(yaml.Unmarshal(content, &obj.Object)).To(Succeed(), sample)
		obj.SetNamespace(n.namespace)
		n.create(obj)
		made = append(made, obj)
	}
	// Somebody else's work, begun later, is done.
	n.cluster("one")
	ks := n.kustomization("one", "one")
	n.create(n.source(), ks)
	n.becomes(ks, HavePrefix("True "))
	for _, obj := range made {
		n.Expect(shared.onHub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)).To(Succeed())
		conditions, found, err := unstructured.NestedSlice(obj.Object, "status", "conditions")
		n.Expect(err).NotTo(HaveOccurred())
		n.Expect(found).To(BeFalse(), "%s has %v", obj.GetKind(), conditions)
		n.Expect(obj.GetFinalizers()).To(BeEmpty(), obj.GetKind())
	}
}

// A sample of a kind that is served asks for nothing that is not.
func TestSamplesOfServedKindsDoNotStall(t *testing.T) {
	n := newTenant(t, map[string]string{"a.yaml": configMap("a", "1")})
	for _, sample := range []string{"gitrepository", "ocirepository", "helmrepository", "helmchart", "bucket", "imagerepository", "imagepolicy", "imageupdateautomation", "remotecluster", "agentpool", "kustomization-storefront", "helmrelease"} {
		content, err := os.ReadFile(filepath.Join("..", "config", "samples", sample+".yaml"))
		n.Expect(err).NotTo(HaveOccurred())
		obj := &unstructured.Unstructured{}
		n.Expect(yaml.Unmarshal(content, &obj.Object)).To(Succeed(), sample)
		obj.SetNamespace(n.namespace)
		n.create(obj)
		n.Eventually(func() []any {
			n.Expect(shared.onHub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)).To(Succeed())
			conditions, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
			return conditions
		}).Should(And(Not(BeEmpty()),
			Not(ContainElement(HaveKeyWithValue("reason", BeElementOf("UnsupportedField", "NoAgent"))))), sample)
	}
}
