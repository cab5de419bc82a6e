package placement

import (
	"slices"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/shard"
)

// whyNobody explains that no live agent may act for the cluster.
func whyNobody(w world, cluster *fleetv1.RemoteCluster, held []*target) string {
	c, crew := classOf(cluster), held[0].crew()
	live := func(in string) bool {
		return slices.ContainsFunc(w.agents, func(a shard.Agent) bool { return !a.Away && a.Pool == in })
	}
	message := ""
	switch {
	case c.refusal != "":
		message = "no live agent may act for the cluster: " + c.refusal
	case c.pull != "":
		message = "no live agent: the one inside of the cluster does not renew its Lease in namespace " + cluster.Namespace +
			": install it with hub agent install, or look at its log in the cluster"
	case crew == noCrew:
		message = "no AgentPool serves the cluster: none selects its labels, and none is without spec.clusterSelector"
	case w.joining(crew):
		message = "the first agents are joining: waiting a moment for more"
	case !live(crew) && crew != commonCrew:
		message = "no live agent in AgentPool " + crew + ": none that renews its Lease in namespace " + w.system +
			" has the labels " + held[0].pool.agents.String() + " (--labels)"
	case !live(crew):
		message = "no live agent: none renews its Lease in namespace " + w.system
	default:
		message = "no live agent matches spec.agentSelector " + c.selector.String()
	}
	if last := held[0].record.Agent; last != "" {
		message += "; the last one was " + last
	}
	for _, note := range held[0].notes {
		message += "; " + note
	}
	return message
}

// joining says whether a live agent of the crew is given nothing for now.
func (w *world) joining(crew string) bool {
	return slices.ContainsFunc(w.members, func(m memberState) bool {
		return m.crew == crew && m.state == shard.Alive && !m.retired && w.present[m.name].Away
	})
}

// notes tell what else there is to say of a cluster that has an agent: that it
// is on its way to another pool, that several pools select it, and that a wish
// has no effect.
func notes(w world, held []*target, owners map[shard.Key]string) []string {
	var list []string
	t := held[0]
	if owner, ok := w.present[owners[t.key]]; ok && owner.Pool != t.crew() {
		list = append(list, "; "+w.onItsWay(t))
	}
	if len(t.others) > 0 {
		list = append(list, "; the AgentPools "+t.pool.name+", "+names(t.others)+" all select it: "+t.pool.name+", the first by name, serves it")
	}
	for _, note := range t.notes {
		list = append(list, "; "+note)
	}
	for _, t := range held {
		if t.pin != "" && owners[t.key] != t.pin {
			list = append(list, "; "+w.notPinned(t))
			break
		}
	}
	return list
}

// onItsWay says why a cluster is still with the agent of another pool.
func (w *world) onItsWay(t *target) string {
	if t.pool == nil {
		return "no AgentPool serves it any more: it stays where it is"
	}
	if !slices.ContainsFunc(w.agents, func(a shard.Agent) bool { return !a.Away && a.Pool == t.crew() }) {
		return "AgentPool " + t.pool.name + " serves it, but has no live agent: it stays where it is until there is one"
	}
	return "it moves to AgentPool " + t.pool.name + " when spec.placement.movesPerMinute there allows"
}

// notPinned says why a target is not with the agent that it is pinned to.
func (w *world) notPinned(t *target) string {
	if a, ok := w.present[t.pin]; ok && !a.Away && a.Pool == t.crew() && classOf(t.cluster).allows(a) {
		return "it moves to " + t.pin + ", which it is pinned to, when spec.placement.movesPerMinute of its AgentPool allows"
	}
	return "the pin to " + t.pin + " has no effect: there is no such live agent, or its AgentPool or spec.agentSelector does not match"
}
