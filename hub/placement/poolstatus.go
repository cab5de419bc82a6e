package placement

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/shard"
)

// conflictingCondition is True on an AgentPool that selects what another one,
// which comes before it, serves.
const conflictingCondition = "Conflicting"

// named is how many examples a message names.
const named = 3

// poolRecord is the status of an AgentPool that has changed.
type poolRecord struct {
	object *fleetv1.AgentPool
	status fleetv1.AgentPoolStatus
}

// tally is what is counted of one pool.
type tally struct {
	clusters map[*fleetv1.RemoteCluster]bool
	moving   map[*fleetv1.RemoteCluster]bool
	// lost are the clusters and agents that another pool serves, by that pool.
	lost map[string][]string
}

// poolRecords are the statuses of the AgentPools that have changed.
func (w *world) poolRecords(targets map[shard.Key]*target, owners map[shard.Key]string) []poolRecord {
	tallies := w.tally(targets, owners)
	agents := w.agentStatuses(targets, owners)
	var records []poolRecord
	for _, p := range slices.Concat(w.pools.list, w.pools.faulty) {
		if p.object == nil {
			continue
		}
		t := tallies[p]
		status := fleetv1.AgentPoolStatus{ObservedGeneration: p.object.Generation}
		if p.fault == "" {
			status.Agents = agents[p.crew()]
			status.Clusters, status.Moving = int32(len(t.clusters)), int32(len(t.moving))
		}
		for _, a := range status.Agents {
			if a.State == fleetv1.AgentReady {
				status.ReadyAgents++
			}
		}
		status.Conditions = []metav1.Condition{w.poolReady(p, &status), w.poolConflict(p, t)}
		for i := range status.Conditions {
			c := &status.Conditions[i]
			c.ObservedGeneration, c.LastTransitionTime = p.object.Generation, w.now
			if before := apimeta.FindStatusCondition(p.object.Status.Conditions, c.Type); before != nil && before.Status == c.Status {
				c.LastTransitionTime = before.LastTransitionTime
			}
		}
		if !samePool(&p.object.Status, &status) {
			records = append(records, poolRecord{object: p.object, status: status})
		}
	}
	return records
}

func samePool(have, want *fleetv1.AgentPoolStatus) bool {
	return have.ObservedGeneration == want.ObservedGeneration && have.ReadyAgents == want.ReadyAgents &&
		have.Clusters == want.Clusters && have.Moving == want.Moving && slices.Equal(have.Agents, want.Agents) &&
		reflect.DeepEqual(have.Conditions, want.Conditions)
}

// tally counts the clusters of each pool.
func (w *world) tally(targets map[shard.Key]*target, owners map[shard.Key]string) map[*pool]*tally {
	tallies := map[*pool]*tally{}
	for _, p := range slices.Concat(w.pools.list, w.pools.faulty) {
		tallies[p] = &tally{clusters: map[*fleetv1.RemoteCluster]bool{}, moving: map[*fleetv1.RemoteCluster]bool{}, lost: map[string][]string{}}
	}
	for key, t := range targets {
		if t.pool == nil || t.cluster.GetMode() == fleetv1.PullMode {
			continue
		}
		of := tallies[t.pool]
		if !of.clusters[t.cluster] {
			of.clusters[t.cluster] = true
			for _, other := range t.others {
				tallies[other].lost[t.pool.name] = append(tallies[other].lost[t.pool.name], "RemoteCluster "+t.cluster.Namespace+"/"+t.cluster.Name)
			}
		}
		if owner, owned := w.present[owners[key]]; owned && owner.Pool != t.crew() || t.handingOver(key) {
			of.moving[t.cluster] = true
		}
	}
	for _, m := range w.members {
		for _, other := range m.others {
			tallies[other].lost[m.crew] = append(tallies[other].lost[m.crew], "agent "+m.name)
		}
	}
	return tallies
}

// handingOver says whether another agent than the one in the record serves the
// key still, as far as the cluster's report says.
func (t *target) handingOver(key shard.Key) bool {
	served := t.cluster.Status.ServedBy
	return key.Partition == 0 && served != "" && t.record.Agent != "" && served != t.record.Agent
}

// agentStatuses says how the agents of each crew are doing. Those that are gone
// and own nothing are left out.
func (w *world) agentStatuses(targets map[shard.Key]*target, owners map[shard.Key]string) map[string][]fleetv1.AgentStatus {
	clusters, costs := map[string]map[*fleetv1.RemoteCluster]bool{}, map[string]int64{}
	for key, t := range targets {
		owner := cmp.Or(owners[key], t.record.Agent)
		if owner == "" {
			continue
		}
		if clusters[owner] == nil {
			clusters[owner] = map[*fleetv1.RemoteCluster]bool{}
		}
		clusters[owner][t.cluster] = true
		costs[owner] += t.cost
	}
	statuses := map[string][]fleetv1.AgentStatus{}
	for _, m := range w.members {
		s := fleetv1.AgentStatus{Name: m.name, State: stateOf(m), Clusters: int32(len(clusters[m.name])), Cost: costs[m.name]}
		if s.State == fleetv1.AgentReady || s.Clusters > 0 {
			statuses[m.crew] = append(statuses[m.crew], s)
		}
	}
	return statuses
}

func stateOf(m memberState) fleetv1.AgentState {
	switch {
	case m.retired:
		return fleetv1.AgentDraining
	case m.state == shard.Alive:
		return fleetv1.AgentReady
	default:
		return fleetv1.AgentLost
	}
}

func (w *world) poolReady(p *pool, status *fleetv1.AgentPoolStatus) metav1.Condition {
	c := metav1.Condition{Type: meta.ReadyCondition, Status: metav1.ConditionFalse}
	switch {
	case p.fault != "":
		c.Reason, c.Message = p.faultReason, p.fault
	case status.ReadyAgents == 0 && p.agents != nil:
		c.Reason, c.Message = "NoAgents", "no live agent has the labels "+p.agents.String()+" of spec.agents: start one with --labels, or change the selector"
	case status.ReadyAgents == 0:
		c.Reason, c.Message = "NoAgents", "no live agent is left over for the pool: it shares those that no other pool selects"
	case status.Clusters == 0 && p.clusters != nil:
		c.Reason, c.Message = "NoClusters", "no RemoteCluster has the labels "+p.clusters.String()+" of spec.clusterSelector"
	default:
		c.Status, c.Reason = metav1.ConditionTrue, "Serving"
		c.Message = fmt.Sprintf("%d agents for %d clusters", status.ReadyAgents, status.Clusters)
		if p.hasIdleRules() {
			c.Message += "; spec.placement has no effect without spec.agents: AgentPool default has the rules of the agents that no pool selects"
		}
	}
	return c
}

func (w *world) poolConflict(p *pool, t *tally) metav1.Condition {
	c := metav1.Condition{Type: conflictingCondition, Status: metav1.ConditionFalse, Reason: "Unique", Message: "no other pool selects the same"}
	var parts []string
	for _, other := range w.pools.list {
		if list := t.lost[other.name]; len(list) > 0 {
			slices.Sort(list)
			text := strings.Join(list[:min(named, len(list))], ", ")
			if more := len(list) - named; more > 0 {
				text += fmt.Sprintf(" and %d more", more)
			}
			parts = append(parts, fmt.Sprintf("AgentPools %s and %s both select %s: %s, the first by name, has it", other.name, p.name, text, other.name))
		}
	}
	if len(parts) > 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "Overlap", strings.Join(parts, "; ")
	}
	return c
}
