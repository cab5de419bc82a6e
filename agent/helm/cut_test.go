package helm

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// connected is the condition Connected of the target prod.
func (e *env) connected() metav1.ConditionStatus {
	e.t.Helper()
	var record fleetv1.RemoteCluster
	e.Expect(e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "prod"}, &record)).To(Succeed())
	if found := apimeta.FindStatusCondition(record.Status.Conditions, fleetv1.ConnectedCondition); found != nil {
		return found.Status
	}
	return metav1.ConditionUnknown
}

// another waits for a Pod of that name that is not one of those before.
func (e *env) another(name string, before ...types.UID) types.UID {
	e.t.Helper()
	found := &corev1.Pod{}
	e.EventuallyWithOffset(1, func() bool {
		return e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: name}, found) == nil && !slices.Contains(before, found.UID)
	}, within, "20ms").Should(BeTrue())
	return found.UID
}

// waitsFor waits until the agent asks for the Pod, which is there: the answer to its
// making has come, so that a cut hits the wait, and not the making.
func (e *env) waitsFor(name string, by *testenv.Proxy) {
	e.t.Helper()
	by.Reset()
	e.EventuallyWithOffset(1, func() bool {
		return slices.ContainsFunc(by.Records(), func(r testenv.Record) bool {
			return r.Verb == "get" && r.Resource == "pods" && r.Name == name && r.Status == http.StatusOK
		})
	}, within, "20ms").Should(BeTrue())
}

func TestATargetThatGoesAwayInTheMiddleOfAnUpgrade(t *testing.T) {
	e := newEnv(t)
	// It is not lost while the cluster is away, on however busy a machine.
	e.fence.Duration, e.fence.Request = 20*time.Second, 2*time.Second
	proxy := e.front()
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.KubeConfig = prod()
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{}}
	})
	stop := e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	hook := files{"templates/pre.yaml": hookPod("pre-upgrade", "0"), "values.yaml": "value: new"}

	// It comes back, and nobody has acted on it meanwhile: the action goes on.
	e.push("web", appChart("1.1.0", hook))
	first := e.another("web-pre-upgrade")
	e.waitsFor("web-pre-upgrade", proxy)
	proxy.Drop()
	e.Eventually(e.connected, "2m", "50ms").Should(Equal(metav1.ConditionFalse))
	e.Expect(proxy.Heal()).To(Succeed())
	e.Eventually(e.connected, "2m", "50ms").Should(Equal(metav1.ConditionTrue))
	e.Expect(e.another("web-pre-upgrade")).To(Equal(first))
	e.finish(t.Context(), "web-pre-upgrade", true)
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v2 with chart app@1.1.0")

	// It goes away, and so does the agent: the next one unlocks the release and
	// does it all again.
	e.push("web", appChart("1.2.0", hook))
	second := e.another("web-pre-upgrade", first)
	e.waitsFor("web-pre-upgrade", proxy)
	proxy.Drop()
	stop()
	e.Expect(e.records("web")).To(Equal([]string{"v3 pending-upgrade", "v2 deployed", "v1 superseded"}))
	e.Expect(proxy.Heal()).To(Succeed())
	e.identity = "agent-0_2"
	e.start()
	e.another("web-pre-upgrade", first, second)
	e.finish(t.Context(), "web-pre-upgrade", true)
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v4 with chart app@1.2.0")
	e.Expect(e.value("web")).To(Equal("new"))
	e.Expect(e.get("web").Status.Failures).To(BeZero(), "nobody has failed")
	e.Expect(e.condition("web", "Remediated")).To(BeEmpty())
	e.Expect(e.records("web")).To(Equal([]string{"v4 deployed", "v3 failed", "v2 superseded", "v1 superseded"}))
	e.Expect(e.helm("history", "web")).To(ContainSubstring("Release unlocked from stale 'pending-upgrade' state"))
}

// A fence that is lost may be another agent's: an action that only waits ends as
// well, and what it was about is begun anew in the next tenure.
func TestAnActionEndsWithItsFence(t *testing.T) {
	e := newEnv(t)
	e.fence.Duration, e.fence.Request = 6*time.Second, 2*time.Second
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{}}
	})
	e.start()
	hook := strings.Replace(hookPod("pre-install", "0"), "hook: pre-install", "hook: 'pre-install,pre-upgrade'", 1)
	e.push("web", appChart("1.0.0", files{"templates/pre.yaml": hook}))
	name := "web-pre-install"
	first := e.another(name)
	e.Expect(e.hub.DeleteAllOf(t.Context(), &coordinationv1.Lease{}, client.InNamespace(e.namespace))).To(Succeed())
	e.another(name, first)
	e.finish(t.Context(), name, true)
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v2 with chart app@1.0.0")
	e.Expect(e.records("web")).To(Equal([]string{"v2 deployed", "v1 superseded"}))
	e.Expect(e.get("web").Status.Failures).To(BeZero())
}

