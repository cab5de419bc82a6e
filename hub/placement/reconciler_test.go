package placement

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

// TestFleetOfThree is the whole story of an agent that dies and returns.
func TestFleetOfThree(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0", "agent-1")
	h.deploy("prod-eu", "prod-us", "staging")
	result := h.reconcile()
	h.Expect(result.RequeueAfter).To(Equal(15*time.Second), "when the members expire unless they renew")
	start := h.owners()
	h.Expect(start).To(HaveLen(3))
	h.Expect(agentsOf(start)).To(Equal([]string{"agent-0", "agent-1"}))
	h.Expect(h.cluster("staging").Status.Objects).To(BeEquivalentTo(1))
	h.Expect(h.cluster("staging").Status.Conditions).To(ConsistOf(And(
		HaveField("Type", "Assigned"), HaveField("Status", metav1.ConditionTrue),
		HaveField("Message", "owned by "+h.cluster("staging").Status.Agent))))
	h.Expect(h.told()).To(HaveLen(3))

	versions := h.versions()
	h.reconcile()
	h.Expect(h.versions()).To(Equal(versions), "a second run writes nothing")

	// The agent that owns one cluster is silent from here on. Nothing moves
	// until its Lease has run out, after half of the 30 seconds that it might have
	// been away after having said so.
	dead, survivor := "agent-0", "agent-1"
	if count(start, "agent-1 1") == 1 {
		dead, survivor = survivor, dead
	}
	for range 2 {
		h.clock.Step(5 * time.Second)
		h.renew(survivor)
		h.reconcile()
		h.Expect(h.versions()).To(Equal(versions))
	}
	h.clock.Step(5 * time.Second)
	h.renew(survivor)
	h.reconcile()
	for name, owner := range start {
		if owner == dead+" 1" {
			h.Expect(h.owners()).To(HaveKeyWithValue(name, survivor+" 2"))
			h.Expect(h.told()).To(Equal([]string{"Normal Moved moved from " + dead + " to " + survivor + ": " + dead + " is gone"}))
		} else {
			h.Expect(h.owners()).To(HaveKeyWithValue(name, survivor+" 1"))
		}
	}

	// It returns, and one cluster moves back.
	h.renew(dead)
	h.reconcile()
	h.Expect(agentsOf(h.owners())).To(Equal([]string{"agent-0", "agent-1"}))
	h.Expect(h.told()).To(Equal([]string{"Normal Moved moved from " + survivor + " to " + dead + ": " + dead + " has less to do than its share"}))
}

func count(owners map[string]string, owner string) int {
	n := 0
	for _, o := range owners {
		if o == owner {
			n++
		}
	}
	return n
}

func TestRollingUpdateMovesNothing(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0", "agent-1")
	h.deploy("a", "b", "c", "d")
	h.reconcile()
	versions := h.versions()
	for _, name := range []string{"agent-1", "agent-0"} {
		h.hold(name, nil)
		for range 5 {
			h.clock.Step(5 * time.Second)
			h.renew(map[string]string{"agent-0": "agent-1", "agent-1": "agent-0"}[name])
			h.reconcile()
		}
		h.hold(name, new(name+"_next"))
		h.reconcile()
	}
	h.Expect(h.versions()).To(Equal(versions))
}

func TestAgentWithoutALeaseIsGoneAtOnce(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0", "agent-1")
	h.deploy("a", "b", "c", "d")
	h.reconcile()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "headwater-agent-agent-1"}}
	h.Expect(h.Delete(t.Context(), lease)).To(Succeed())
	h.reconcile()
	h.Expect(agentsOf(h.owners())).To(Equal([]string{"agent-0"}))
}

func TestForgedAndStrippedLabels(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a", "b")
	h.reconcile()
	forged, stripped := h.kustomization("a"), h.kustomization("b")
	forged.Labels["fleet.headwater.dev/agent"] = "mallory"
	stripped.Labels = map[string]string{"mine": "yes"}
	h.Expect(h.Update(t.Context(), forged)).To(Succeed())
	h.Expect(h.Update(t.Context(), stripped)).To(Succeed())
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-0 1", "b": "agent-0 1"}))
	h.Expect(h.kustomization("b").Labels).To(Equal(map[string]string{"mine": "yes", "fleet.headwater.dev/agent": "agent-0"}))
}

