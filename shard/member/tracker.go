package member

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-dev/headwater/shard"
)

// ownLabels is the prefix of labels that are Headwater's own and not the
// agent's.
const ownLabels = "fleet.headwater.dev/"

// Agent is a member as the Tracker saw it last.
type Agent struct {
	// Name of the agent.
	Name string
	// Labels of the agent.
	Labels map[string]string
	// Lease is its membership, by the observer's clock.
	Lease shard.Lease
}

// Tracker remembers when it last saw each agent's Lease change. The zero value
// is ready for use, and its methods may be called concurrently.
type Tracker struct {
	mu   sync.Mutex
	seen map[string]sighting
}

// sighting is what was seen of one Lease, and since when it is like that.
type sighting struct {
	uid     types.UID
	holder  string
	renewed time.Time
	labels  map[string]string
	since   time.Time
}

// Observe notes a Lease at the given time. It says whether there is more news
// than a renewal: a new agent or process, a release, other labels. What is not
// an agent's Lease is ignored.
func (t *Tracker) Observe(lease *coordinationv1.Lease, now time.Time) bool {
	name, ok := strings.CutPrefix(lease.Name, leasePrefix)
	if !ok || name == "" {
		return false
	}
	next := sighting{uid: lease.UID, holder: holder(lease), labels: agentLabels(lease.Labels), since: now}
	if lease.Spec.RenewTime != nil {
		next.renewed = lease.Spec.RenewTime.Time
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[string]sighting{}
	}
	last, known := t.seen[name]
	if known && last.uid == next.uid && last.holder == next.holder && last.renewed.Equal(next.renewed) {
		next.since = last.since
	}
	t.seen[name] = next
	return !known || last.uid != next.uid || last.holder != next.holder || !maps.Equal(last.labels, next.labels)
}

// Forget drops an agent whose Lease was deleted: it is gone for good.
func (t *Tracker) Forget(lease *coordinationv1.Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.seen, strings.TrimPrefix(lease.Name, leasePrefix))
}

// Agents are the agents whose Leases exist, by name. A renewal counts for the
// duration.
func (t *Tracker) Agents(duration time.Duration) []Agent {
	t.mu.Lock()
	defer t.mu.Unlock()
	agents := make([]Agent, 0, len(t.seen))
	for name, s := range t.seen {
		agents = append(agents, Agent{Name: name, Labels: s.labels, Lease: s.lease(duration)})
	}
	slices.SortFunc(agents, func(a, b Agent) int { return cmp.Compare(a.Name, b.Name) })
	return agents
}

// lease is the membership of one agent.
func (t *Tracker) lease(name string, duration time.Duration) shard.Lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen[name].lease(duration)
}

func (s sighting) lease(duration time.Duration) shard.Lease {
	return shard.Lease{Holder: s.holder, Duration: duration, Seen: s.since}
}

func agentLabels(labels map[string]string) map[string]string {
	own := map[string]string{}
	for key, value := range labels {
		if !strings.HasPrefix(key, ownLabels) {
			own[key] = value
		}
	}
	return own
}
