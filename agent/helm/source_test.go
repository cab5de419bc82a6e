package helm

import (
	"testing"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// stall plays the hub for a HelmChart whose spec it cannot make a chart of: the
// generation is observed, and the artifact of the one before stays.
func (e *env) stall(name, why string) {
	e.t.Helper()
	e.EventuallyWithOffset(1, func() error {
		obj := &sourcev1.HelmChart{}
		if err := e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: e.namespace + "-" + name}, obj); err != nil {
			return err
		}
		e.Expect(obj.Status.Artifact).NotTo(BeNil())
		obj.Status.ObservedGeneration = obj.Generation
		for kind, status := range map[string]metav1.ConditionStatus{meta.ReadyCondition: "False", meta.StalledCondition: "True"} {
			apimeta.SetStatusCondition(&obj.Status.Conditions, metav1.Condition{
				Type: kind, Status: status, Reason: "ValuesFilesError", Message: why, ObservedGeneration: obj.Generation,
			})
		}
		return e.hub.Status().Update(e.t.Context(), obj)
	}, "20s", "20ms").Should(Succeed())
}

func TestAChartWhoseSourceIsStalledIsNotUsed(t *testing.T) {
	e := newEnv(t)
	e.options.RequeueDependency = second().Duration
	e.release("web")
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	chart := &sourcev1.HelmChart{}
	generation := func() int64 {
		e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: e.namespace + "-web"}, chart)).To(Succeed())
		return chart.Generation
	}
	before := generation()
	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.Chart.Spec.ValuesFiles = []string{"typo.yaml"} })
	e.Eventually(generation, "20s", "20ms").Should(BeNumerically(">", before))
	e.stall("web", "no values file found at path 'typo.yaml'")
	e.becomes("web", "False SourceNotReady: HelmChart 'NS/NS-web' is not ready: no values file found at path 'typo.yaml'")

	// What is put right counts at once.
	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.Chart.Spec.ValuesFiles = nil })
	e.Eventually(generation, "20s", "20ms").Should(BeNumerically(">", before+1))
	chart.Status.Conditions, chart.Status.ObservedGeneration = nil, chart.Generation
	e.Expect(e.hub.Status().Update(t.Context(), chart)).To(Succeed())
	e.becomes("web", "True InstallSucceeded")
	e.Expect(e.records("web")).To(Equal([]string{"v1 deployed"}))
}
