package why

import (
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/shard"
)

// claimAnnotation on a fence is who waits for it.
const claimAnnotation = "fleet.headwater.dev/claim"

// assignment is the record of a key.
func (f facts) assignment(key shard.Key) fleetv1.Assignment {
	if f.record == nil {
		return fleetv1.Assignment{}
	}
	return f.record.Status.Assignment(key.Partition)
}

// agents are who the records name, each once.
func (f facts) agents() []string {
	var list []string
	for _, key := range f.keys {
		if agent := f.assignment(key).Agent; agent != "" && !slices.Contains(list, agent) {
			list = append(list, agent)
		}
	}
	return list
}

// owner says who should act, and whether label and record agree.
func (f facts) owner() []string {
	if f.record == nil {
		return []string{"Nobody: there is no RemoteCluster for " + f.keys[0].String() + "."}
	}
	lines := f.records()
	if len(f.agents()) > 0 {
		lines = append(lines, f.routing()...)
	}
	lines = append(append(lines, f.pool()...), f.wishes()...)
	if f.members == nil {
		return lines // they could not be read
	}
	for _, agent := range f.agents() {
		lines = append(lines, f.health(agent))
	}
	return lines
}

// records is what the record says; the hub's partitions by agent.
func (f facts) records() []string {
	name := f.record.Namespace + "/" + f.record.Name
	if len(f.keys) == 1 {
		key := f.keys[0]
		switch a := f.assignment(key); {
		case a.Epoch == 0:
			return []string{"Nobody: the record, RemoteCluster " + name + ", does not name the key " + key.String() + " yet."}
		case a.Agent == "":
			return []string{fmt.Sprintf("Nobody: the record, RemoteCluster %s, gives the key %s to no agent (epoch %d).", name, key, a.Epoch)}
		default:
			return []string{fmt.Sprintf("%s: the record, RemoteCluster %s, gives it the key %s with epoch %d.", a.Agent, name, key, a.Epoch)}
		}
	}
	byAgent := map[string][]string{}
	for _, key := range f.keys {
		a := f.assignment(key)
		byAgent[a.Agent] = append(byAgent[a.Agent], fmt.Sprintf("%d (epoch %d)", key.Partition, a.Epoch))
	}
	var lines []string
	for _, agent := range append(f.agents(), "") {
		if list := byAgent[agent]; len(list) > 0 {
			lines = append(lines, orNobody(agent)+": the record gives it the partitions "+strings.Join(list, ", ")+".")
		}
	}
	return lines
}

func orNobody(agent string) string {
	if agent == "" {
		return "Nobody"
	}
	return agent
}

// routing compares the labels with the record.
func (f facts) routing() []string {
	if f.subject == nil {
		if len(f.strays) == 0 {
			return nil
		}
		return []string{"The routing label " + meta.AgentLabel + " of these says something else: " + strings.Join(f.strays, ", ") + "."}
	}
	agent, label := f.assignment(f.keys[0]).Agent, f.subject.meta.Labels[meta.AgentLabel]
	switch label {
	case agent:
		return []string{"The routing label " + meta.AgentLabel + " agrees."}
	case "":
		return []string{"The routing label " + meta.AgentLabel + " is missing, so that no agent sees the object."}
	default:
		return []string{"The routing label " + meta.AgentLabel + " says " + label + ", which gives that agent no right to act."}
	}
}

func (f facts) pool() []string {
	s := f.serving
	switch {
	case f.record.GetMode() == fleetv1.PullMode:
		return []string{"The cluster is of mode Pull: only the agent inside of it may act, whatever AgentPools say."}
	case s.Pool == "":
		return nil // said among what it waits for, or not known
	}
	lines := []string{"AgentPool " + s.Pool + " serves it."}
	if len(s.Others) > 0 {
		lines[0] = "AgentPool " + s.Pool + " serves it, as the first by name of those that select it; the others are " + strings.Join(s.Others, ", ") + "."
	}
	for _, note := range s.Notes {
		lines = append(lines, note+".")
	}
	return lines
}

