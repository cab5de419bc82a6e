package wake

import (
	"time"

	"github.com/headwater-dev/headwater/shard"
	"github.com/headwater-dev/headwater/shard/guard"
)

// routedRetry is how soon an object is looked at again that is routed here
// while its key is not ours: the label may be ahead of the record.
const routedRetry = 2 * time.Second

// Routed is the keeper for objects that placement has labelled for this agent:
// those whose key it does not own yet are asked for again.
type Routed struct{ guard.Keeper }

// Admit is that of the Keeper inside, and never says not at all.
func (r Routed) Admit(key shard.Key) (end func(), after time.Duration) {
	end, after = r.Keeper.Admit(key)
	if end == nil && after == 0 {
		after = routedRetry
	}
	return end, after
}