// TestStaleDecisionIsNotWritten: what a leader decided before it lost the lead
// does not overwrite what its successor wrote.
func TestStaleDecisionIsNotWritten(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a", "b")
	h.reconcile()

	// The old leader decides that agent-1 takes over ...
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "headwater-agent-agent-0"}}
	h.Expect(h.Delete(t.Context(), lease)).To(Succeed())
	h.renew("agent-1")
	old := h.newReconciler()
	w := h.look(old)
	d := decide(w)
	h.Expect(d.records).To(HaveLen(2))

	// ... and its successor, later, that agent-2 does.
	lease.Name = "headwater-agent-agent-1"
	h.Expect(h.Delete(t.Context(), lease)).To(Succeed())
	h.renew("agent-2")
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-2 2", "b": "agent-2 2"}))
	versions := h.versions()

	overtaken, err := old.write(t.Context(), w, d)
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(overtaken).To(BeTrue(), "it looks again")
	h.Expect(h.versions()).To(Equal(versions))
}

// TestLabelDoesNotGoBeforeItsRecord: an object is not routed to an agent that
// is not in the record.
func TestLabelDoesNotGoBeforeItsRecord(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a")
	w := h.look(h.reconciler)
	changed := h.cluster("a")
	changed.Labels = map[string]string{"changed": "meanwhile"}
	h.Expect(h.Update(t.Context(), changed)).To(Succeed())
	overtaken, err := h.reconciler.write(t.Context(), w, decide(w))
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(overtaken).To(BeTrue())
	h.Expect(h.kustomization("a").Labels).To(BeEmpty())
	h.Expect(h.told()).To(BeEmpty())
}

// TestObjectThatChangedMeanwhileIsNotRouted: it may have another target now.
func TestObjectThatChangedMeanwhileIsNotRouted(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a")
	w := h.look(h.reconciler)
	k := h.kustomization("a")
	k.Spec.KubeConfig.SecretRef.Name = "elsewhere"
	h.Expect(h.Update(t.Context(), k)).To(Succeed())
	overtaken, err := h.reconciler.write(t.Context(), w, decide(w))
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(overtaken).To(BeTrue())
	h.Expect(h.cluster("a").Status.Agent).To(Equal("agent-0"))
	h.Expect(h.kustomization("a").Labels).To(BeEmpty())
}

func TestAgentThatRestartsIsGivenNothing(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0", "agent-1")
	h.hold("agent-1", nil)
	h.deploy("a", "b", "c", "d", "e", "f")
	h.reconcile()
	h.Expect(agentsOf(h.owners())).To(Equal([]string{"agent-0"}))
}

func TestStatusOfOthersIsLeftAlone(t *testing.T) {
	h := newHub(t)
	h.deploy("a")
	body := `{"apiVersion":"fleet.headwater.dev/v1alpha1","kind":"RemoteCluster","metadata":{"name":"a"},"status":{"version":"v1.36.3",
		"conditions":[{"type":"Connected","status":"True","reason":"Connected","message":"","lastTransitionTime":"2026-07-01T12:00:00Z"}]}}`
	patch := client.RawPatch(types.ApplyPatchType, []byte(body))
	h.Expect(h.Status().Patch(t.Context(), h.cluster("a"), patch, client.FieldOwner("headwater-agent"))).To(Succeed())
	h.renew("agent-0")
	h.reconcile()
	status := h.cluster("a").Status
	h.Expect(status.Version).To(Equal("v1.36.3"))
	h.Expect(status.Conditions).To(HaveLen(2))
	h.Expect(status.Agent).To(Equal("agent-0"))
}

