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
	system   string
	agents   []shard.Agent
	clusters []fleetv1.RemoteCluster
	objects  []object
	// now is the time for conditions that change.
	now metav1.Time
}

// object is one that is routed to an agent.
type object struct {
	name            types.NamespacedName
	uid             types.UID
	resourceVersion string
	key             shard.Key
	// agent is the routing label, pin the wish for an agent.
	agent, pin string
	// applied says that the object is at its target already.
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
	// applied says that some agent has written to the target before.
	applied bool
}

// targets are the keys that have a RemoteCluster. Where several hold the record
// of one key, the first by precedence is in force; if it has no record yet, it
// takes over that of the next.
func (w *world) targets() map[shard.Key]*target {
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
			if t.record.Epoch == 0 {
				t.record = records[key.Partition]
			}
		}
	}
	w.countObjects(targets)
	return targets
}

// countObjects adds up who uses the targets, and takes the pin from the first
// object by name that has one, unless the cluster is pinned itself.
func (w *world) countObjects(targets map[shard.Key]*target) {
	pinned := map[shard.Key]types.NamespacedName{}
	for i := range w.objects {
		o := &w.objects[i]
		t, ok := targets[o.key]
		if !ok {
			continue
		}
		t.objects++
		t.applied = t.applied || o.applied
		if o.pin == "" || t.cluster.Labels[meta.PinLabel] != "" {
			continue
		}
		if first, ok := pinned[o.key]; !ok || compareNames(o.name, first) < 0 {
			pinned[o.key], t.pin = o.name, o.pin
		}
	}
}

// cost of a target: the number of objects, and for a connection that is held
// all the time at least one.
func (t *target) cost() int64 {
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
	switch after, ends := cluster.LostAfter(); {
	case cluster.Spec.Suspend:
		return refused("spec.suspend is true")
	case cluster.GetMode() == fleetv1.PullMode && len(cluster.Namespace)+len(cluster.Name) > shard.MaxPullName:
		return refused(fmt.Sprintf("spec.mode is Pull, and metadata.namespace and metadata.name are longer than %d characters together: choose a shorter name", shard.MaxPullName))
	case !ends || after != time.Hour:
		return refused("spec.lostPolicy is set, but this version does not implement it: remove the field")
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
