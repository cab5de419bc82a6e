package placement

import (
	"fmt"
	"slices"
	"strings"

	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

// movedReason is the reason of events about a change of owner.
const movedReason = "Moved"

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
