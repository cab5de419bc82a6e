package kustomize

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

func TestApplyUpdateAndPrune(t *testing.T) {
	e := newEnv(t)
	e.push("1", "deploy/one.yaml", configMap("one", "NS", "a"), "deploy/two.yaml", configMap("two", "NS", "a"), "other.yaml", configMap("other", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.Path = "./deploy" })
	e.start()
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:1")
	e.Expect(e.inventory()).To(Equal([]string{"NS_one__ConfigMap", "NS_two__ConfigMap"}))
	e.Expect(e.published("created")).To(Equal("Normal Progressing ConfigMap/NS/one created\nConfigMap/NS/two created" +
		" map[kustomize.toolkit.fluxcd.io/revision:main@sha1:1]"))
	e.Expect(e.object("v1", "ConfigMap", "one").GetLabels()).To(HaveKeyWithValue("kustomize.toolkit.fluxcd.io/name", "web"))
	e.Expect(e.object("v1", "ConfigMap", "other")).To(BeNil())
	status := e.get("web").Status
	e.Expect(status.LastAttemptedRevision).To(Equal("main@sha1:1"))
	e.Expect(status.Target).To(HavePrefix("hub/"))
	e.Expect(status.WaitingSince).To(BeNil())

	e.push("2", "deploy/one.yaml", configMap("one", "NS", "b"), "deploy/three.yaml", configMap("three", "NS", "b"))
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(e.inventory()).To(Equal([]string{"NS_one__ConfigMap", "NS_three__ConfigMap"}))
	e.published("ConfigMap/" + e.namespace + "/one configured\nConfigMap/" + e.namespace + "/three created")
	e.published("ConfigMap/" + e.namespace + "/two deleted")
	e.Expect(e.object("v1", "ConfigMap", "two")).To(BeNil())

	e.push("3", "deploy/README.md", "nothing here any more")
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:3")
	e.Expect(e.inventory()).To(BeEmpty())
	e.Expect(e.object("v1", "ConfigMap", "one")).To(BeNil())
}

func TestDriftIsCorrectedAndNothingElseIsWritten(t *testing.T) {
	e := newEnv(t)
	var writes atomic.Int32
	e.wrap = func(next client.Client) client.Client { return &counted{Client: next, writes: &writes} }
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	e.Expect(writes.Load()).To(Equal(int32(1)))

	before := e.get("web")
	e.request("web", "first")
	after := e.get("web")
	e.Expect(writes.Load()).To(Equal(int32(1)), "nothing had changed")
	after.Status.LastHandledReconcileAt = before.Status.LastHandledReconcileAt
	e.Expect(after.Status).To(Equal(before.Status))

	drifted := e.object("v1", "ConfigMap", "one")
	drifted.Object["data"] = map[string]any{"value": "by hand"}
	e.Expect(e.hub.Update(t.Context(), drifted)).To(Succeed())
	e.request("web", "second")
	e.Expect(e.object("v1", "ConfigMap", "one").Object["data"]).To(Equal(map[string]any{"value": "a"}))
}

// counted counts the applies that are no dry-runs.
type counted struct {
	client.Client
	writes *atomic.Int32
}

func (c *counted) Patch(ctx context.Context, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
	if applies(patch, options) {
		c.writes.Add(1)
	}
	return c.Client.Patch(ctx, obj, patch, options...)
}

// applies says whether an object is applied, and that in earnest.
func applies(patch client.Patch, options []client.PatchOption) bool {
	var all client.PatchOptions
	all.ApplyOptions(options)
	return patch.Type() == types.ApplyPatchType && len(all.DryRun) == 0
}

// failing lets no apply through that is no dry-run, and tells when one came.
type failing struct {
	client.Client
	tried chan struct{}
}

func (c *failing) Patch(ctx context.Context, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
	if !applies(patch, options) {
		return c.Client.Patch(ctx, obj, patch, options...)
	}
	select {
	case c.tried <- struct{}{}:
	default:
	}
	return errors.New("cut off")
}

