package e2e

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/testenv"
)

func TestACommitReachesEveryCluster(t *testing.T) {
	n := newTenant(t, map[string]string{
		"one/a.yaml": configMap("one-a", "1"), "one/b.yaml": configMap("one-b", "1"),
		"two/a.yaml": configMap("two-a", "1"),
	})
	n.cluster("one")
	n.cluster("two")
	one, two := n.kustomization("one", "one"), n.kustomization("two", "two")
	one.Spec.Path, two.Spec.Path = "./one", "./two"
	n.create(n.source(), one, two)
	n.becomes(one, HavePrefix("True ReconciliationSucceeded: Applied revision: main@sha1:"))
	n.becomes(two, HavePrefix("True ReconciliationSucceeded"))
	n.Expect(n.data("one-a")).To(HaveKeyWithValue("value", "1"))
	n.Expect(n.data("one-b")).To(HaveKeyWithValue("value", "1"))
	n.Expect(n.data("two-a")).To(HaveKeyWithValue("value", "1"))

	// The inventory, the owner labels and the field manager are Flux's.
	n.Expect(fmt.Sprint(one.Status.Inventory.Entries)).To(ContainSubstring(n.namespace + "_one-a__ConfigMap"))
	var applied corev1.ConfigMap
	n.Expect(shared.onTarget.Get(t.Context(), client.ObjectKey{Namespace: n.namespace, Name: "one-a"}, &applied)).To(Succeed())
	n.Expect(applied.Labels).To(HaveKeyWithValue("kustomize.toolkit.fluxcd.io/name", "one"))
	n.Expect(applied.ManagedFields[0].Manager).To(Equal("kustomize-controller"))

	// A change arrives, and what was removed is pruned.
	n.commit(map[string]string{"one/a.yaml": configMap("one-a", "2")})
	_, err := n.repo.Remove(t.Context(), "remove", "one/b.yaml")
	n.Expect(err).NotTo(HaveOccurred())
	n.Eventually(func() map[string]string { return n.data("one-a") }).Should(HaveKeyWithValue("value", "2"))
	n.Eventually(func() map[string]string { return n.data("one-b") }).Should(BeNil())
	n.Expect(n.data("two-a")).To(HaveKeyWithValue("value", "1"))

	// Deleting the Kustomization prunes the rest.
	n.Expect(shared.onHub.Delete(t.Context(), two)).To(Succeed())
	n.Eventually(func() map[string]string { return n.data("two-a") }).Should(BeNil())
	n.Eventually(func() bool {
		return apierrors.IsNotFound(shared.onHub.Get(t.Context(), client.ObjectKeyFromObject(two), two))
	}).Should(BeTrue())
}

func TestDriftIsPutBackWhenAsked(t *testing.T) {
	n := newTenant(t, map[string]string{"a.yaml": configMap("a", "1")})
	n.cluster("one")
	ks := n.kustomization("one", "one")
	n.create(n.source(), ks)
	n.becomes(ks, HavePrefix("True "))
	edited := &corev1.ConfigMap{ObjectMeta: n.meta("a")}
	n.Expect(shared.onTarget.Patch(t.Context(), edited, client.RawPatch(types.MergePatchType, []byte(`{"data":{"value":"by hand"}}`)))).To(Succeed())
	n.request(ks)
	n.Eventually(func() map[string]string { return n.data("a") }).Should(HaveKeyWithValue("value", "1"))
}

// request asks for a reconcile as the flux CLI does.
func (n *tenant) request(obj client.Object) {
	n.t.Helper()
	at := time.Now().Format(time.RFC3339Nano)
	body := fmt.Appendf(nil, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, at)
	n.Expect(shared.onHub.Patch(n.t.Context(), obj, client.RawPatch(types.MergePatchType, body))).To(Succeed())
}