// wishes says which labels of an object at the hub have no effect.
func (f facts) wishes() []string {
	if f.subject == nil || !f.keys[0].IsHub() {
		return nil
	}
	var lines []string
	for _, label := range []string{meta.PinLabel, meta.ShardLabel} {
		if wish := f.subject.meta.Labels[label]; wish != "" {
			lines = append(lines, "Its label "+label+"="+wish+" has no effect: objects of others share its partition of the hub, and RemoteCluster "+
				f.record.Namespace+"/"+f.record.Name+" alone says where that is.")
		}
	}
	return lines
}

// health says how an agent is doing.
func (f facts) health(agent string) string {
	lease := f.members[agent]
	switch {
	case lease == nil:
		return agent + " has no Lease: it never joined, or was removed."
	case ptr.Deref(lease.Spec.HolderIdentity, "") == "":
		return agent + " has stopped in an orderly way" + ago(f.now, renewed(lease)) + "."
	case f.dead(agent):
		return agent + " is dead: it last renewed its Lease " + since(f.now, renewed(lease)) + "."
	default:
		return agent + " is alive: it renewed its Lease " + since(f.now, renewed(lease)) + "."
	}
}

// dead says whether an agent is not at work, by the clock of this machine.
func (f facts) dead(agent string) bool {
	lease := f.members[agent]
	return lease == nil || ptr.Deref(lease.Spec.HolderIdentity, "") == "" || f.expired(lease)
}

func (f facts) expired(lease *coordinationv1.Lease) bool {
	lasts := time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0)) * time.Second
	return f.now.After(renewed(lease).Add(lasts))
}

func renewed(lease *coordinationv1.Lease) time.Time {
	if lease.Spec.RenewTime == nil {
		return time.Time{}
	}
	return lease.Spec.RenewTime.Time
}

// fenceLines say who may write.
func (f facts) fenceLines() []string {
	var lines []string
	never := 0
	for _, fence := range f.fences {
		if fence.place == "" {
			never++
			continue
		}
		line := f.fenceLine(fence)
		if len(f.fences) > 1 {
			line = fmt.Sprintf("Partition %d: %s", fence.key.Partition, line)
		}
		lines = append(lines, line)
	}
	if never > 0 && never == len(f.fences) {
		return []string{"None was ever made: no agent has written to the target."}
	}
	return lines
}

func (f facts) fenceLine(of fence) string {
	where := "kept in the target as Lease " + of.name.String()
	if of.place == fleetv1.HubFence {
		where = "kept in the hub as Lease " + of.name.String()
	}
	switch {
	case !of.read:
		return "It is " + where + "; --target-kubeconfig reads who holds it."
	case of.lease == nil:
		return "It is gone, though it was " + where + ": whoever makes it anew waits until a former holder can write no more."
	}
	line := "Nobody holds it; it is " + where + "."
	if holder := ptr.Deref(of.lease.Spec.HolderIdentity, ""); holder != "" {
		state := "Held by "
		if f.expired(of.lease) {
			state = "Run out, last held by "
		}
		line = state + holder + ", renewed " + since(f.now, renewed(of.lease)) + "; " + where + "."
	}
	if claim := of.lease.Annotations[claimAnnotation]; claim != "" && claim != ptr.Deref(of.lease.Spec.HolderIdentity, "") {
		line += " " + claim + " claims it."
	}
	return line
}

// heldByOther is who still holds the fence of the key instead of its owner.
func (f facts) heldByOther() string {
	for _, of := range f.fences {
		if of.lease == nil || f.expired(of.lease) {
			continue
		}
		holder := ptr.Deref(of.lease.Spec.HolderIdentity, "")
		agent, _, _ := strings.Cut(holder, "_")
		if owner := f.assignment(of.key).Agent; holder != "" && owner != "" && agent != owner {
			return agent
		}
	}
	return ""
}