func TestInventoryIsWrittenBeforeTheFirstCreate(t *testing.T) {
	e := newEnv(t)
	seen := e.inventoryAtFirstWrite()
	e.push("1", "one.yaml", configMap("one", "NS", "a"), "ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: inner-NS}\n")
	e.kustomization("web")
	e.start()
	var inventory []string
	e.Eventually(seen, "20s").Should(Receive(&inventory))
	e.Expect(inventory).To(ConsistOf("NS_one__ConfigMap", "_inner-NS__Namespace"))
	e.becomes("web", "True")
}

// An object that was there before is ours from the first write on.
func TestInventoryIsWrittenBeforeAnObjectIsTakenOver(t *testing.T) {
	e := newEnv(t)
	seen := e.inventoryAtFirstWrite()
	e.create(configMap("one", e.namespace, "theirs"))
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.Eventually(seen, "20s").Should(Receive(Equal([]string{"NS_one__ConfigMap"})))
	e.becomes("web", "True")
}

// inventoryAtFirstWrite is told what the inventory is just before the first write to
// the target.
func (e *env) inventoryAtFirstWrite() <-chan []string {
	seen := make(chan []string, 1)
	e.wrap = func(next client.Client) client.Client {
		return &witness{Client: next, before: func() {
			select {
			case seen <- e.inventory():
			default:
			}
		}}
	}
	return seen
}

// witness looks before each write.
type witness struct {
	client.Client
	before func()
}

func (c *witness) Patch(ctx context.Context, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
	if applies(patch, options) {
		c.before()
	}
	return c.Client.Patch(ctx, obj, patch, options...)
}

// What is written about a long run's progress must not take back what the run
// itself has written.
func TestProgressKeepsTheInventory(t *testing.T) {
	e := newEnv(t)
	seen := make(chan []string, 1)
	e.wrap = func(next client.Client) client.Client {
		return &witness{Client: next, before: func() {
			e.Eventually(func() string { return e.condition("web", "Reconciling") }, "10s", "50ms").Should(HavePrefix("True"))
			seen <- e.inventory()
		}}
	}
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	var inventory []string
	e.Eventually(seen, "20s").Should(Receive(&inventory))
	e.Expect(inventory).To(Equal([]string{"NS_one__ConfigMap"}))
}

func TestWhatAKilledAgentMadeIsPruned(t *testing.T) {
	e := newEnv(t)
	tried := make(chan struct{}, 1)
	e.wrap = func(next client.Client) client.Client { return &failing{Client: next, tried: tried} }
	e.push("1", "one.yaml", configMap("one", "NS", "a"), "two.yaml", configMap("two", "NS", "a"))
	e.kustomization("web")
	stop := e.start()
	e.Eventually(tried, "20s").Should(Receive())
	e.becomes("web", "False ReconciliationFailed: ConfigMap/NS/one apply failed: cut off")
	e.Expect(e.inventory()).To(Equal([]string{"NS_one__ConfigMap", "NS_two__ConfigMap"}))
	stop()
	// The create had reached the server although nobody heard of it.
	made := configMap("one", e.namespace, "a")
	e.create(strings.Replace(made, "metadata:", "metadata:\n  labels: {kustomize.toolkit.fluxcd.io/name: web, kustomize.toolkit.fluxcd.io/namespace: "+e.namespace+"}", 1))

	e.wrap = nil
	e.push("2", "two.yaml", configMap("two", "NS", "a"))
	e.start()
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(e.object("v1", "ConfigMap", "one")).To(BeNil())
	e.Expect(e.inventory()).To(Equal([]string{"NS_two__ConfigMap"}))
}

