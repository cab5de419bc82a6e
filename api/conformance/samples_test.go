package conformance

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestThereIsASampleOfEachKind(t *testing.T) {
	g := NewWithT(t)
	var kinds, want []string
	for _, u := range readObjects(g, samples) {
		kinds = append(kinds, u.GetKind())
	}
	for kind := range served {
		want = append(want, kind)
	}
	g.Expect(kinds).To(ConsistOf(want))
}

// Samples are what people start from: they name the current version, look as
// often as the requirements say, and have everything on that keeps a fleet
// safe.
func TestSamplesAreAppliedAndGoodToStartFrom(t *testing.T) {
	c := kube(t)
	for name, manifest := range readObjects(NewWithT(t), samples) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(manifest.GroupVersionKind().Version).To(Equal(served[manifest.GetKind()][0]))
			apply(t, c, manifest, "somebody")
			remove(t, c, manifest)
			spec := readAs(t, c, manifest, manifest.GroupVersionKind().Version).Object["spec"].(map[string]any)

			least, most := time.Minute, 5*time.Minute
			switch manifest.GetKind() {
			case "Kustomization":
				least, most = 5*time.Minute, 10*time.Minute
				g.Expect(spec).To(HaveKeyWithValue("prune", true))
				g.Expect(spec).To(HaveKeyWithValue("validation", "server"))
				g.Expect(spec).To(HaveKeyWithValue("healthChecks", Not(BeEmpty())))
			case "HelmRelease":
				least, most = 5*time.Minute, 10*time.Minute
				g.Expect(spec).To(HaveKeyWithValue("driftDetection", HaveKeyWithValue("mode", "enabled")))
			}
			text, found, err := unstructured.NestedString(spec, "interval")
			g.Expect(err).NotTo(HaveOccurred())
			if found {
				interval, err := time.ParseDuration(text)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(interval).To(And(BeNumerically(">=", least), BeNumerically("<=", most)))
			}
		})
	}
}
