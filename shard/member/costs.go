package member

import (
	"cmp"
	"encoding/json"
	"math/bits"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/headwater-dev/headwater/shard"
)

const (
	// costsAnnotation on a membership Lease holds what each key costs its agent.
	costsAnnotation = "fleet.headwater.dev/costs"
	// window is how long work is added up for one measurement.
	window = 10 * time.Minute
	// maxReported bounds the annotation, in bytes: 2,000 keys as long as they mostly
	// are, of the 256 KiB that an object's annotations may have. The costliest are
	// reported.
	maxReported = 128 << 10
	// maxKey is of a key that is reported, in bytes: a tenant with names as long as
	// they may be is not to take the place of others.
	maxKey = 200
)

// Meter measures what the keys of this agent cost it: the time that their
// reconciles take, in thousandths of one worker's time, smoothed over some tens
// of minutes. A key is reported once it has been measured for a whole window, so
// that a key which has just moved is judged by what its last agent has said. It
// is safe for concurrent use.
type Meter struct {
	// Clock is the real one when nil.
	Clock clock.PassiveClock

	mu    sync.Mutex
	began time.Time
	busy  map[shard.Key]time.Duration
	// costs are those of the last window, negative for keys that were not there
	// for all of it.
	costs map[shard.Key]int64
}

// unknown is the cost of a key that appeared in the middle of a window.
const unknown = -1

// Begin starts to measure one piece of work for the key, and End of the answer
// ends it.
func (m *Meter) Begin(key shard.Key) (end func()) {
	m.mu.Lock()
	m.turn()
	m.mu.Unlock()
	start := m.now()
	return func() { m.add(key, m.now().Sub(start)) }
}

func (m *Meter) now() time.Time {
	if m.Clock == nil {
		return clock.RealClock{}.Now()
	}
	return m.Clock.Now()
}

func (m *Meter) add(key shard.Key, worked time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	if m.busy == nil {
		m.busy = map[shard.Key]time.Duration{}
	}
	m.busy[key] += max(worked, 0)
}

// turn ends the window if its time has come.
func (m *Meter) turn() {
	now := m.now()
	if m.began.IsZero() {
		m.began = now
	}
	length := now.Sub(m.began)
	if length < window {
		return
	}
	next := map[shard.Key]int64{}
	for key, busy := range m.busy {
		cost := int64(busy * 1000 / length)
		switch before, known := m.costs[key]; {
		case !known:
			cost = unknown
		case before != unknown:
			cost = (cost + before + 1) / 2
		}
		next[key] = cost
	}
	for key, before := range m.costs {
		if _, worked := next[key]; !worked && before > 1 {
			next[key] = before / 2
		}
	}
	m.busy, m.costs, m.began = map[shard.Key]time.Duration{}, next, now
}

// report is the annotation; empty while there is nothing to say. Costs are
// rounded to two binary digits, so that it seldom changes.
func (m *Meter) report() string {
	if m == nil {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	type entry struct {
		key  string
		cost int64
	}
	var entries []entry
	for key, cost := range m.costs {
		if text := key.String(); cost >= 0 && len(text) <= maxKey {
			entries = append(entries, entry{text, rounded(cost)})
		}
	}
	if len(entries) == 0 {
		return ""
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Or(cmp.Compare(b.cost, a.cost), cmp.Compare(a.key, b.key)) })
	costs, size := map[string]int64{}, 0
	for _, e := range entries {
		quoted, err := json.Marshal(e.key)
		if size += len(quoted) + len(":1000000,"); err != nil || size > maxReported {
			break
		}
		costs[e.key] = e.cost
	}
	text, err := json.Marshal(costs)
	if err != nil {
		return ""
	}
	return string(text)
}

func rounded(cost int64) int64 {
	shift := max(bits.Len64(uint64(max(cost, 0)))-2, 0)
	return cost >> shift << shift
}

// parseCosts reads a report. What is not one says nothing; a cost that no agent
// can have is cut down to what one can.
func parseCosts(text string) map[string]int64 {
	var costs map[string]int64
	if text == "" || json.Unmarshal([]byte(text), &costs) != nil {
		return nil
	}
	for key, cost := range costs {
		costs[key] = min(max(cost, 0), maxCost)
	}
	return costs
}

// maxCost is more than an agent can have to do: a thousand workers, busy.
const maxCost = 1_000_000