func TestBadInput(t *testing.T) {
	for _, c := range []struct {
		name   string
		pairs  []string
		change func(*kustomizev1.Kustomization)
		want   string
	}{
		{
			name:  "a kustomization that does not parse",
			pairs: []string{"kustomization.yaml", "resources: ["},
			want:  "False BuildFailed: kustomization.yaml: invalid Kustomization: yaml: line 1",
		},
		{
			name:   "a path that is not there",
			pairs:  []string{"one.yaml", one},
			change: func(obj *kustomizev1.Kustomization) { obj.Spec.Path = "./nope" },
			want:   `False ArtifactFailed: kustomization path not found: spec.path "./nope" is no directory of the artifact`,
		},
		{
			name:   "a path outside",
			pairs:  []string{"one.yaml", one},
			change: func(obj *kustomizev1.Kustomization) { obj.Spec.Path = "../../etc" },
			want:   `False ArtifactFailed: kustomization path not found: spec.path "../../etc" leads out of the artifact`,
		},
		{
			name:  "an object that the server rejects",
			pairs: []string{"bad.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: NS}\nspec: {ports: [{port: 0}]}\n", "kept.yaml", configMap("new", "NS", "b")},
			want:  "False ReconciliationFailed: Service/NS/bad dry-run failed (Invalid): ",
		},
		{
			name:  "a namespace that is not there",
			pairs: []string{"one.yaml", configMap("one", "nowhere", "a")},
			want:  `False ReconciliationFailed: ConfigMap/nowhere/one dry-run failed (NotFound): namespaces "nowhere" not found`,
		},
		{
			name:  "no namespace",
			pairs: []string{"one.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"},
			want:  "False ReconciliationFailed: ConfigMap/one has no namespace: set metadata.namespace or spec.targetNamespace",
		},
		{
			name:  "an unknown kind",
			pairs: []string{"one.yaml", "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: one, namespace: NS}\n"},
			want:  "False ReconciliationFailed: Thing/NS/one: the cluster has no kind Thing in example.org/v1",
		},
		{
			name:   "a source that is not there",
			change: func(obj *kustomizev1.Kustomization) { obj.Spec.SourceRef.Name = "nope" },
			want:   "False ArtifactFailed: Source 'GitRepository/NS/nope' not found",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			e.push("1", "kept.yaml", configMap("kept", "NS", "a"))
			e.kustomization("web")
			e.start()
			e.becomes("web", "True")
			if c.pairs != nil {
				e.push("2", c.pairs...)
			}
			if c.change != nil {
				e.edit("web", c.change)
			}
			e.becomes("web", c.want)
			e.published("Warning ")
			e.Expect(e.object("v1", "ConfigMap", "kept")).NotTo(BeNil(), "what was applied before stays")
			e.Expect(e.object("v1", "ConfigMap", "new")).To(BeNil(), "one bad object stops its stage")
			e.Expect(e.inventory()).To(ContainElement("NS_kept__ConfigMap"))
			e.Expect(e.get("web").Status.LastAppliedRevision).To(Equal("main@sha1:1"))
		})
	}
}

func TestSourceWithoutArtifact(t *testing.T) {
	e := newEnv(t)
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	gone := e.repository()
	gone.Status.Artifact.Digest = "sha256:" + strings.Repeat("0", 64)
	gone.Status.Artifact.URL = strings.Replace(gone.Status.Artifact.URL, "/1.tar.gz", "/gone.tar.gz", 1)
	e.Expect(e.hub.Status().Update(t.Context(), gone)).To(Succeed())
	e.kustomization("web")
	e.start()
	e.becomes("web", "False ArtifactFailed: Source is not ready, artifact not found, retrying in 30s")
	gone = e.repository()
	gone.Status.Artifact = nil
	e.Expect(e.hub.Status().Update(t.Context(), gone)).To(Succeed())
	e.edit("web", func(obj *kustomizev1.Kustomization) { obj.Spec.Path = "." })
	e.becomes("web", "False ArtifactFailed: Source artifact not found, retrying in 30s")
	e.push("2", "one.yaml", configMap("one", "NS", "a"))
	e.becomes("web", "True")
}

