package placement

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/shard"
)

// Reasons of the condition Assigned.
const (
	assignedReason  = "Assigned"
	noAgentReason   = "NoAgent"
	duplicateReason = "DuplicateTarget"
	notHubReason    = "NotTheHub"
)

// decision is what should be written.
type decision struct {
	records []record
	// owners is the agent of each key that has a record, empty where nobody
	// may act.
	owners map[shard.Key]string
	// unowned is the number of keys that no live agent acts for.
	unowned int
}

// record is placement's part of one RemoteCluster's status.
type record struct {
	cluster *fleetv1.RemoteCluster
	status  fleetv1.RemoteClusterStatus
	moves   []shard.Move
}

// decide is pure: the same world gives the same decision.
func decide(w world) decision {
	targets := w.targets()
	result := shard.Assign(w.input(targets))
	moves := map[shard.Key]shard.Move{}
	for _, move := range result.Moves {
		moves[move.Key] = move
	}
	d := decision{owners: map[shard.Key]string{}}
	for i := range w.clusters {
		cluster := &w.clusters[i]
		rec := record{cluster: cluster, status: fleetv1.RemoteClusterStatus{ObservedGeneration: cluster.Generation}}
		var held []*target
		for _, key := range shard.KeysOf(cluster, w.system) {
			t := targets[key]
			if t.cluster != cluster {
				continue
			}
			held = append(held, t)
			if move, moved := moves[key]; moved {
				t.record.Agent, t.record.Epoch = move.To, t.nextEpoch()
				rec.moves = append(rec.moves, move)
			}
			rec.add(t)
			d.owners[key] = t.record.Agent
			if _, owned := result.Owners[key]; !owned {
				d.unowned++
			}
		}
		rec.setCondition(w, held, result.Owners)
		if rec.changed() {
			d.records = append(d.records, rec)
		}
	}
	return d
}

// input is the world as the assignment sees it.
func (w *world) input(targets map[shard.Key]*target) shard.Input {
	in := shard.Input{Agents: w.agents, Current: map[shard.Key]string{}, Pools: map[string]shard.Pool{"": {Budget: shard.Unlimited}}}
	classes := map[string]class{}
	for _, key := range slices.SortedFunc(maps.Keys(targets), shard.Key.Compare) {
		t := targets[key]
		c := classOf(t.cluster)
		classes[c.name] = c
		in.Keys = append(in.Keys, shard.KeyState{Key: key, Cost: t.cost(), Class: c.name, Pin: t.pin})
		in.Current[key] = t.record.Agent
	}
	in.Allows = func(class string, agent shard.Agent) bool {
		return classes[class].allows(agent)
	}
	return in
}

// nextEpoch is that of the next owner. The first of all owners need not wait
// for anybody: a key whose record is new, although its objects have been applied
// already, had an owner in a record that was deleted.
func (t *target) nextEpoch() int64 {
	if t.record.Epoch == 0 && t.applied {
		return 2
	}
	return t.record.Epoch + 1
}

// add puts one partition into the record. One that never had an owner is not in
// it.
func (r *record) add(t *target) {
	r.status.Objects += t.objects
	if t.record.Epoch == 0 {
		return
	}
	t.record.Partition = t.key.Partition
	r.status.Assignments = append(r.status.Assignments, t.record)
	if t.record.Partition == 0 {
		r.status.Agent = t.record.Agent
	}
}

// setCondition says in one sentence who acts for the cluster, or why nobody.
func (r *record) setCondition(w world, held []*target, owners map[shard.Key]string) {
	condition := metav1.Condition{Type: fleetv1.AssignedCondition, Status: metav1.ConditionFalse, ObservedGeneration: r.cluster.Generation}
	condition.Reason, condition.Message = r.explain(w, held, owners)
	if condition.Reason == assignedReason {
		condition.Status = metav1.ConditionTrue
	}
	condition.LastTransitionTime = w.now
	before := apimeta.FindStatusCondition(r.cluster.Status.Conditions, fleetv1.AssignedCondition)
	if before != nil && before.Status == condition.Status {
		condition.LastTransitionTime = before.LastTransitionTime
	}
	r.status.Conditions = []metav1.Condition{condition}
}

func (r *record) explain(w world, held []*target, owners map[shard.Key]string) (reason, message string) {
	keys := shard.KeysOf(r.cluster, w.system)
	switch {
	case len(keys) == 0:
		return notHubReason, "spec.mode Hub is for the RemoteCluster " + w.system + "/" + shard.HubCluster + " alone"
	case len(held) == 0:
		return duplicateReason, "another RemoteCluster in this namespace is in force for " + keys[0].String() + ": delete one of them"
	}
	names, without := map[string]bool{}, 0
	for _, t := range held {
		if owner, ok := owners[t.key]; ok {
			names[owner] = true
		} else {
			without++
		}
	}
	if without > 0 {
		return noAgentReason, whyNobody(w, r.cluster, held)
	}
	list := strings.Join(slices.Sorted(maps.Keys(names)), ", ")
	return assignedReason, "owned by " + list + pinNote(held, owners)
}

// whyNobody explains that no live agent may act for the cluster.
func whyNobody(w world, cluster *fleetv1.RemoteCluster, held []*target) string {
	c, message := classOf(cluster), ""
	switch {
	case c.refusal != "":
		message = "no live agent may act for the cluster: " + c.refusal
	case c.pull != "":
		message = "no live agent: the one inside of the cluster does not renew its Lease in namespace " + cluster.Namespace +
			": install it with hub agent install, or look at its log in the cluster"
	case !slices.ContainsFunc(w.agents, func(a shard.Agent) bool { return !a.Away && !shard.IsPullAgent(a.Name) }):
		message = "no live agent: none renews its Lease in namespace " + w.system
	default:
		message = "no live agent matches spec.agentSelector " + c.selector.String()
	}
	if last := held[0].record.Agent; last != "" {
		message += "; the last one was " + last
	}
	return message
}

// pinNote says that a pin has no effect.
func pinNote(held []*target, owners map[shard.Key]string) string {
	for _, t := range held {
		if t.pin != "" && owners[t.key] != t.pin {
			return "; the pin to " + t.pin + " has no effect: there is no such live agent, or spec.agentSelector does not match it"
		}
	}
	return ""
}

// changed says whether the status differs from what the RemoteCluster has.
func (r *record) changed() bool {
	have, want := r.cluster.Status, r.status
	before := apimeta.FindStatusCondition(have.Conditions, fleetv1.AssignedCondition)
	assignments := slices.SortedFunc(slices.Values(have.Assignments), func(a, b fleetv1.Assignment) int {
		return cmp.Compare(a.Partition, b.Partition)
	})
	return before == nil || !reflect.DeepEqual(*before, want.Conditions[0]) ||
		have.ObservedGeneration != want.ObservedGeneration || have.Agent != want.Agent || have.Objects != want.Objects ||
		!slices.Equal(assignments, want.Assignments)
}
