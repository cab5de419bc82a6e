package kustomize

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// prod makes a target, of that name, that is reached by a kubeconfig Secret. It is the same
// API server, under other credentials.
func (e *env) prod(agent string) {
	e.t.Helper()
	e.prodAt(shared.ControlPlane(e.t), agent)
}

// prodAt is prod at some API server.
func (e *env) prodAt(server *testenv.ControlPlane, agent string) {
	e.t.Helper()
	e.prodWith(server, agent,
		rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}},
		rbacv1.PolicyRule{NonResourceURLs: []string{"*"}, Verbs: []string{"get"}})
}

// prodWith is the same with a kubeconfig that has no more rights than these.
func (e *env) prodWith(server *testenv.ControlPlane, agent string, rights ...rbacv1.PolicyRule) {
	e.t.Helper()
	data, err := server.ServiceAccount(e.t.Context(), e.namespace, "prod", rights)
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(e.hub.Create(e.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "prod"}, Data: map[string][]byte{"value": data},
	})).To(Succeed())
	record := &fleetv1.RemoteCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "prod"},
		Spec:       fleetv1.RemoteClusterSpec{KubeConfig: toProd()},
	}
	e.Expect(e.hub.Create(e.t.Context(), record)).To(Succeed())
	record.Status.Assignments = []fleetv1.Assignment{{Agent: agent, Epoch: 1}}
	e.Expect(e.hub.Status().Update(e.t.Context(), record)).To(Succeed())
}

// Where a kubeconfig may neither watch nor list what is applied, each run asks for every
// object.
func TestDriftWithoutTheRightToLook(t *testing.T) {
	e := newEnv(t)
	e.prodWith(shared.ControlPlane(t), "agent-0",
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "create", "patch", "delete"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}},
		rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"*"}})
	e.drift = DriftOptions{FullCheck: 1000 * time.Hour}
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.KubeConfig = toProd() })
	e.start()
	e.becomes("web", "True")
	e.request("web", "first")
	e.change("kubectl-edit", setValue("by hand"))
	e.settled()
	e.Expect(e.value()).To(Equal("by hand"), "nobody tells of it")
	e.request("web", "second")
	e.Eventually(e.value, within, "50ms").Should(Equal("a"))
}

func toProd() *meta.KubeConfigReference {
	return &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}}
}

// elsewhere is an API server of its own, with the namespace of the test.
func (e *env) elsewhere() (*testenv.ControlPlane, client.Client) {
	e.t.Helper()
	server, err := testenv.Start(e.t.Context(), testenv.Options{Name: "elsewhere"})
	e.Expect(err).NotTo(HaveOccurred())
	e.t.Cleanup(server.Stop)
	there, err := server.Client(e.scheme)
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(there.Create(e.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: e.namespace}})).To(Succeed())
	return server, there
}

func TestObjectsFollowTheTarget(t *testing.T) {
	e := newEnv(t)
	server, there := e.elsewhere()
	e.prodAt(server, "agent-0")
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.KubeConfig = toProd() })
	e.start()
	e.becomes("web", "True")
	e.Expect(e.get("web").Status.Target).To(Equal(e.namespace + "/prod/value"))
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "one"}}
	e.Expect(there.Get(t.Context(), client.ObjectKeyFromObject(made), made)).To(Succeed())

	e.edit("web", func(obj *kustomizev1.Kustomization) { obj.Spec.KubeConfig = nil })
	e.Eventually(func() string { return e.get("web").Status.Target }, "20s").Should(HavePrefix("hub/"))
	e.becomes("web", "True")
	// The status names the new target before anything is made there.
	e.Eventually(func() any { return e.object("v1", "ConfigMap", "one") }, "20s").ShouldNot(BeNil())
	e.Expect(there.Get(t.Context(), client.ObjectKeyFromObject(made), made)).To(MatchError(ContainSubstring("not found")))
	e.published("ConfigMap/" + e.namespace + "/one deleted")
}

