package placement

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/shard"
)

// world is what a decision is made from.
type world struct {
	// system is the namespace in which the hub has its RemoteCluster.
	system string
	agents []shard.Agent
	// present are the agents by name, as decide sees them.
	present  map[string]shard.Agent
	clusters []fleetv1.RemoteCluster
	objects  []object
	pools    pools
	// members are all agents that have a Lease and may have something to act for,
	// with what is known of them.
	members []memberState
	// budget is how many keys may move of their own accord now, by crew; a crew
	// that is missing has no limit.
	budget map[string]allowance
	// epochs are the highest epochs seen of each key, also where the
	// RemoteCluster is gone.
	epochs map[shard.Key]int64
	// costs are what the agents say that their keys cost them.
	costs map[shard.Key]int64
	// settle is how long a crew that owns nothing waits for more agents to join.
	settle time.Duration
	// miscounted is since when a number of objects is not what its record says; zero
	// when all are.
	miscounted time.Time
	// now is the time for conditions that change.
	now metav1.Time
}

// memberState is an agent, and how it is doing.
type memberState struct {
	name, crew string
	// others are further pools that select its labels.
	others []*pool
	state  shard.LeaseState
	// retired says that the agent's StatefulSet has no such replica any more.
	retired bool
	joined  time.Time
}

// object is one that is routed to an agent.
type object struct {
	// kind is Kustomization or HelmRelease.
	kind            string
	name            types.NamespacedName
	uid             types.UID
	resourceVersion string
	key             shard.Key
	// agent is the routing label; pin and pool are wishes for an agent and for
	// a pool, empty at the hub.
	agent, pin, pool string
	// finalizers are those that it is to have when it is routed; nil where the
	// agent sees to that.
	finalizers []string
	// applied says that an agent has begun to act for the object at this key.
	applied bool
}

// target is a key, and the record of its owner.
type target struct {
	key shard.Key
	// cluster is the RemoteCluster whose record is in force.
	cluster *fleetv1.RemoteCluster
	// record is the owner as it stands; zero where there was none yet.
	record  fleetv1.Assignment
	objects int32
	pin     string
	pool    *pool
	// others are the pools that select the cluster as well.
	others []*pool
	// notes tell of wishes that have no effect.
	notes []string
	// applied says that an agent may have acted for the key before.
	applied bool
	// contested says that another RemoteCluster still holds a record of the key:
	// it is not moved until that is gone.
	contested bool
	cost      int64
}

// targets are the keys that have a RemoteCluster. Where several hold the record
// of one key, the first by precedence is in force; if it has no record yet, it
// takes over that of the next.
func (w *world) targets() map[shard.Key]*target {
	if len(w.pools.list) == 0 {
		w.pools = readPools(nil, w.system, rules{})
	}
	clusters := make([]*fleetv1.RemoteCluster, len(w.clusters))
	for i := range w.clusters {
		clusters[i] = &w.clusters[i]
	}
	slices.SortFunc(clusters, shard.Precedence)
	targets := map[shard.Key]*target{}
	for _, cluster := range clusters {
		records := map[int32]fleetv1.Assignment{}
		for _, record := range cluster.Status.Assignments {
			records[record.Partition] = record
		}
		for _, key := range shard.KeysOf(cluster, w.system) {
			t, known := targets[key]
			if !known {
				t = &target{key: key, cluster: cluster, pin: cluster.Labels[meta.PinLabel]}
				targets[key] = t
			}
			switch other := records[key.Partition]; {
			case t.record.Epoch == 0:
				t.record = other
			case t.cluster != cluster && other.Agent != "":
				t.contested = true
			}
		}
	}
	w.countObjects(targets)
	for key, t := range targets {
		t.cost = max(w.costs[key], 0) + t.size()
		t.continueEpoch(w.epochs[key])
	}
	return targets
}

// continueEpoch sees to it that the epoch of a key never falls, and is 1 only
// for the first owner that it has ever had: also when a RemoteCluster was
// deleted and made again, or its status was edited.
func (t *target) continueEpoch(seen int64) {
	if t.record.Epoch == 0 && t.applied {
		t.record.Epoch = 1
	}
	t.record.Epoch = max(t.record.Epoch, seen)
}