// What did not change costs the target no write and the hub one: the answer to
// the request.
func TestUnchangedMeansSilent(t *testing.T) {
	n := newTenant(t, map[string]string{"a.yaml": configMap("a", "1")})
	proxy := n.cluster("one")
	ks := n.kustomization("one", "one")
	n.create(n.source(), ks)
	n.becomes(ks, HavePrefix("True "))
	asked := n.repo.Requests()
	n.Eventually(func() int { return n.repo.Requests().InfoRefs }).Should(BeNumerically(">", asked.InfoRefs+2))
	n.Expect(n.repo.Requests().UploadPack).To(Equal(asked.UploadPack), "nothing is cloned when nothing changed")
	before := ks.DeepCopy()
	hub, err := client.NewWithWatch(shared.hub.Config(), client.Options{Scheme: shared.onHub.Scheme()})
	n.Expect(err).NotTo(HaveOccurred())
	seen, err := hub.Watch(t.Context(), &kustomizev1.KustomizationList{}, client.InNamespace(n.namespace),
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: ks.ResourceVersion}})
	n.Expect(err).NotTo(HaveOccurred())
	defer seen.Stop()
	next := func() *kustomizev1.Kustomization {
		t.Helper()
		found, ok := (<-seen.ResultChan()).Object.(*kustomizev1.Kustomization)
		n.Expect(ok).To(BeTrue())
		return found
	}
	proxy.Reset()
	for range 2 {
		n.request(ks)
		requested := next()
		n.Expect(requested.Status).To(Equal(before.Status), "the request is the first write, and nobody's but ours")
		answered := next()
		before.Status.LastHandledReconcileAt = requested.Annotations[meta.ReconcileRequestAnnotation]
		n.Expect(answered.Status).To(Equal(before.Status), "the answer is the next")
	}
	n.Expect(writes(proxy)).To(BeEmpty())
}

// writes are the requests that changed the target, fences aside.
func writes(proxy *testenv.Proxy) []string {
	var found []string
	for _, record := range proxy.Records() {
		if record.Mutating && record.Resource != "leases" {
			found = append(found, record.Verb+" "+record.Path)
		}
	}
	return found
}

func TestWaitHoldsUntilThePodsAreReady(t *testing.T) {
	n := newTenant(t, map[string]string{"app.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata:
      labels: {app: app}
      annotations: {testenv.headwater.dev/never-ready: "true"}
    spec: {containers: [{name: app, image: "app:1"}]}
`})
	n.cluster("one")
	ks := n.kustomization("one", "one")
	ks.Spec.Wait = true
	n.create(n.source(), ks)
	n.becomes(ks, And(HavePrefix("Unknown Progressing"), ContainSubstring("Deployment/"+n.namespace+"/app")))
	n.Expect(ks.Status.LastAppliedRevision).To(BeEmpty())
	n.Expect(ks.Status.WaitingSince).NotTo(BeNil())

	// A new commit ends the wait for the old one.
	n.commit(map[string]string{"app.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata:
      labels: {app: app}
    spec: {containers: [{name: app, image: "app:2"}]}
`})
	n.becomes(ks, HavePrefix("True ReconciliationSucceeded"))
	n.Expect(ks.Status.LastAppliedRevision).NotTo(BeEmpty())
	n.Expect(ks.Status.WaitingSince).To(BeNil())
}

func TestSuspendedIsLeftAlone(t *testing.T) {
	n := newTenant(t, map[string]string{"a.yaml": configMap("a", "1")})
	n.cluster("one")
	ks := n.kustomization("one", "one")
	n.create(n.source(), ks)
	n.becomes(ks, HavePrefix("True "))
	before := ks.DeepCopy()
	ks.Spec.Suspend = true
	n.Expect(shared.onHub.Patch(t.Context(), ks, client.MergeFrom(before))).To(Succeed())
	n.Eventually(func() []metav1.Condition { n.ready(ks); return ks.Status.Conditions }).Should(ContainElement(HaveField("Type", "Suspended")))
	n.commit(map[string]string{"a.yaml": configMap("a", "2")})
	source := n.source()
	n.Eventually(func() string { n.ready(source); return source.Status.Artifact.Revision }).ShouldNot(Equal(ks.Status.LastAppliedRevision))
	n.Expect(n.data("a")).To(HaveKeyWithValue("value", "1"))
	n.Expect(shared.onHub.Delete(t.Context(), ks)).To(Succeed())
	n.Eventually(func() error { return shared.onHub.Get(t.Context(), client.ObjectKeyFromObject(ks), ks) }).ShouldNot(Succeed())
	n.Expect(n.data("a")).To(HaveKeyWithValue("value", "1"), "what is deleted while suspended leaves its objects")
}