func TestNoAgentThenOne(t *testing.T) {
	h := newHub(t)
	h.deploy("a")
	h.Expect(h.reconcile().RequeueAfter).To(BeZero())
	h.Expect(h.cluster("a").Status.Conditions).To(ConsistOf(HaveField("Reason", "NoAgent")))
	h.Expect(h.owners()).To(BeEmpty())
	versions := h.versions()
	h.reconcile()
	h.Expect(h.versions()).To(Equal(versions))
	h.renew("agent-0")
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-0 1"}))
}

func TestSelectorAndPin(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0", "agent-1", "agent-2")
	h.deploy("a")
	a := h.cluster("a")
	a.Spec.AgentSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"name": "agent-2"}}
	h.Expect(h.Update(t.Context(), a)).To(Succeed())
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-2 1"}))

	a = h.cluster("a")
	a.Spec.AgentSelector = nil
	h.Expect(h.Update(t.Context(), a)).To(Succeed())
	k := h.kustomization("a")
	k.Labels["fleet.headwater.dev/pin"] = "agent-1"
	h.Expect(h.Update(t.Context(), k)).To(Succeed())
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-1 2"}))
}

// TestNoObjectDecidesForAPartitionOfTheHub: the objects of all tenants share the
// partitions, so that the RemoteCluster hub alone says where they are.
func TestNoObjectDecidesForAPartitionOfTheHub(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0", "agent-1", "agent-2")
	east := fleetv1.AgentPool{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "east"}}
	east.Spec.Agents = &metav1.LabelSelector{MatchLabels: map[string]string{"name": "agent-1"}}
	east.Spec.ClusterSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"region": "east"}}
	h.Expect(h.Create(t.Context(), &east)).To(Succeed())
	self := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "hub"}}
	self.Spec.Mode = fleetv1.HubMode
	h.Expect(h.Create(t.Context(), self)).To(Succeed())
	owners := func() (of []string) {
		h.reconcile()
		for _, a := range h.cluster("hub").Status.Assignments {
			of = append(of, a.Agent)
		}
		return of
	}
	for _, name := range []string{"pinned", "sharded"} {
		k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name}}
		k.Spec.Interval.Duration = time.Minute
		k.Spec.SourceRef.Kind, k.Spec.SourceRef.Name = "GitRepository", "fleet"
		h.Expect(h.Create(t.Context(), k)).To(Succeed())
	}
	before := owners()
	h.Expect(before).To(And(HaveLen(16), HaveEach(Or(Equal("agent-0"), Equal("agent-2")))))

	other := map[string]string{"agent-0": "agent-2", "agent-2": "agent-0"}
	pinned, sharded := h.kustomization("pinned"), h.kustomization("sharded")
	pinned.Labels["fleet.headwater.dev/pin"] = other[pinned.Labels["fleet.headwater.dev/agent"]]
	h.Expect(h.Update(t.Context(), pinned)).To(Succeed())
	sharded.Labels["sharding.fluxcd.io/key"] = "east"
	h.Expect(h.Update(t.Context(), sharded)).To(Succeed())
	h.Expect(owners()).To(Equal(before), "an object wishes in vain")

	self = h.cluster("hub")
	self.Labels = map[string]string{"sharding.fluxcd.io/key": "east"}
	h.Expect(h.Update(t.Context(), self)).To(Succeed())
	h.Expect(owners()).To(ContainElement("agent-1"), "the RemoteCluster does not")
}

