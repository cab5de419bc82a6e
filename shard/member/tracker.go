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
	// Joined is when the observer first saw it alive, since it was last not.
	Joined time.Time
}

// Tracker remembers when it last saw each agent's Lease change. Its methods may
// be called concurrently.
type Tracker struct {
	// Namespace of the agents. Leases elsewhere count for the agents of pull
	// clusters alone.
	Namespace string
	// Duration for which a renewal counts, unless the Lease says longer.
	Duration time.Duration

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
	// lasts is how long the agent says that a renewal counts.
	lasts  time.Duration
	joined time.Time
	// reported is the report of costs, and costs what it says.
	reported string
	costs    map[string]int64
}

// Observe notes a Lease at the given time. It says whether there is more news
// than that an agent which is alive goes on living. What is not an agent's
// Lease is ignored.
func (t *Tracker) Observe(lease *coordinationv1.Lease, now time.Time) bool {
	name, next := t.sight(lease, now)
	if name == "" {
		return false
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
	was, _ := t.lease(last).State(now, 0)
	is, _ := t.lease(next).State(now, 0)
	next.joined = now
	if known && was == shard.Alive {
		next.joined = last.joined
	}
	next.costs = last.costs
	if next.reported != last.reported {
		next.costs = parseCosts(next.reported)
	}
	t.seen[name] = next
	return !known || last.uid != next.uid || last.holder != next.holder || was != is || !maps.Equal(last.labels, next.labels)
}

// Sync observes all the Leases that exist. Agents without one are gone for
// good.
func (t *Tracker) Sync(leases []coordinationv1.Lease, now time.Time) {
	exist := map[string]bool{}
	for i := range leases {
		t.Observe(&leases[i], now)
		if name, _ := t.sight(&leases[i], now); name != "" {
			exist[name] = true
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.seen, func(name string, _ sighting) bool { return !exist[name] })
}

// Agents are the agents whose Leases exist, by name.
func (t *Tracker) Agents() []Agent {
	t.mu.Lock()
	defer t.mu.Unlock()
	agents := make([]Agent, 0, len(t.seen))
	for name, s := range t.seen {
		agents = append(agents, Agent{Name: name, Labels: s.labels, Lease: t.lease(s), Joined: s.joined})
	}
	slices.SortFunc(agents, func(a, b Agent) int { return cmp.Compare(a.Name, b.Name) })
	return agents
}

// AgentOf is the name of the agent that a Lease claims to be of; empty for other
// Leases.
func AgentOf(lease *coordinationv1.Lease) string {
	name, _ := strings.CutPrefix(lease.Name, leasePrefix)
	if name == lease.Name {
		return ""
	}
	return name
}

// Cost is what the agent says that the key costs it, in thousandths of one
// worker's time; false where it has not said.
func (t *Tracker) Cost(agent, key string) (int64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cost, ok := t.seen[agent].costs[key]
	return cost, ok
}

// sight is what there is to see of a Lease; the name is empty where it is not
// an agent's.
func (t *Tracker) sight(lease *coordinationv1.Lease, now time.Time) (string, sighting) {
	name, ok := strings.CutPrefix(lease.Name, leasePrefix)
	if !ok || !shard.MayJoin(name, lease.Namespace, t.Namespace) {
		return "", sighting{}
	}
	s := sighting{uid: lease.UID, holder: holder(lease), labels: agentLabels(lease.Labels), since: now, reported: lease.Annotations[costsAnnotation]}
	if lease.Spec.RenewTime != nil {
		s.renewed = lease.Spec.RenewTime.Time
	}
	if lease.Spec.LeaseDurationSeconds != nil {
		s.lasts = time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second
	}
	return name, s
}

func (t *Tracker) lease(s sighting) shard.Lease {
	return shard.Lease{Holder: s.holder, Duration: max(t.Duration, s.lasts), Seen: s.since}
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
