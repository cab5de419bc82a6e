package kustomize

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// configMaps is a manifest of many, whose names are padded.
func configMaps(count, padding int) string {
	var all strings.Builder
	for i := range count {
		fmt.Fprintf(&all, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: many-%05d%s, namespace: NS}\n", i, strings.Repeat("x", padding))
	}
	return all.String()
}

// Ten thousand objects of one Kustomization are applied, and others do not wait
// for that.
func TestTenThousandObjects(t *testing.T) {
	const many = 10_000
	e := newEnv(t)
	manifest := configMaps(many, 0)
	e.push("1", "many/all.yaml", manifest, "good/one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.Path = "many" })
	e.start()
	e.Eventually(func() int { return len(e.inventory()) }, within, "50ms").Should(Equal(many), "written ahead")
	e.Expect(e.ready("web")).NotTo(HavePrefix("True"))
	e.kustomization("good", func(obj *kustomizev1.Kustomization) { obj.Spec.Path = "good" })
	e.becomes("good", "True")
	e.Expect(e.ready("web")).NotTo(HavePrefix("True"), "still at it")

	e.Eventually(func() string { return e.ready("web") }, "5m", "500ms").Should(HavePrefix("True ReconciliationSucceeded"))
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMapList"})
	e.Expect(e.hub.List(t.Context(), list, client.InNamespace(e.namespace), client.MatchingLabels{"kustomize.toolkit.fluxcd.io/name": "web"})).To(Succeed())
	e.Expect(list.Items).To(HaveLen(many))
}

// An inventory that the API server does not take stops the run before anything is
// applied, and says so.
func TestMoreObjectsThanAnInventoryHolds(t *testing.T) {
	e := newEnv(t)
	const padding = 230
	e.push("1", "many/all.yaml", configMaps(8_000, padding), "good/one.yaml", configMap("one", "NS", "a"))
	for _, name := range []string{"many", "good"} {
		e.kustomization(name, func(obj *kustomizev1.Kustomization) {
			obj.Spec.Path, obj.Spec.Validation = name, kustomizev1.ValidationNone
			obj.Spec.RetryInterval.Duration = time.Hour
		})
	}
	e.start()
	e.becomes("good", "True")
	e.Eventually(func() string { return e.ready("many") }, within, "50ms").Should(And(
		HavePrefix("False ReconciliationFailed: writing the inventory of 8000 objects into the status: "),
		HaveSuffix(": make several Kustomizations of this one")))
	var list corev1.ConfigMapList
	e.Expect(e.hub.List(t.Context(), &list, client.InNamespace(e.namespace), client.MatchingLabels{"kustomize.toolkit.fluxcd.io/name": "many"})).To(Succeed())
	e.Expect(list.Items).To(BeEmpty(), "nothing that nobody would know of")
}