// TestWhatIsDeletedIsForgotten: clusters that come and go for years leave nothing
// behind but their epochs.
func TestWhatIsDeletedIsForgotten(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a", "kept")
	h.reconcile()
	var lease coordinationv1.Lease
	h.Expect(h.Get(t.Context(), types.NamespacedName{Namespace: h.namespace, Name: "headwater-agent-agent-0"}, &lease)).To(Succeed())
	lease.Annotations = map[string]string{"fleet.headwater.dev/costs": fmt.Sprintf(`{"%s/a/value":8,"%[1]s/kept/value":8}`, h.namespace)}
	h.Expect(h.Update(t.Context(), &lease)).To(Succeed())
	h.reconcile()
	h.hold("agent-0", nil)
	h.reconcile()
	h.clock.Step(31 * time.Second)
	h.renew("agent-1")
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-1 2", "kept": "agent-1 2"}))
	h.Expect(h.reconciler.costs).To(HaveLen(2))
	h.Expect(h.reconciler.handovers).To(HaveLen(2))

	h.Expect(h.Delete(t.Context(), h.cluster("a"))).To(Succeed())
	h.reconcile()
	kept := types.NamespacedName{Namespace: h.namespace, Name: "kept"}
	h.Expect(h.reconciler.costs).To(And(HaveLen(1), HaveKey(shard.Key{Namespace: h.namespace, Name: "kept", DataKey: "value"})))
	h.Expect(h.reconciler.handovers).To(And(HaveLen(1), HaveKey(kept)))

	again := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "a"}}
	again.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "a"}}
	h.Expect(h.Create(t.Context(), again)).To(Succeed())
	h.reconcile()
	h.Expect(h.owners()).To(HaveKeyWithValue("a", "agent-1 3"), "an epoch never falls")
}

// TestControllerHearsOfEverything runs the controller in a manager: what it does
// not hear of by a watch does not happen here.
func TestControllerHearsOfEverything(t *testing.T) {
	h := newHub(t)
	mgr, err := ctrl.NewManager(shared.ControlPlane(t).Config(), manager.Options{
		Scheme:  kinds(h.WithT),
		Metrics: server.Options{BindAddress: "0"},
		Cache:   cache.Options{DefaultNamespaces: map[string]cache.Config{h.namespace: {}}, DefaultTransform: Strip},
	})
	h.Expect(err).NotTo(HaveOccurred())
	r := h.newReconciler()
	r.Client, r.Clock = nil, nil
	r.MemberLease = time.Hour // of real time: nobody renews here
	h.Expect(r.AddToManager(mgr)).To(Succeed())
	go func() { _ = mgr.Start(t.Context()) }()

	owner := func() string { return h.cluster("a").Status.Agent }
	label := func() string { return h.kustomization("a").Labels["fleet.headwater.dev/agent"] }
	h.deploy("a")
	h.Eventually(func() int { return len(h.cluster("a").Status.Conditions) }, "30s").Should(Equal(1))
	h.renew("agent-0")
	h.Eventually(label, "30s").Should(Equal("agent-0"), "a Lease came")

	k := h.kustomization("a")
	k.Labels = nil
	h.Expect(h.Update(t.Context(), k)).To(Succeed())
	h.Eventually(label, "30s").Should(Equal("agent-0"), "a label went")

	h.renew("agent-1")
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "headwater-agent-agent-0"}}
	h.Expect(h.Delete(t.Context(), lease)).To(Succeed())
	h.Eventually(owner, "30s").Should(Equal("agent-1"), "a Lease went")
	h.Eventually(label, "30s").Should(Equal("agent-1"))

	a := h.cluster("a")
	a.Spec.AgentSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"name": "agent-2"}}
	h.Expect(h.Update(t.Context(), a)).To(Succeed())
	h.Eventually(label, "30s").Should(BeEmpty(), "the spec of a RemoteCluster changed")
	h.renew("agent-2")
	h.Eventually(label, "30s").Should(Equal("agent-2"))
}

// TestOnlyAPullClusterHasAnAgentInside: a Lease alone, which a tenant can make up,
// makes nobody the agent of a cluster.
func TestOnlyAPullClusterHasAnAgentInside(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("pushed")
	inside := shard.PullAgent(h.namespace, "edge")
	h.renew(inside, shard.PullAgent(h.namespace, "pushed"), shard.PullAgent(h.namespace, "made.up"))
	names := func() (agents, members []string) {
		w := h.look(h.reconciler)
		for _, a := range w.agents {
			agents = append(agents, a.Name)
		}
		for _, m := range w.members {
			members = append(members, m.name)
		}
		return agents, members
	}
	agents, members := names()
	h.Expect(agents).To(Equal([]string{"agent-0"}))
	h.Expect(members).To(Equal([]string{"agent-0"}))

	edge := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "edge"}}
	edge.Spec.Mode = fleetv1.PullMode
	h.Expect(h.Create(t.Context(), edge)).To(Succeed())
	agents, members = names()
	h.Expect(agents).To(Equal([]string{"agent-0", inside}))
	h.Expect(members).To(Equal([]string{"agent-0", inside}))
	h.reconcile()
	h.Expect(h.cluster("edge").Status.Agent).To(Equal(inside))
	h.Expect(h.cluster("pushed").Status.Agent).To(Equal("agent-0"))
}

