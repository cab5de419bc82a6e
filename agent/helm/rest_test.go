package helm

import (
	"strings"
	"testing"

	lru "github.com/hashicorp/golang-lru/v2"
	. "github.com/onsi/gomega"
	helmrelease "helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/action"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// asked are the requests that a target got, but for the probes of its connection
// and the fence.
func asked(of *testenv.Proxy) []string {
	said := []string{}
	for _, record := range of.Records() {
		if record.Path != "/readyz" && record.Resource != "leases" {
			said = append(said, record.Verb+" "+record.Path)
		}
	}
	return said
}

// record is the Secret of a revision of the release web, and forgets it when it
// is not there.
func (e *env) record(version int) *corev1.Secret {
	e.t.Helper()
	found := &corev1.Secret{}
	err := e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: action.SecretName("web", version)}, found)
	if !apierrors.IsNotFound(err) {
		e.Expect(err).NotTo(HaveOccurred())
	}
	return found
}

func TestAReleaseAtRestAsksItsTargetNothing(t *testing.T) {
	e := newEnv(t)
	proxy := e.front()
	e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.KubeConfig = prod() })
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.push("web", appChart("1.1.0", nil))
	e.becomes("web", "True UpgradeSucceeded")
	e.Eventually(func() []string { return asked(proxy) }, "2m", "20ms").Should(ContainElement("watch /api/v1/namespaces/" + e.namespace + "/secrets"))
	e.request("1")
	proxy.Reset()
	e.request("2")
	e.request("3")
	e.Expect(asked(proxy)).To(BeEmpty())

	// What is done from outside is noticed by itself.
	e.Expect(e.helm("rollback", "web", "1")).To(ContainSubstring("Rollback was a success"))
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v4 with chart app@1.1.0")
	deleted := e.record(4)
	e.Expect(e.hub.Delete(t.Context(), deleted)).To(Succeed())
	e.Eventually(func() bool {
		made := e.record(4)
		return made.UID != "" && made.UID != deleted.UID && made.Labels["status"] == "deployed"
	}, "2m", "50ms").Should(BeTrue())
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v4 with chart app@1.1.0")

	// But somebody else's action is not interfered with.
	records := e.cli().Releases
	other, err := records.Last("web")
	e.Expect(err).NotTo(HaveOccurred())
	other.Version, other.Info.Status = 5, helmrelease.StatusPendingUpgrade
	e.Expect(records.Create(other)).To(Succeed())
	e.Consistently(func() string { return e.record(5).Labels["status"] }, "1500ms", "50ms").Should(Equal("pending-upgrade"))
	other.Info.Status = helmrelease.StatusDeployed
	e.Expect(records.Update(other)).To(Succeed())
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v6 with chart app@1.1.0")
}

// A kubeconfig of a tenant, who has rights in a namespace alone, comes to rest as well.
func TestAReleaseOfATenantAsksItsTargetNothing(t *testing.T) {
	e := newEnv(t)
	proxy := e.frontOf(nil)
	name := metav1.ObjectMeta{Namespace: e.namespace, Name: "tenant"}
	for _, obj := range []client.Object{
		&rbacv1.Role{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"", "coordination.k8s.io"}, Resources: []string{"secrets", "configmaps", "leases"}, Verbs: []string{"*"}},
		}},
		&rbacv1.RoleBinding{ObjectMeta: name, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "tenant"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: e.namespace, Name: "prod"}}},
	} {
		e.Expect(e.hub.Create(t.Context(), obj)).To(Succeed())
	}
	e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.KubeConfig = prod() })
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.Eventually(func() []string { return asked(proxy) }).Should(ContainElement("watch /api/v1/namespaces/" + e.namespace + "/secrets"))
	e.request("1")
	proxy.Reset()
	e.request("2")
	e.Expect(asked(proxy)).To(BeEmpty())
	deleted := e.record(1)
	e.Expect(e.hub.Delete(t.Context(), deleted)).To(Succeed())
	e.Eventually(func() bool {
		made := e.record(1)
		return made.UID != "" && made.UID != deleted.UID
	}).Should(BeTrue(), "and what is done from outside is noticed")
}

// Where Secrets may be listed and not watched, each run reads them.
func TestAReleaseWhoseStorageMayNotBeWatched(t *testing.T) {
	e := newEnv(t)
	e.prod(
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list", "create", "update", "delete"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps", "namespaces"}, Verbs: []string{"*"}},
		rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"*"}},
	)
	e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.KubeConfig = prod() })
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.request("1")
	deleted := e.record(1)
	e.Expect(e.hub.Delete(t.Context(), deleted)).To(Succeed())
	e.request("2")
	e.Eventually(func() bool {
		made := e.record(1)
		return made.UID != "" && made.UID != deleted.UID
	}, "2m", "50ms").Should(BeTrue())
}

// A read of the storage that our own action has overtaken is believed by nobody.
func TestWhatIsRememberedEndsWithAnAction(t *testing.T) {
	e := newEnv(t)
	e.release("web")
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	for _, version := range []string{"1.1.0", "1.2.0", "1.3.0", "1.4.0"} {
		e.push("web", appChart(version, nil))
		e.request(version)
	}
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v")
	e.Eventually(func() string { return e.ready("web") }, "2m", "50ms").Should(HaveSuffix("with chart app@1.4.0"))
	records := e.records("web")
	e.request("last")
	e.Expect(e.records("web")).To(Equal(records))
	e.Expect(e.history("web")[0]).To(HavePrefix(strings.Fields(records[0])[0] + " deployed by upgrade"))
}