// A kubeconfig that is replaced by another Secret leads to the same cluster: what is
// there is not taken away to be made anew.
func TestAnotherWayToTheSameClusterChangesNothingThere(t *testing.T) {
	e := newEnv(t)
	e.prod("agent-0")
	e.push("1", "one.yaml", configMap("one", "NS", "a"), "two.yaml", configMap("two", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.KubeConfig = toProd() })
	e.start()
	e.becomes("web", "True")
	first := e.object("v1", "ConfigMap", "one")

	e.edit("web", func(obj *kustomizev1.Kustomization) {
		obj.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod-2026"}}
	})
	e.becomes("web", "False TargetUnreachable: spec.kubeConfig: target NS/prod-2026/value has not been reached yet")
	e.Expect(e.object("v1", "ConfigMap", "one")).NotTo(BeNil())

	secret := &corev1.Secret{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "prod"}, secret)).To(Succeed())
	// Who renames a Secret may delete the old one first: which cluster it led to is
	// known all the same.
	e.Expect(e.hub.Delete(t.Context(), secret)).To(Succeed())
	e.Eventually(func() bool {
		var old fleetv1.RemoteCluster
		e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "prod"}, &old)).To(Succeed())
		return apimeta.IsStatusConditionFalse(old.Status.Conditions, fleetv1.ConnectedCondition)
	}, "30s").Should(BeTrue())
	e.push("2", "one.yaml", configMap("one", "NS", "a"))
	e.Expect(e.hub.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "prod-2026"}, Data: secret.Data,
	})).To(Succeed())
	record := &fleetv1.RemoteCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "prod-2026"},
		Spec:       fleetv1.RemoteClusterSpec{KubeConfig: e.get("web").Spec.KubeConfig},
	}
	e.Expect(e.hub.Create(t.Context(), record)).To(Succeed())
	record.Status.Assignments = []fleetv1.Assignment{{Agent: "agent-0", Epoch: 1}}
	e.Expect(e.hub.Status().Update(t.Context(), record)).To(Succeed())
	e.Eventually(func() string { return e.get("web").Status.Target }, "30s").Should(Equal(e.namespace + "/prod-2026/value"))
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(e.object("v1", "ConfigMap", "one").GetUID()).To(Equal(first.GetUID()))
	e.Expect(e.inventory()).To(Equal([]string{"NS_one__ConfigMap"}))
	e.Expect(e.object("v1", "ConfigMap", "two")).To(BeNil(), "what was applied by the old way is pruned by the new one")
}

// What deploys to the hub has not the agent's own rights there, which are those on
// everybody's objects.
func TestWhatDeploysToTheHubIsNotTheAgent(t *testing.T) {
	e := newEnv(t)
	_, err := shared.ControlPlane(t).ServiceAccount(t.Context(), e.namespace, "reconciler", []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}},
	})
	e.Expect(err).NotTo(HaveOccurred())
	e.hubAccount = "reconciler"
	e.kustomization("victim", func(obj *kustomizev1.Kustomization) { obj.Spec.Suspend = true })
	e.push("1", "fair/one.yaml", configMap("one", "NS", "a"), "foul/victim.yaml",
		"apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: victim, namespace: NS}\nspec: {path: evil}\n")
	for _, name := range []string{"fair", "foul"} {
		e.kustomization(name, func(obj *kustomizev1.Kustomization) { obj.Spec.Path = name })
	}
	e.start()
	e.becomes("fair", "True ReconciliationSucceeded")
	e.becomes("foul", "False ReconciliationFailed")
	e.Expect(e.ready("foul")).To(ContainSubstring(`User "system:serviceaccount:NS:reconciler" cannot `))
	e.Expect(e.get("victim").Spec.Path).NotTo(Equal("evil"))
}

func TestObjectsAreTakenAwayByTheOwnerOfTheirTarget(t *testing.T) {
	e := newEnv(t)
	e.prod("agent-1")
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	applied := e.get("web")
	applied.Status.Target = e.namespace + "/prod/value"
	applied.Status.Inventory = &kustomizev1.ResourceInventory{Entries: []kustomizev1.ResourceRef{{ID: e.namespace + "_old__ConfigMap", Version: "v1"}}}
	e.Expect(e.hub.Status().Update(t.Context(), applied)).To(Succeed())
	e.create(strings.Replace(configMap("old", e.namespace, "a"), "metadata:",
		"metadata:\n  labels: {kustomize.toolkit.fluxcd.io/name: web, kustomize.toolkit.fluxcd.io/namespace: "+e.namespace+"}", 1))
	e.start()
	e.Consistently(func() string { return e.ready("web") }, "3s", "200ms").Should(BeEmpty(), "it is agent-1's until the objects are away")
	e.Expect(e.inventory()).To(Equal([]string{"NS_old__ConfigMap"}))

	record := &fleetv1.RemoteCluster{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "prod"}, record)).To(Succeed())
	record.Status.Assignments[0].Agent = "agent-0"
	e.Expect(e.hub.Status().Update(t.Context(), record)).To(Succeed())
	e.becomes("web", "True")
	e.Expect(e.object("v1", "ConfigMap", "old")).To(BeNil())
	e.Expect(e.inventory()).To(Equal([]string{"NS_one__ConfigMap"}))
	e.Expect(e.get("web").Status.Target).To(HavePrefix("hub/"))
}