// Several Kustomizations on several targets: each target has one agent, both
// agents have work, and a RemoteCluster says how it is.
func TestEachTargetHasOneLiveAgent(t *testing.T) {
	n := newTenant(t, map[string]string{"a.yaml": configMap("a", "1")})
	for i := range 4 {
		name := fmt.Sprintf("c%d", i)
		n.cluster(name)
		ks := n.kustomization(name, name)
		ks.Spec.TargetNamespace = ""
		ks.Spec.Path = "./" + name
		n.commit(map[string]string{name + "/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: " + n.namespace + "}\n"})
		if i == 0 {
			n.create(n.source())
		}
		n.create(ks)
	}
	for i := range 4 {
		name := fmt.Sprintf("c%d", i)
		ks := &kustomizev1.Kustomization{ObjectMeta: n.meta(name)}
		n.becomes(ks, HavePrefix("True "))
		n.labelled(ks, name)
		var record fleetv1.RemoteCluster
		n.Eventually(func() []metav1.Condition {
			n.Expect(shared.onHub.Get(t.Context(), client.ObjectKey{Namespace: n.namespace, Name: name}, &record)).To(Succeed())
			return record.Status.Conditions
		}).Should(ContainElement(And(HaveField("Type", "Connected"), HaveField("Status", metav1.ConditionTrue))))
		n.Expect(record.Status.Version).To(Equal("v1.36.3"))
		n.Eventually(func() int32 {
			n.Expect(shared.onHub.Get(t.Context(), client.ObjectKey{Namespace: n.namespace, Name: name}, &record)).To(Succeed())
			return record.Status.Objects
		}).Should(Equal(int32(1)), "the number of objects")
	}
	// The agents share the targets of all tests: how those of this one are spread
	// depends on the others.
	n.Eventually(n.owners).Should(And(HaveKey("agent-0"), HaveKey("agent-1")), "the targets are spread")

	// A routing label that somebody strips comes back.
	ks := &kustomizev1.Kustomization{ObjectMeta: n.meta("c0")}
	n.Expect(shared.onHub.Patch(t.Context(), ks, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"fleet.headwater.dev/agent":null}}}`)))).To(Succeed())
	n.labelled(ks, "c0")
}

// labelled waits until the routing label names the agent of the record. Both
// change when the target moves.
func (n *tenant) labelled(ks *kustomizev1.Kustomization, cluster string) {
	n.t.Helper()
	n.Eventually(func() bool {
		n.ready(ks)
		owner := n.agentOf(cluster)
		return owner != "" && ks.Labels["fleet.headwater.dev/agent"] == owner
	}).Should(BeTrue(), "the routing label names the owner of "+cluster)
}

func TestSourcesPublishTheCommit(t *testing.T) {
	n := newTenant(t, map[string]string{"a.yaml": configMap("a", "1")})
	source := n.source()
	n.create(source)
	head, err := n.repo.Head(t.Context())
	n.Expect(err).NotTo(HaveOccurred())
	n.becomes(source, Equal("True Succeeded: stored artifact for revision 'main@sha1:"+head+"'"))
	n.Expect(source.Status.Artifact.Revision).To(Equal("main@sha1:" + head))
	n.Expect(source.Status.ObservedGeneration).To(Equal(source.Generation))
}

// An OCI artifact arrives as a commit does.
func TestAnOCIArtifactReachesACluster(t *testing.T) {
	n := newTenant(t, map[string]string{"unused.yaml": configMap("unused", "1")})
	registry := testenv.StartRegistry()
	t.Cleanup(registry.Stop)
	first, err := registry.Push("fleet", "latest", map[string]string{"a.yaml": configMap("a", "1")})
	n.Expect(err).NotTo(HaveOccurred())
	n.cluster("one")
	source := &sourcev1.OCIRepository{ObjectMeta: n.meta("repo"), Spec: sourcev1.OCIRepositorySpec{
		URL: "oci://" + registry.Host + "/fleet", Insecure: true, Interval: metav1.Duration{Duration: time.Second},
	}}
	ks := n.kustomization("one", "one")
	ks.Spec.SourceRef.Kind = "OCIRepository"
	n.create(source, ks)
	n.becomes(ks, Equal("True ReconciliationSucceeded: Applied revision: latest@"+first))
	n.Expect(n.data("a")).To(HaveKeyWithValue("value", "1"))

	_, err = registry.Push("fleet", "latest", map[string]string{"b.yaml": configMap("b", "2")})
	n.Expect(err).NotTo(HaveOccurred())
	n.Eventually(func() map[string]string { return n.data("b") }).Should(HaveKeyWithValue("value", "2"))
	n.Eventually(func() map[string]string { return n.data("a") }).Should(BeNil(), "pruned")
}