// TestLeasesOfTenantsCostLittle: whoever may write Leases in a namespace of his
// own can call any number of them an agent's, and renew them all the time.
func TestLeasesOfTenantsCostLittle(t *testing.T) {
	h := newHub(t)
	mgr, err := ctrl.NewManager(shared.ControlPlane(t).Config(), manager.Options{
		Scheme:  kinds(h.WithT),
		Metrics: server.Options{BindAddress: "0"},
		// Placement, of the test before.
		Controller: config.Controller{SkipNameValidation: new(true)},
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{h.namespace: {}}, DefaultTransform: Strip},
	})
	h.Expect(err).NotTo(HaveOccurred())
	r := h.newReconciler()
	r.Client, r.Clock = nil, nil
	recorder := mgr.GetEventRecorderFor("placement") //nolint:staticcheck // the new API's events are no core/v1 ones
	r.Events = reconcile.NewRecorder(recorder, h.Scheme(), "placement", "")
	h.Expect(r.AddToManager(mgr)).To(Succeed())
	go func() { _ = mgr.Start(t.Context()) }()

	tenant := newHub(t)
	told := func() map[string]int {
		var events corev1.EventList
		h.Expect(tenant.List(t.Context(), &events)).To(Succeed())
		times := map[string]int{}
		for _, e := range events.Items {
			times[e.InvolvedObject.Name+" "+e.Reason] += int(e.Count)
		}
		return times
	}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: tenant.namespace, Name: "headwater-agent-mallory",
		Labels:      map[string]string{"fleet.headwater.dev/member": "true"},
		Annotations: map[string]string{"fleet.headwater.dev/costs": strings.Repeat("x", 100_000)},
	}}
	h.Expect(tenant.Create(t.Context(), lease)).To(Succeed())
	h.Eventually(told, "30s").Should(Equal(map[string]int{"headwater-agent-mallory NotAnAgent": 1}))
	h.Expect(r.own.Get(t.Context(), client.ObjectKeyFromObject(lease), lease)).To(Succeed())
	h.Expect(lease.Annotations).To(BeEmpty(), "what says nothing is not kept")

	// One that could be of a pull cluster's agent keeps as little as that needs.
	pull := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: tenant.namespace, Name: "headwater-agent-" + shard.PullAgent(tenant.namespace, "edge"),
		Labels: map[string]string{"fleet.headwater.dev/member": "true", "note": "anything"},
	}}
	pull.Annotations = map[string]string{"fleet.headwater.dev/costs": strings.Repeat("x", 100_000)}
	pull.Finalizers = []string{"example.com/" + strings.Repeat("x", 60)}
	pull.Spec.HolderIdentity = new(strings.Repeat("x", 100_000))
	h.Expect(tenant.Create(t.Context(), pull)).To(Succeed())
	made := pull.UID
	pull = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: pull.Namespace, Name: pull.Name}}
	h.Eventually(func() error { return r.own.Get(t.Context(), client.ObjectKeyFromObject(pull), pull) }, "30s").Should(Succeed())
	h.Expect(pull.Labels).To(Equal(map[string]string{"fleet.headwater.dev/member": "true"}))
	h.Expect(pull.UID).To(Equal(made))
	h.Expect(pull.Size()).To(BeNumerically("<", 1000))

	tenant.renew("mallory")
	tenant.renew("trudy") // and this is heard of after that
	h.Eventually(told, "30s").Should(HaveKey("headwater-agent-trudy NotAnAgent"))
	h.Expect(told()).To(HaveKeyWithValue("headwater-agent-mallory NotAnAgent", 1), "once is enough")
}
