package placement

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

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
	// unowned is the number of keys that no live agent acts for though one
	// should, doubled of those that two records give to different agents.
	unowned, doubled int
	// moved is how many keys of each crew moved of their own accord.
	moved map[string]int
	pools []poolRecord
	// miscounted is since when a number of objects is not what its record says; zero
	// when all are, or are written along.
	miscounted time.Time
	// next is when the decision changes by the mere passing of time.
	next time.Time
}

// record is placement's part of one RemoteCluster's status.
type record struct {
	cluster *fleetv1.RemoteCluster
	status  fleetv1.RemoteClusterStatus
	moves   []shard.Move
	// foreign are partitions in the record that are not the cluster's, or not
	// in force.
	foreign []int32
}

// decide is pure: the same world gives the same decision.
func decide(w world) decision {
	targets := w.targets()
	d := decision{owners: map[shard.Key]string{}, moved: map[string]int{}}
	w.agents, d.next = w.settled(targets)
	w.present = make(map[string]shard.Agent, len(w.agents))
	for _, a := range w.agents {
		w.present[a.Name] = a
	}
	result := shard.Assign(w.input(targets))
	moves, retired := map[shard.Key]shard.Move{}, w.retiredNames()
	for _, move := range result.Moves {
		if move.Reason == shard.OwnerGone && slices.Contains(retired, move.From) {
			move.Reason = agentRetired
		}
		if t := targets[move.Key]; !t.contested || move.From == "" {
			moves[move.Key] = move
			continue
		}
		result.Owners[move.Key] = move.From
	}
	since := cmp.Or(w.miscounted, w.now.Time)
	recount := since.Add(countAfter)
	for i := range w.clusters {
		cluster := &w.clusters[i]
		rec := record{cluster: cluster, status: fleetv1.RemoteClusterStatus{ObservedGeneration: cluster.Generation}}
		var held []*target
		for _, key := range shard.KeysOf(cluster, w.system) {
			t := targets[key]
			if t.cluster != cluster {
				d.doubled += doubled(cluster, key, t)
				continue
			}
			held = append(held, t)
			if move, moved := moves[key]; moved {
				t.record.Agent, t.record.Epoch = move.To, t.record.Epoch+1
				rec.moves = append(rec.moves, move)
				if move.Reason.Voluntary() {
					d.moved[t.crew()]++
				}
			}
			rec.add(t)
			d.owners[key] = t.record.Agent
		}
		rec.setCondition(w, held, result.Owners)
		rec.findForeign()
		switch {
		case rec.changed():
			d.records = append(d.records, rec)
		case rec.cluster.Status.Objects == rec.status.Objects:
		case w.now.Time.Before(recount):
			d.next, d.miscounted = sooner(d.next, recount), since
		default:
			d.records = append(d.records, rec)
		}
	}
	d.unowned = unowned(targets, result.Owners)
	d.pools = w.poolRecords(targets, result.Owners)
	return d
}

// unowned is the number of keys that have no owner. Those of a cluster that is
// suspended are to have none.
func unowned(targets map[shard.Key]*target, owners map[shard.Key]string) (count int) {
	for key, t := range targets {
		if _, owned := owners[key]; !owned && !t.cluster.Spec.Suspend {
			count++
		}
	}
	return count
}

// doubled is 1 if the RemoteCluster, which is not in force for the key, still
// gives it to another agent than the record in force.
func doubled(cluster *fleetv1.RemoteCluster, key shard.Key, t *target) int {
	for _, a := range cluster.Status.Assignments {
		if a.Partition == key.Partition && a.Agent != "" && a.Agent != t.record.Agent {
			return 1
		}
	}
	return 0
}

// settled are the agents, without those that are given nothing yet: a crew that
// owns nothing, as at the start of a fleet, waits a moment for more agents to
// join, so that the first one does not get everything and give most of it away
// again.
func (w *world) settled(targets map[shard.Key]*target) ([]shard.Agent, time.Time) {
	working, first := map[string]bool{}, map[string]time.Time{}
	crews := map[string]string{}
	for _, m := range w.members {
		crews[m.name] = m.crew
		if start, ok := first[m.crew]; m.state == shard.Alive && !m.retired && (!ok || m.joined.Before(start)) {
			first[m.crew] = m.joined
		}
	}
	for _, t := range targets {
		if crew, known := crews[t.record.Agent]; known {
			working[crew] = true
		}
	}
	agents, next := slices.Clone(w.agents), time.Time{}
	for i := range agents {
		a := &agents[i]
		start, joining := first[a.Pool]
		if until := start.Add(w.settle); joining && !working[a.Pool] && !shard.IsPullAgent(a.Name) && w.now.Time.Before(until) {
			a.Away = true
			next = until
		}
	}
	return agents, next
}

// input is the world as the assignment sees it.
func (w *world) input(targets map[shard.Key]*target) shard.Input {
	in := shard.Input{Agents: w.agents, Current: make(map[shard.Key]string, len(targets)), Pools: map[string]shard.Pool{}}
	classes := map[string]class{}
	for _, key := range slices.SortedFunc(maps.Keys(targets), shard.Key.Compare) {
		t := targets[key]
		c := classOf(t.cluster)
		classes[c.name] = c
		crew := t.crew()
		in.Keys = append(in.Keys, shard.KeyState{Key: key, Cost: t.cost, Pool: crew, Class: c.name, Pin: t.pin})
		in.Current[key] = t.record.Agent
		if _, known := in.Pools[crew]; !known {
			in.Pools[crew] = w.shardPool(crew)
		}
	}
	in.Allows = func(class string, agent shard.Agent) bool {
		return classes[class].allows(agent)
	}
	return in
}

// shardPool is how the assignment spreads keys over a crew.
func (w *world) shardPool(crew string) shard.Pool {
	budget, limited := w.budget[crew]
	if !limited {
		budget.moves = shard.Unlimited
	}
	return shard.Pool{MaxLoadFactor: w.pools.rulesFor(crew).maxLoadFactor, Budget: budget.moves, Wishes: budget.wishes}
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

// findForeign finds what somebody else has put into the record.
func (r *record) findForeign() {
	for _, have := range r.cluster.Status.Assignments {
		if !slices.ContainsFunc(r.status.Assignments, func(a fleetv1.Assignment) bool { return a.Partition == have.Partition }) {
			r.foreign = append(r.foreign, have.Partition)
		}
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
	return assignedReason, "owned by " + list + strings.Join(notes(w, held, owners), "")
}

// changed says whether the status differs from what the RemoteCluster has in more
// than the number of objects.
func (r *record) changed() bool {
	have, want := r.cluster.Status, r.status
	before := apimeta.FindStatusCondition(have.Conditions, fleetv1.AssignedCondition)
	assignments := slices.SortedFunc(slices.Values(have.Assignments), func(a, b fleetv1.Assignment) int {
		return cmp.Compare(a.Partition, b.Partition)
	})
	return before == nil || !reflect.DeepEqual(*before, want.Conditions[0]) ||
		have.ObservedGeneration != want.ObservedGeneration || have.Agent != want.Agent ||
		!slices.Equal(assignments, want.Assignments)
}