// Helm's own way to wait ends no later.
func TestALegacyWaitEndsWithItsFence(t *testing.T) {
	e := newEnv(t)
	e.fence.Duration, e.fence.Request = 6*time.Second, 2*time.Second
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.WaitStrategy = &helmv2.WaitStrategy{Name: helmv2.WaitStrategyLegacy}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{"templates/stuck.yaml": stuck}))
	deployment := &appsv1.Deployment{}
	e.Eventually(func() error {
		return e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "web-stuck"}, deployment)
	}, within, "20ms").Should(Succeed())
	e.Expect(e.hub.DeleteAllOf(t.Context(), &coordinationv1.Lease{}, client.InNamespace(e.namespace))).To(Succeed())
	e.Eventually(func() []string { return e.records("web") }, "40s", "50ms").Should(Equal([]string{"v2 pending-upgrade", "v1 failed"}))
	e.Expect(e.get("web").Status.Failures).To(BeZero())
}

// What is lost while the CRDs of a chart are waited for is no failure either, though
// there is no record yet.
func TestAnActionEndsWithItsFenceInItsCRDs(t *testing.T) {
	e := newEnv(t)
	e.fence.Duration, e.fence.Request = 6*time.Second, 2*time.Second
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{}}
		obj.Spec.HealthCheckExprs = []meta.CustomHealthCheck{{
			APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition",
			HealthCheckExpressions: meta.HealthCheckExpressions{Current: "false"},
		}}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{"crds/cut.yaml": ownCRD("Cut", "cuts")}))
	made := &unstructured.Unstructured{}
	made.SetAPIVersion("apiextensions.k8s.io/v1")
	made.SetKind("CustomResourceDefinition")
	e.Eventually(func() error {
		return e.hub.Get(t.Context(), client.ObjectKey{Name: "cuts." + e.namespace + ".example.com"}, made)
	}, within, "20ms").Should(Succeed())
	e.Expect(e.hub.DeleteAllOf(t.Context(), &coordinationv1.Lease{}, client.InNamespace(e.namespace))).To(Succeed())
	// It is there by now, and waited for no more.
	e.becomes("web", "True InstallSucceeded: Helm install succeeded for release NS/web.v1 with chart app@1.0.0")
	e.Expect(e.get("web").Status.Failures).To(BeZero())
	for len(e.events.Events) > 0 {
		e.Expect(<-e.events.Events).NotTo(ContainSubstring("Failed"))
	}
}

// TestDeletionAsksAnUnreachableTargetWhereSomethingIsThere: of a HelmRelease that
// nobody has acted on, the finalizer came with the label that routes it.
func TestDeletionAsksAnUnreachableTargetWhereSomethingIsThere(t *testing.T) {
	e := newEnv(t)
	proxy := e.front()
	e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.KubeConfig = prod() })
	stop := e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	stop()
	e.release("fresh", func(obj *helmv2.HelmRelease) {
		obj.Spec.KubeConfig, obj.Finalizers = prod(), []string{meta.Finalizer}
	})
	proxy.Drop()
	gone := func(obj *helmv2.HelmRelease) func() error {
		return func() error { return e.hub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj) }
	}
	web, fresh := e.get("web"), e.get("fresh")
	e.Expect(e.hub.Delete(t.Context(), web)).To(Succeed())
	e.Expect(e.hub.Delete(t.Context(), fresh)).To(Succeed())
	e.start()
	e.Eventually(gone(fresh), "2m", "50ms").Should(MatchError(ContainSubstring("not found")))
	e.becomes("web", "False TargetUnreachable")

	e.Expect(proxy.Heal()).To(Succeed())
	e.Eventually(gone(web), within, "50ms").Should(MatchError(ContainSubstring("not found")))
	e.Expect(e.value("web")).To(BeEmpty())
	e.Expect(e.records("web")).To(BeEmpty())
}