// What one has at a cluster is not in the way of what another has at a second one,
// though the names and labels are the same.
func TestKustomizationsAtTwoClustersClaimNoCommonObject(t *testing.T) {
	e := newEnv(t)
	server, there := e.elsewhere()
	e.prodAt(server, "agent-0")
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("apps")
	e.start()
	e.becomes("apps", "True")
	e.Expect(there.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: e.namespace, Name: "one",
		Labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": e.namespace},
	}})).To(Succeed(), "as a Flux of its own has left it")
	e.kustomization("edge", func(obj *kustomizev1.Kustomization) { obj.Spec.KubeConfig = toProd() })
	e.becomes("edge", "True")
	made := &corev1.ConfigMap{}
	e.Expect(there.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "one"}, made)).To(Succeed())
	e.Expect(made.Data).To(Equal(map[string]string{"value": "a"}))
	e.Expect(made.Labels).To(HaveKeyWithValue("kustomize.toolkit.fluxcd.io/name", "edge"))
}

// What is said of a commit that cannot be built names that commit, and not the last one
// that could.
func TestEventsNameTheCommitThatTheyAreAbout(t *testing.T) {
	e := newEnv(t)
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:1")
	e.push("2", "kustomization.yaml", "resources: [missing.yaml]")
	e.Expect(e.published("Warning BuildFailed")).To(ContainSubstring("map[kustomize.toolkit.fluxcd.io/revision:main@sha1:2]"))
}

// A run that has failed half-way is not taken for the one before it, when its commit
// is reverted.
func TestAFailedRunIsNoRest(t *testing.T) {
	e := newEnv(t)
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	remembered := e.agent.memories.find(client.ObjectKeyFromObject(e.get("web")))
	e.Eventually(remembered.last, "20s").ShouldNot(BeNil())
	e.push("2", "one.yaml", configMap("one", "NS", "b"), "two.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: UPPER, namespace: NS}\n")
	e.becomes("web", "False ReconciliationFailed")
	e.Expect(remembered.last()).To(BeNil())
}

func TestTwoKustomizationsClaimOneObject(t *testing.T) {
	e := newEnv(t)
	e.push("1", "a/one.yaml", configMap("one", "NS", "a"), "b/one.yaml", configMap("one", "NS", "b"))
	e.kustomization("a", func(obj *kustomizev1.Kustomization) { obj.Spec.Path = "a" })
	e.start()
	e.becomes("a", "True")
	e.kustomization("b", func(obj *kustomizev1.Kustomization) { obj.Spec.Path = "b" })
	e.becomes("b", "False OwnershipConflict: ConfigMap/NS/one is managed by the Kustomization NS/a: remove it from one of the two")
	e.Expect(e.object("v1", "ConfigMap", "one").Object["data"]).To(Equal(map[string]any{"value": "a"}))

	// The object moves from a to b in one commit. Whoever comes first, it
	// ends with b and is never without an owner for long.
	e.push("2", "a/two.yaml", configMap("two", "NS", "a"), "b/one.yaml", configMap("one", "NS", "b"))
	e.becomes("b", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.becomes("a", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Eventually(func() map[string]any {
		if one := e.object("v1", "ConfigMap", "one"); one != nil {
			return one.Object["data"].(map[string]any)
		}
		e.request("b", time.Now().String())
		return nil
	}, "20s").Should(Equal(map[string]any{"value": "b"}))
}

func TestDeletion(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*kustomizev1.Kustomization)
		left   bool
	}{
		{"prunes", func(*kustomizev1.Kustomization) {}, false},
		{"leaves the objects without prune", func(obj *kustomizev1.Kustomization) { obj.Spec.Prune = false }, true},
		{"leaves the objects of a suspended one", func(obj *kustomizev1.Kustomization) { obj.Spec.Suspend = true }, true},
		{"leaves the objects of a suspended one whatever the policy", func(obj *kustomizev1.Kustomization) {
			obj.Spec.Suspend, obj.Spec.DeletionPolicy = true, "WaitForTermination"
		}, true},
		{"leaves the objects where the policy says so", func(obj *kustomizev1.Kustomization) { obj.Spec.DeletionPolicy = "Orphan" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t)
			e.push("1", "one.yaml", configMap("one", "NS", "a"))
			e.kustomization("web")
			e.start()
			e.becomes("web", "True")
			e.edit("web", c.change)
			obj := e.get("web")
			e.Expect(e.hub.Delete(t.Context(), obj)).To(Succeed())
			e.Eventually(func() error {
				return e.hub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
			}, "20s").Should(MatchError(ContainSubstring("not found")))
			e.Expect(e.object("v1", "ConfigMap", "one") != nil).To(Equal(c.left))
		})
	}
}

