package placement

import (
	"fmt"
	"slices"
	"strings"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

// movedReason is the reason of events about a change of owner.
const movedReason = "Moved"

// agentRetired is why keys move from an agent whose StatefulSet was made
// smaller.
const agentRetired shard.Reason = "Retired"

// moveEvents say which agent takes over from which, and why; the partitions of
// the hub that go the same way are told together.
func moveEvents(moves []shard.Move) []reconcile.Event {
	var ways []shard.Move
	partitions := map[shard.Move][]string{}
	for _, move := range moves {
		way := shard.Move{From: move.From, To: move.To, Reason: move.Reason}
		if !slices.Contains(ways, way) {
			ways = append(ways, way)
		}
		if move.Key.IsHub() {
			partitions[way] = append(partitions[way], fmt.Sprint(move.Key.Partition))
		}
	}
	events := make([]reconcile.Event, 0, len(ways))
	for _, way := range ways {
		message := sentence(way)
		if list := partitions[way]; len(list) > 0 {
			message = "partitions " + strings.Join(list, ", ") + ": " + message
		}
		severity := reconcile.SeverityInfo
		if way.To == "" {
			severity = reconcile.SeverityError
		}
		events = append(events, reconcile.Event{Severity: severity, Reason: movedReason, Message: message})
	}
	return events
}

// foreignEvents tell of what somebody else had put into the record.
func foreignEvents(rec record) []reconcile.Event {
	if len(rec.foreign) == 0 {
		return nil
	}
	var list []string
	for _, partition := range rec.foreign {
		list = append(list, fmt.Sprint(partition))
	}
	return []reconcile.Event{{
		Severity: reconcile.SeverityError, Reason: "RecordCorrected",
		Message: "removed from status.assignments what is not this cluster's to hold: partitions " + strings.Join(list, ", "),
	}}
}

// forgedEvent tells that a Lease makes nobody an agent.
func forgedEvent(system string) reconcile.Event {
	return reconcile.Event{
		Severity: reconcile.SeverityError, Reason: "NotAnAgent",
		Message: "a Lease in this namespace makes nobody an agent: agents have theirs in namespace " + system +
			", and that of a pull cluster in the namespace of its RemoteCluster",
	}
}

// labelEvent tells that somebody else had changed the routing label of an
// object.
func labelEvent(was, edited, now string) reconcile.Event {
	what := "changed from " + was + " to " + edited
	switch {
	case edited == "":
		what = "removed"
	case was == "":
		what = "set to " + edited
	}
	return reconcile.Event{
		Severity: reconcile.SeverityError, Reason: "RoutingCorrected",
		Message: "the label " + meta.AgentLabel + " was " + what + ", which changes nothing: put back to " + now +
			". Use " + meta.PinLabel + " to choose an agent",
	}
}

func sentence(m shard.Move) string {
	switch {
	case m.To == "":
		return "taken from " + m.From + ": " + why(m)
	case m.From == "":
		return "given to " + m.To
	default:
		return "moved from " + m.From + " to " + m.To + ": " + why(m)
	}
}

func why(m shard.Move) string {
	switch m.Reason {
	case shard.OwnerGone:
		return m.From + " is gone"
	case agentRetired:
		return "the StatefulSet of " + m.From + " has no such replica any more"
	case shard.PoolChanged:
		return "another AgentPool serves it, by its labels"
	case shard.NotAllowed:
		return "spec.agentSelector does not match " + m.From
	case shard.Pinned:
		return "it is pinned to " + m.To
	case shard.Overloaded:
		return m.From + " has more to do than its share"
	case shard.Balanced:
		return m.To + " has less to do than its share"
	default:
		return "it had no agent"
	}
}
