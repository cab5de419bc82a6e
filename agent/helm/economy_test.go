package helm

import (
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
)

// told waits for the write of the HelmRelease that answers the request, and
// returns what Ready has said in each write before it, with the latest snapshot.
func told(e *env, from watch.Interface, request string) []string {
	e.t.Helper()
	said := []string{}
	for event := range from.ResultChan() {
		obj, ok := event.Object.(*helmv2.HelmRelease)
		if !ok || obj.Annotations[meta.ReconcileRequestAnnotation] == request {
			return said
		}
		ready := apimeta.FindStatusCondition(obj.Status.Conditions, meta.ReadyCondition)
		latest := "nothing"
		if len(obj.Status.History) > 0 {
			latest = obj.Status.History[0].Status
		}
		said = append(said, string(ready.Status)+" "+ready.Reason+", "+latest)
	}
	return said
}

func TestAnActionCostsTheHubTwoWritesAndTheTargetTwoLists(t *testing.T) {
	e := newEnv(t)
	proxy := e.front()
	e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.KubeConfig = prod() })
	e.start()
	e.becomes("web", "False SourceNotReady")
	hub, err := client.NewWithWatch(shared.ControlPlane(t).Config(), client.Options{Scheme: e.scheme})
	e.Expect(err).NotTo(HaveOccurred())
	writes, err := hub.Watch(t.Context(), &helmv2.HelmReleaseList{}, client.InNamespace(e.namespace), &client.ListOptions{})
	e.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(writes.Stop)
	lists := func() int {
		return len(slices.DeleteFunc(asked(proxy), func(request string) bool {
			return !strings.HasPrefix(request, "list ") || !strings.HasSuffix(request, "/namespaces/"+e.namespace+"/secrets")
		}))
	}

	proxy.Reset()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.Expect(lists()).To(Equal(2), "there was nothing to read for the action")
	e.Expect(asked(proxy)).NotTo(ContainElement(ContainSubstring("openapi")), "the server validates")
	e.request("1")
	e.Expect(told(e, writes, "1")).To(Equal([]string{
		"False SourceNotReady, nothing", // as it was
		"Unknown Progressing, pending-install",
		"True InstallSucceeded, deployed",
	}))

	e.Expect((<-writes.ResultChan()).Type).To(Equal(watch.Modified)) // the answer
	e.Eventually(func() []string { return asked(proxy) }).Should(ContainElement("watch /api/v1/namespaces/" + e.namespace + "/secrets"))
	proxy.Reset()
	e.push("web", appChart("1.1.0", nil))
	e.becomes("web", "True UpgradeSucceeded")
	e.Expect(lists()).To(Equal(2), "the decision is made by what is remembered")
	e.Expect(asked(proxy)).NotTo(ContainElement(ContainSubstring("openapi")))
	e.request("2")
	e.Expect(told(e, writes, "2")).To(Equal([]string{
		"Unknown Progressing, pending-upgrade",
		"True UpgradeSucceeded, deployed",
	}))
}