func TestPruneThatFailsIsRetried(t *testing.T) {
	e := newEnv(t)
	var open atomic.Bool
	e.wrap = func(next client.Client) client.Client { return &undeletable{Client: next, open: &open} }
	e.push("1", "one.yaml", configMap("one", "NS", "a"), "two.yaml", configMap("two", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	e.push("2", "two.yaml", configMap("two", "NS", "a"))
	e.becomes("web", "False PruneFailed: ConfigMap/NS/one delete failed: webhook says no")
	e.Expect(e.inventory()).To(Equal([]string{"NS_one__ConfigMap", "NS_two__ConfigMap"}))
	open.Store(true)
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(e.inventory()).To(Equal([]string{"NS_two__ConfigMap"}))
	e.Expect(e.object("v1", "ConfigMap", "one")).To(BeNil())
}

// undeletable refuses deletes until it is opened.
type undeletable struct {
	client.Client
	open *atomic.Bool
}

func (c *undeletable) Delete(ctx context.Context, obj client.Object, options ...client.DeleteOption) error {
	if !c.open.Load() {
		return errors.New("webhook says no")
	}
	return c.Client.Delete(ctx, obj, options...)
}

func TestTargetNamespaceAndDefinitionWithInstance(t *testing.T) {
	e := newEnv(t)
	group := e.namespace + ".example.com"
	e.push("1",
		"crd.yaml", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: stores."+group+"}\nspec:\n  group: "+group+
			"\n  names: {kind: Store, plural: stores}\n  scope: Namespaced\n  versions:\n  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n",
		"store.yaml", "apiVersion: "+group+"/v1\nkind: Store\nmetadata: {name: main}\nspec: {size: 3}\n")
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.TargetNamespace = e.namespace })
	e.start()
	e.becomes("web", "True")
	e.Expect(e.object(group+"/v1", "Store", "main")).NotTo(BeNil())
	e.Expect(e.get("web").Status.Inventory.Entries).To(HaveLen(2))
}

func TestObjectsFollowTheTargetNamespace(t *testing.T) {
	e := newEnv(t)
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kustomize-"}}
	e.Expect(e.hub.Create(t.Context(), other)).To(Succeed())
	e.push("1", "one.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n",
		"kept.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}}\n")
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.TargetNamespace = e.namespace })
	e.start()
	e.becomes("web", "True")
	e.edit("web", func(obj *kustomizev1.Kustomization) { obj.Spec.TargetNamespace = other.Name })
	e.becomes("web", "True")
	e.Expect(e.inventory()).To(Equal([]string{other.Name + "_kept__ConfigMap", other.Name + "_one__ConfigMap"}))
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: other.Name, Name: "one"}, &corev1.ConfigMap{})).To(Succeed())
	e.Expect(e.object("v1", "ConfigMap", "one")).To(BeNil())
	e.Expect(e.object("v1", "ConfigMap", "kept")).NotTo(BeNil())
}

func TestSuspendedIsLeftAlone(t *testing.T) {
	e := newEnv(t)
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.Suspend = true })
	e.start()
	e.Eventually(func() string { return e.condition("web", "Suspended") }, "20s").Should(HavePrefix("True"))
	e.Expect(e.object("v1", "ConfigMap", "one")).To(BeNil())
	e.edit("web", func(obj *kustomizev1.Kustomization) { obj.Spec.Suspend = false })
	e.becomes("web", "True")
}

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
