package helm

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
)

// inBackground runs the helm CLI with the chart, and returns what waits for its end.
func (e *env) inBackground(chart files, args ...string) (ends func()) {
	e.t.Helper()
	path := filepath.Join(e.t.TempDir(), "chart.tgz")
	e.Expect(os.WriteFile(path, e.pack(chart), 0o600)).To(Succeed())
	done := make(chan error, 1)
	go func() {
		_, err := e.try(append(args, path)...)
		done <- err
	}()
	return func() {
		e.t.Helper()
		e.Expect(<-done).To(Succeed())
	}
}

// keptBack is a chart whose CRD is waited for until it is let go.
func keptBack(kind, plural string) (files, func(*helmv2.HelmRelease)) {
	return files{"crds/held.yaml": ownCRD(kind, plural)}, func(obj *helmv2.HelmRelease) {
		obj.Spec.HealthCheckExprs = []meta.CustomHealthCheck{{
			APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition",
			HealthCheckExpressions: meta.HealthCheckExpressions{Current: "'go' in metadata.labels"},
		}}
	}
}

// crd waits for the test's own CRD.
func (e *env) crd(plural string) *unstructured.Unstructured {
	e.t.Helper()
	made := &unstructured.Unstructured{}
	made.SetAPIVersion("apiextensions.k8s.io/v1")
	made.SetKind("CustomResourceDefinition")
	e.Eventually(func() error {
		return e.hub.Get(e.t.Context(), client.ObjectKey{Name: plural + "." + e.namespace + ".example.com"}, made)
	}, within, "20ms").Should(Succeed())
	return made
}

func (e *env) letGo(plural string) {
	e.t.Helper()
	e.Expect(e.hub.Patch(e.t.Context(), e.crd(plural), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"go":"on"}}}`)))).To(Succeed())
}

// Who installs by hand what a HelmRelease was about to install is left alone until
// that is done: it is no failure of an install that was never begun, and nothing is
// undone.
func TestAnInstallThatSomebodyElseHasBegun(t *testing.T) {
	e := newEnv(t)
	chart, waits := keptBack("Kept", "kepts")
	e.release("web", waits, func(obj *helmv2.HelmRelease) {
		obj.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{Retries: 1}}
	})
	e.start()
	e.push("web", appChart("1.0.0", chart))
	e.crd("kepts")
	ends := e.inBackground(appChart("0.9.0", files{"templates/pre.yaml": hookPod("pre-install", "0")}), "install", "web")
	e.another("web-pre-install")
	e.letGo("kepts")
	e.becomes("web", "False InstallFailed: Helm install failed for release NS/web with chart app@1.0.0: ")
	e.Expect(e.get("web").Status.InstallFailures).To(BeZero())
	e.Expect(e.get("web").Status.History).To(BeEmpty(), "the release is not ours")
	e.Expect(e.records("web")).To(Equal([]string{"v1 pending-install"}))

	e.finish(t.Context(), "web-pre-install", true)
	ends()
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v2 with chart app@1.0.0")
	e.Expect(e.records("web")).To(Equal([]string{"v2 deployed", "v1 superseded"}))
}

func TestAnUpgradeThatSomebodyElseHasBegun(t *testing.T) {
	e := newEnv(t)
	chart, waits := keptBack("Moved", "moveds")
	e.release("web", waits, func(obj *helmv2.HelmRelease) {
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{Retries: 1}}
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.push("web", appChart("1.1.0", chart))
	e.crd("moveds")
	ends := e.inBackground(appChart("0.9.0", files{"templates/pre.yaml": hookPod("pre-upgrade", "0")}), "upgrade", "web")
	e.another("web-pre-upgrade")
	e.letGo("moveds")
	e.becomes("web", "False UpgradeFailed: Helm upgrade failed for release NS/web with chart app@1.1.0: another operation (install/upgrade/rollback) is in progress")
	e.Expect(e.get("web").Status.UpgradeFailures).To(BeZero())
	e.Expect(e.history("web")).To(Equal([]string{"v1 deployed by install"}))
	e.Expect(e.records("web")).To(Equal([]string{"v2 pending-upgrade", "v1 deployed"}))

	e.finish(t.Context(), "web-pre-upgrade", true)
	ends()
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v3 with chart app@1.1.0")
	e.Expect(e.records("web")).To(Equal([]string{"v3 deployed", "v2 superseded", "v1 superseded"}))
}