func TestPreservedValuesComeToRest(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.Values = values("{value: mine, a: {b: 1}, gone: 1}") })
	e.start()
	chart := files{"templates/one.yaml": dumps}
	e.push("web", appChart("1.0.0", chart))
	e.becomes("web", "True InstallSucceeded")
	e.edit("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Upgrade = &helmv2.Upgrade{PreserveValues: true}
		obj.Spec.Values = values("{a: {c: 2}, gone: null}")
	})
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v2")
	// As Helm has it, what null was to take away is among the defaults of before.
	e.Expect(e.value("web")).To(MatchJSON(`{"a":{"b":1,"c":2},"gone":1,"value":"mine"}`))
	e.request("1")
	e.request("2")
	e.Expect(e.records("web")).To(Equal([]string{"v2 deployed", "v1 superseded"}))
	e.Expect(e.history("web")).To(Equal([]string{"v2 deployed by upgrade", "v1 superseded by install"}))

	e.push("web", appChart("1.1.0", chart))
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v3")
	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.Values = values("{a: {c: 3}}") })
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v4")
	e.Expect(e.value("web")).To(MatchJSON(`{"a":{"b":1,"c":3},"gone":1,"value":"mine"}`))
}

func TestValuesAreComposedOnceOfTheSameTexts(t *testing.T) {
	g := NewWithT(t)
	configs, err := lru.New[compositionKey, string](8)
	g.Expect(err).NotTo(HaveOccurred())
	r := &Reconciler{configs: configs}
	texts := func(kind string, texts ...string) *composition {
		made := &composition{namespace: "fleet", own: []byte(`{"own":1}`)}
		for i, text := range texts {
			made.parts = append(made.parts, part{ref: helmv2.ValuesReference{Kind: "Secret", Name: "a", TargetPath: kind}, text: text, index: i})
		}
		return made
	}
	first, err := r.configDigest(texts("", "a: 1", "b: 2"))
	g.Expect(err).NotTo(HaveOccurred())
	known := texts("", "a: 1", "b: 2")
	known.all = map[string]any{"not": "asked for"}
	g.Expect(r.configDigest(known)).To(Equal(first))
	for _, other := range []*composition{texts("", "a: 1", "b: 3"), texts("", "a: 1"), texts("x", "a: 1", "b: 2"), texts("", "a: 1\n", "b: 2")} {
		g.Expect(other.key()).NotTo(Equal(known.key()))
	}
	_, err = r.configDigest(texts("", "no: yaml: here"))
	g.Expect(err).To(MatchError(ContainSubstring("spec.valuesFrom[0]: key values.yaml of Secret fleet/a is no YAML of values")))
}

// A change that comes after the records were read and before they are remembered,
// as one may while the objects are looked at for drift, is noticed as well.
func TestAChangeBeforeTheStorageIsRememberedIsNoticed(t *testing.T) {
	e := newEnv(t)
	proxy := e.front()
	e.release("web", func(obj *helmv2.HelmRelease) { obj.Spec.KubeConfig = prod() })
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.Eventually(func() []string { return asked(proxy) }, "2m", "20ms").Should(ContainElement("watch /api/v1/namespaces/" + e.namespace + "/secrets"))
	e.push("web", appChart("1.1.0", nil))
	e.becomes("web", "True UpgradeSucceeded")

	known := e.agent.memories.recall(client.ObjectKey{Namespace: e.namespace, Name: "web"})
	e.Expect(known).NotTo(BeNil())
	e.agent.memories.drop(client.ObjectKey{Namespace: e.namespace, Name: "web"})
	e.Expect(e.helm("rollback", "web", "1")).To(ContainSubstring("Rollback was a success"))
	e.Eventually(func() bool { return known.sees(known.next()) }, "2m", "20ms").Should(BeTrue())
	e.agent.memories.keep(client.ObjectKey{Namespace: e.namespace, Name: "web"}, known)
	e.becomes("web", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/web.v4 with chart app@1.1.0")
}

// What Helm notes of one record says nothing of the next, and what people have put
// on it stays.
func TestLabelsOfRecords(t *testing.T) {
	e := newEnv(t)
	e.release("web")
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	labelled := e.record(1)
	e.Expect(labelled.Labels).To(HaveKey("modifiedAt"))
	labelled.Labels["team"] = "a"
	e.Expect(e.hub.Update(t.Context(), labelled)).To(Succeed())
	hub, err := client.NewWithWatch(shared.ControlPlane(t).Config(), client.Options{Scheme: e.scheme})
	e.Expect(err).NotTo(HaveOccurred())
	writes, err := hub.Watch(t.Context(), &corev1.SecretList{}, client.InNamespace(e.namespace), client.MatchingLabels{"version": "2"})
	e.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(writes.Stop)
	e.push("web", appChart("1.1.0", nil))
	born, _ := (<-writes.ResultChan()).Object.(*corev1.Secret)
	e.Expect(born.Labels).To(And(HaveKeyWithValue("team", "a"), HaveKeyWithValue("status", "pending-upgrade"),
		HaveKey("createdAt"), Not(HaveKey("modifiedAt"))))
	e.becomes("web", "True UpgradeSucceeded")
}
