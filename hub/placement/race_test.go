package placement

import (
	"fmt"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
)

// TestTwoLeadersDoNotSplitAKey: two leaders at a failover, who see different
// agents, write against each other. A watch of the record sees one owner of each
// epoch, and epochs that only grow: what one has given away the other never
// gives to somebody else under the same number.
func TestTwoLeadersDoNotSplitAKey(t *testing.T) {
	h := newHub(t)
	names := []string{"a", "b", "c", "d"}
	pool := &fleetv1.AgentPool{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "default"}}
	pool.Spec.Placement.MovesPerMinute = 1000 // so that nothing but the other leader is in a leader's way
	h.Expect(h.Create(t.Context(), pool)).To(Succeed())
	h.renew("agent-0", "agent-1", "agent-2")
	h.deploy(names...)
	watcher, err := client.NewWithWatch(shared.ControlPlane(t).Config(), client.Options{Scheme: h.Scheme()})
	h.Expect(err).NotTo(HaveOccurred())
	seen, err := watcher.Watch(t.Context(), &fleetv1.RemoteClusterList{}, client.InNamespace(h.namespace))
	h.Expect(err).NotTo(HaveOccurred())
	owners, epochs := map[string]string{}, map[string]int64{}
	watched := make(chan string, 1)
	go func() {
		for event := range seen.ResultChan() {
			c, ok := event.Object.(*fleetv1.RemoteCluster)
			if !ok || len(c.Status.Assignments) == 0 {
				continue
			}
			record := c.Status.Assignments[0]
			id := fmt.Sprintf("%s/%d", c.Name, record.Epoch)
			if before, known := owners[id]; known && before != record.Agent || record.Epoch < epochs[c.Name] {
				watched <- fmt.Sprintf("%s: %q, then %q; epoch %d before", id, before, record.Agent, epochs[c.Name])
				return
			}
			owners[id], epochs[c.Name] = record.Agent, record.Epoch
		}
		watched <- ""
	}()

	var leaders sync.WaitGroup
	for i := range 2 {
		leader := h.newReconciler()
		leaders.Go(func() {
			for round := range 15 {
				// Each has its own idea of which agent is pinned.
				for _, name := range names {
					pin := fmt.Sprintf(`{"metadata":{"labels":{"fleet.headwater.dev/pin":"agent-%d"}}}`, (round+i)%3)
					c := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name}}
					_ = h.Patch(t.Context(), c, client.RawPatch(types.MergePatchType, []byte(pin)))
				}
				if _, err := leader.Reconcile(t.Context(), ctrl.Request{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	leaders.Wait()
	for h.reconcile().RequeueAfter == again {
		continue
	}
	seen.Stop()
	h.Expect(<-watched).To(BeEmpty())
	h.Expect(epochs).To(HaveLen(4))
	h.Expect(epochs["a"]).To(BeNumerically(">", 3), "the owner changed often enough to mean something")
	h.owners() // the labels agree with the records
}

// TestForgedPartitionIsRemoved: what somebody else puts into the record stays
// only as long as nobody looks.
func TestForgedPartitionIsRemoved(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a")
	h.reconcile()
	h.told()
	forged := `{"apiVersion":"fleet.headwater.dev/v1alpha1","kind":"RemoteCluster","metadata":{"name":"a"},
		"status":{"assignments":[{"partition":5,"agent":"mallory","epoch":1}]}}`
	h.Expect(h.Status().Patch(t.Context(), h.cluster("a"), client.RawPatch(types.ApplyPatchType, []byte(forged)), client.FieldOwner("tenant"))).To(Succeed())
	h.Expect(h.cluster("a").Status.Assignments).To(HaveLen(2))
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-0 1"}))
	h.Expect(h.told()).To(Equal([]string{"Warning RecordCorrected removed from status.assignments what is not this cluster's to hold: partitions 5"}))
	versions := h.versions()
	h.reconcile()
	h.Expect(h.versions()).To(Equal(versions))
}

// TestRecreatedClusterGoesOnCounting: the agent that is given the key is not told
// that it is the first.
func TestRecreatedClusterGoesOnCounting(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a")
	h.reconcile()
	h.Expect(h.Delete(t.Context(), h.cluster("a"))).To(Succeed())
	h.reconcile()
	again := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "a"}}
	again.Spec.KubeConfig = h.kustomization("a").Spec.KubeConfig
	h.Expect(h.Create(t.Context(), again)).To(Succeed())
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-0 2"}))
}

func TestWhoeverEditsTheLabelIsTold(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a", "b")
	h.reconcile()
	h.reconcile()
	h.told()
	forged, stripped := h.kustomization("a"), h.kustomization("b")
	forged.Labels["fleet.headwater.dev/agent"] = "mallory"
	stripped.Labels = nil
	h.Expect(h.Update(t.Context(), forged)).To(Succeed())
	h.Expect(h.Update(t.Context(), stripped)).To(Succeed())
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-0 1", "b": "agent-0 1"}))
	h.Expect(h.told()).To(Equal([]string{
		"Warning RoutingCorrected the label fleet.headwater.dev/agent was changed from agent-0 to mallory, which changes nothing: put back to agent-0. Use fleet.headwater.dev/pin to choose an agent",
		"Warning RoutingCorrected the label fleet.headwater.dev/agent was removed, which changes nothing: put back to agent-0. Use fleet.headwater.dev/pin to choose an agent",
	}))
}

// TestPoolsOnAServer is the whole way: objects, labels, status, and the pace of
// rebalancing by labels.
func TestPoolsOnAServer(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0", "agent-1")
	pool := &fleetv1.AgentPool{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "blue"}}
	pool.Spec.ClusterSelector, pool.Spec.Agents = selecting("pool", "blue"), selecting("name", "agent-1")
	pool.Spec.Placement.MovesPerMinute = 1
	h.Expect(h.Create(t.Context(), pool)).To(Succeed())
	h.deploy("a", "b")
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-0 1", "b": "agent-0 1"}))

	for _, name := range []string{"a", "b"} {
		c := h.cluster(name)
		c.Labels = map[string]string{"pool": "blue"}
		h.Expect(h.Update(t.Context(), c)).To(Succeed())
	}
	result := h.reconcile()
	h.Expect(agentsOf(h.owners())).To(Equal([]string{"agent-0", "agent-1"}), "one a minute")
	h.Expect(result.RequeueAfter).To(BeNumerically("<=", time.Minute))
	h.clock.Step(time.Minute)
	h.renew("agent-0", "agent-1")
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-1 2", "b": "agent-1 2"}))

	h.Expect(h.Get(t.Context(), client.ObjectKeyFromObject(pool), pool)).To(Succeed())
	h.Expect(pool.Status.Agents).To(Equal([]fleetv1.AgentStatus{{Name: "agent-1", State: "Ready", Clusters: 2, Cost: 2}}))
	h.Expect(pool.Status.Clusters).To(BeEquivalentTo(2))
	h.Expect(pool.Status.Conditions[0].Message).To(Equal("1 agents for 2 clusters"))
}