func TestObjectsAreLeftBehindWithoutPrune(t *testing.T) {
	e := newEnv(t)
	e.prod("agent-0")
	e.push("1", "one.yaml", configMap("one", "NS", "a"), "two.yaml", configMap("two", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.KubeConfig, obj.Spec.Prune = toProd(), false })
	e.start()
	e.becomes("web", "True")
	first := e.object("v1", "ConfigMap", "one")
	e.edit("web", func(obj *kustomizev1.Kustomization) { obj.Spec.KubeConfig = nil })
	e.Eventually(func() string { return e.get("web").Status.Target }, "20s").Should(HavePrefix("hub/"))
	e.Expect(e.object("v1", "ConfigMap", "one").GetUID()).To(Equal(first.GetUID()))
}

func TestDeletionWithoutTheKubeconfig(t *testing.T) {
	e := newEnv(t)
	e.prod("agent-0")
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.KubeConfig = toProd() })
	stop := e.start()
	e.becomes("web", "True")
	stop()
	e.Expect(e.hub.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "prod"}})).To(Succeed())
	obj := e.get("web")
	e.Expect(e.hub.Delete(t.Context(), obj)).To(Succeed())
	e.start()
	event := e.published("unable to prune objects")
	e.Expect(event).To(HavePrefix("Warning PruneFailed unable to prune objects: "))
	e.Expect(event).To(ContainSubstring("ConfigMap/NS/one"))
	e.Eventually(func() error {
		return e.hub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
	}, "20s").Should(MatchError(ContainSubstring("not found")))
}

func TestDeletionGivesUpALostTarget(t *testing.T) {
	e := newEnv(t)
	e.prod("agent-0")
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.KubeConfig = toProd() })
	stop := e.start()
	e.becomes("web", "True")
	stop()
	record := &fleetv1.RemoteCluster{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "prod"}, record)).To(Succeed())
	record.Spec.LostPolicy.After = &metav1.Duration{Duration: time.Second}
	e.Expect(e.hub.Update(t.Context(), record)).To(Succeed())
	secret := &corev1.Secret{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "prod"}, secret)).To(Succeed())
	secret.Data["value"] = []byte(strings.Replace(string(secret.Data["value"]), shared.ControlPlane(t).URL, "https://127.0.0.1:1", 1))
	e.Expect(e.hub.Update(t.Context(), secret)).To(Succeed())
	obj := e.get("web")
	e.Expect(e.hub.Delete(t.Context(), obj)).To(Succeed())
	e.start()
	event := e.published("unable to prune objects")
	e.Expect(event).To(ContainSubstring("the target is lost (spec.lostPolicy of RemoteCluster NS/prod)"))
	e.Expect(event).To(ContainSubstring("ConfigMap/NS/one"))
	e.Eventually(func() error {
		return e.hub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
	}, "20s").Should(MatchError(ContainSubstring("not found")))
	e.Expect(e.object("v1", "ConfigMap", "one")).NotTo(BeNil())
}

func TestDeletionWaitsForAnUnreachableTarget(t *testing.T) {
	e := newEnv(t)
	e.prod("agent-0")
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.KubeConfig = toProd() })
	stop := e.start()
	e.becomes("web", "True")
	stop()
	secret := &corev1.Secret{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "prod"}, secret)).To(Succeed())
	whole := secret.Data["value"]
	secret.Data["value"] = []byte(strings.Replace(string(whole), shared.ControlPlane(t).URL, "https://127.0.0.1:1", 1))
	e.Expect(e.hub.Update(t.Context(), secret)).To(Succeed())
	obj := e.get("web")
	e.Expect(e.hub.Delete(t.Context(), obj)).To(Succeed())
	e.start()
	e.becomes("web", "False TargetUnreachable")
	e.Expect(e.inventory()).To(Equal([]string{"NS_one__ConfigMap"}))

	secret.Data["value"] = whole
	e.Expect(e.hub.Update(t.Context(), secret)).To(Succeed())
	e.Eventually(func() error {
		return e.hub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
	}, "30s").Should(MatchError(ContainSubstring("not found")))
	e.Expect(e.object("v1", "ConfigMap", "one")).To(BeNil())
}