// countObjects adds up who uses the targets, and finds the pool and the pin of
// each: the RemoteCluster's own label decides, and else that of the first object
// by name that has one.
func (w *world) countObjects(targets map[shard.Key]*target) {
	pinned, pooled := map[shard.Key]*object{}, map[shard.Key]*object{}
	first := func(of map[shard.Key]*object, o *object, wish string) {
		if before, ok := of[o.key]; wish != "" && (!ok || compareNames(o.name, before.name) < 0) {
			of[o.key] = o
		}
	}
	for i := range w.objects {
		o := &w.objects[i]
		t, ok := targets[o.key]
		if !ok {
			continue
		}
		t.objects++
		t.applied = t.applied || o.applied
		first(pinned, o, o.pin)
		first(pooled, o, o.pool)
	}
	for key, t := range targets {
		if o := pinned[key]; o != nil && t.pin == "" {
			t.pin = o.pin
		}
		wish, from := t.cluster.Labels[meta.ShardLabel], "its own label"
		if o := pooled[key]; o != nil && wish == "" {
			wish, from = o.pool, "the label of "+o.kind+" "+o.name.String()
		}
		w.choosePool(t, wish, from)
	}
}

// choosePool finds the pool that serves the target. The wish is the value of a
// label.
func (w *world) choosePool(t *target, wish, from string) {
	t.pool, t.others = w.pools.forCluster(t.cluster.Labels)
	if wish == "" {
		return
	}
	if p := w.pools.named(wish); p != nil {
		t.pool, t.others = p, nil
		return
	}
	t.notes = append(t.notes, meta.ShardLabel+"="+wish+", "+from+", has no effect: there is no AgentPool "+wish)
}

// crew is who may act for the target.
func (t *target) crew() string {
	switch {
	case t.cluster.GetMode() == fleetv1.PullMode:
		return pullCrew(shard.PullAgent(t.cluster.Namespace, t.cluster.Name))
	case t.pool == nil:
		return noCrew
	default:
		return t.pool.crew()
	}
}

// size is the part of the cost that is known without asking: the number of
// objects, and for a connection that is held all the time at least one.
func (t *target) size() int64 {
	if t.key.IsHub() {
		return int64(t.objects)
	}
	return int64(max(t.objects, 1))
}

// class is which agents may act for a cluster.
type class struct {
	// name is the same for all clusters with the same answer.
	name     string
	selector labels.Selector
	// pull is the one agent that may act for a pull cluster; empty for others.
	pull string
	// refusal is why nobody may; empty when the selector decides.
	refusal string
}

// refused is the class of clusters that nobody may act for.
func refused(why string) class {
	return class{name: why, selector: labels.Nothing(), refusal: why}
}

func classOf(cluster *fleetv1.RemoteCluster) class {
	switch {
	case cluster.Spec.Suspend:
		return refused("spec.suspend is true")
	case cluster.GetMode() == fleetv1.PullMode && len(cluster.Namespace)+len(cluster.Name) > shard.MaxPullName:
		return refused(fmt.Sprintf("spec.mode is Pull, and metadata.namespace and metadata.name are longer than %d characters together: choose a shorter name", shard.MaxPullName))
	}
	if cluster.GetMode() == fleetv1.PullMode {
		agent := shard.PullAgent(cluster.Namespace, cluster.Name)
		return class{name: "agent " + agent, selector: labels.Everything(), pull: agent}
	}
	if cluster.Spec.AgentSelector == nil {
		return class{selector: labels.Everything()}
	}
	selector, err := metav1.LabelSelectorAsSelector(cluster.Spec.AgentSelector)
	if err != nil {
		return refused(fmt.Sprintf("spec.agentSelector: %v", err))
	}
	return class{name: "agents " + selector.String(), selector: selector}
}

// allows says whether the agent may act for clusters of the class.
func (c class) allows(agent shard.Agent) bool {
	if c.pull != "" || shard.IsPullAgent(agent.Name) {
		return agent.Name == c.pull
	}
	return c.selector.Matches(labels.Set(agent.Labels))
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