// TestAPoolWaitsAsLongAsTheHub, where it does not say itself how long.
func TestAPoolWaitsAsLongAsTheHub(t *testing.T) {
	h := newHub(t)
	h.reconciler.ReassignAfter = 2 * time.Minute // --reassign-after
	pool := &fleetv1.AgentPool{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "default"}}
	h.Expect(h.Create(t.Context(), pool)).To(Succeed())
	h.renew("agent-0")
	h.deploy("a")
	h.reconcile()
	h.hold("agent-0", nil)
	h.reconcile()
	h.clock.Step(time.Minute)
	h.renew("agent-1")
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-0 1"}))
	h.clock.Step(time.Minute)
	h.renew("agent-1")
	h.reconcile()
	h.Expect(h.owners()).To(Equal(map[string]string{"a": "agent-1 2"}))
}

func TestScalingDownMovesAtOnce(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0", "agent-1")
	h.deploy("a", "b", "c", "d")
	pod := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "agent"}}}
	pod.Spec.Containers = []corev1.Container{{Name: "agent", Image: "agent"}}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "agent"}}
	set.Spec = appsv1.StatefulSetSpec{Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: pod.Labels}, Template: pod}
	h.Expect(h.Create(t.Context(), set)).To(Succeed())
	h.reconcile()
	h.Expect(agentsOf(h.owners())).To(Equal([]string{"agent-0", "agent-1"}))
	set.Spec.Replicas = new(int32(1))
	h.Expect(h.Update(t.Context(), set)).To(Succeed())
	h.reconcile()
	h.Expect(agentsOf(h.owners())).To(Equal([]string{"agent-0"}), "while agent-1 still renews its Lease")
}

// TestReportedCostDecides: the cluster that costs its agent most stays, and the
// others make room for it.
func TestReportedCostDecides(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a", "b", "c", "d", "e", "f")
	h.reconcile()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "headwater-agent-agent-0"}}
	h.Expect(h.Get(t.Context(), client.ObjectKeyFromObject(lease), lease)).To(Succeed())
	lease.Annotations = map[string]string{"fleet.headwater.dev/costs": fmt.Sprintf(`{"%s/a/value":5}`, h.namespace)}
	h.Expect(h.Update(t.Context(), lease)).To(Succeed())
	h.reconcile()
	h.renew("agent-1")
	h.reconcile()
	h.Expect(count(h.owners(), "agent-1 2")).To(Equal(5), "as much as one that is as busy as five others")
	h.Expect(h.owners()).To(HaveKeyWithValue("a", "agent-0 1"))
}

func TestHelmReleasesAreRouted(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a")
	release := h.releaseTo("a", "shop")
	h.reconcile()
	h.Expect(h.Get(t.Context(), client.ObjectKeyFromObject(release), release)).To(Succeed())
	h.Expect(release.Labels).To(HaveKeyWithValue("fleet.headwater.dev/agent", "agent-0"))
	h.Expect(h.cluster("a").Status.Objects).To(BeEquivalentTo(2))
}
