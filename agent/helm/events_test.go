package helm

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// Each action is told of, also where the condition Ready says what followed it.
func TestEventsTellOfEachAction(t *testing.T) {
	tested := files{"templates/test.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-test, annotations: {helm.sh/hook: test}}\n"}
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Timeout = second()
		obj.Spec.Test = &helmv2.Test{Enable: true}
		obj.Spec.DriftDetection = &helmv2.DriftDetection{Mode: helmv2.DriftDetectionEnabled}
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{RemediateLastFailure: ptr.To(true)}}
	})
	e.start()
	e.published("Normal HelmChartCreated HelmChart '" + e.namespace + "/" + e.namespace + "-web' of HelmRepository 'repo' created")
	e.push("web", appChart("1.0.0", tested))
	e.published("Normal InstallSucceeded Helm install succeeded for release " + e.namespace + "/web.v1 with chart app@1.0.0")
	e.published("Normal TestSucceeded Helm test succeeded for release " + e.namespace + "/web.v1 with chart app@1.0.0")
	e.becomes("web", "True TestSucceeded")

	var one corev1.ConfigMap
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "web"}, &one)).To(Succeed())
	one.Data["value"] = "by hand"
	e.Expect(e.hub.Update(t.Context(), &one)).To(Succeed())
	e.request("1")
	e.published("Warning DriftDetected ")
	e.published("Normal DriftCorrected Cluster state of release " + e.namespace + "/web has been corrected")

	e.push("web", appChart("1.1.0", files{"templates/stuck.yaml": stuck}))
	failed := e.published("Warning UpgradeFailed Helm upgrade failed for release " + e.namespace + "/web with chart app@1.1.0: ")
	e.Expect(failed).To(ContainSubstring("\n\nLast Helm logs:\n\n"))
	e.published("Normal RollbackSucceeded Helm rollback remediation succeeded for release " + e.namespace + "/web.v3 with chart app@1.0.0")
	e.becomes("web", "False RetriesExceeded")
	e.Expect(e.ready("web")).NotTo(ContainSubstring("Last Helm logs"))

	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.Chart.Spec.Version = "1.x" })
	e.published("Normal HelmChartConfigured ")
	e.Expect(e.hub.Delete(t.Context(), e.get("web"))).To(Succeed())
	e.published("Normal UninstallSucceeded Helm uninstall succeeded for release " + e.namespace + "/web with chart app@")
	e.published("Normal HelmChartDeleted ")
}
