package helm

import (
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

func TestInstallUpgradeAndUninstall(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Chart.Spec.Version = "1.x"
		obj.Spec.Values = values("value: mine")
	})
	e.start()
	e.becomes("web", "False SourceNotReady: HelmChart 'NS/NS-web' is not ready: it has no artifact yet")
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.0.0")
	e.Expect(e.value("web")).To(Equal("mine"))
	e.Expect(e.records("web")).To(Equal([]string{"v1 deployed"}))
	e.Expect(e.history("web")).To(Equal([]string{"v1 deployed by install"}))
	status := e.get("web").Status
	e.Expect(status.HelmChart).To(Equal(e.namespace + "/" + e.namespace + "-web"))
	e.Expect(status.StorageNamespace).To(Equal(e.namespace))
	e.Expect(status.LastAttemptedRevision).To(Equal("1.0.0"))
	e.Expect(status.Inventory.Entries).To(HaveLen(1))
	e.Expect(status.Inventory.Entries[0].ID).To(Equal(e.namespace + "_web__ConfigMap"))
	e.Expect(e.published("Helm install succeeded")).To(HavePrefix("Normal InstallSucceeded "))

	e.push("web", appChart("1.1.0", nil))
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v2 with chart app@1.1.0")
	e.Expect(e.history("web")).To(Equal([]string{"v2 deployed by upgrade", "v1 superseded by install"}))

	before := e.get("web")
	e.request("1")
	after := e.get("web")
	after.Status.LastHandledReconcileAt = before.Status.LastHandledReconcileAt
	e.Expect(after.Status).To(Equal(before.Status))
	e.Expect(e.records("web")).To(Equal([]string{"v2 deployed", "v1 superseded"}))

	obj := e.get("web")
	e.Expect(e.hub.Delete(t.Context(), obj)).To(Succeed())
	e.Eventually(func() bool {
		return apierrors.IsNotFound(e.hub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj))
	}, "2m", "50ms").Should(BeTrue())
	e.Expect(e.value("web")).To(BeEmpty())
	e.Expect(e.records("web")).To(BeEmpty())
	gone := &sourcev1.HelmChart{}
	e.Expect(apierrors.IsNotFound(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: e.namespace + "-web"}, gone))).To(BeTrue())
}
