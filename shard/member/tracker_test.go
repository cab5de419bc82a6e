package member

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-dev/headwater/shard"
)

func lease(uid, holder string, renewed time.Time) *coordinationv1.Lease {
	renewTime := metav1.NewMicroTime(renewed)
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "flux-system", Name: "headwater-agent-agent-0", UID: types.UID(uid),
			Labels: map[string]string{"zone": "eu", "fleet.headwater.dev/member": "true"},
		},
		Spec: coordinationv1.LeaseSpec{RenewTime: &renewTime},
	}
	if holder != "" {
		l.Spec.HolderIdentity = &holder
	}
	return l
}

func TestTrackerCountsFromWhatItSaw(t *testing.T) {
	g := NewWithT(t)
	here := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	there := here.Add(-9 * time.Hour) // the agent's clock is wrong, and does not matter
	tracker := Tracker{Namespace: "flux-system", Duration: 15 * time.Second}
	state := func(at time.Duration) shard.LeaseState {
		state, _ := tracker.Agents()[0].Lease.State(here.Add(at), 30*time.Second)
		return state
	}
	g.Expect(tracker.Observe(lease("u", "agent-0_a", there), here)).To(BeTrue())
	g.Expect(tracker.Agents()).To(HaveLen(1))
	g.Expect(tracker.Agents()[0].Name).To(Equal("agent-0"))
	g.Expect(tracker.Agents()[0].Labels).To(Equal(map[string]string{"zone": "eu"}))

	// Seen again unchanged: its time runs.
	g.Expect(tracker.Observe(lease("u", "agent-0_a", there), here.Add(10*time.Second))).To(BeFalse())
	g.Expect(state(14 * time.Second)).To(Equal(shard.Alive))
	g.Expect(state(15 * time.Second)).To(Equal(shard.Gone))

	// A renewal is no news, but counts.
	g.Expect(tracker.Observe(lease("u", "agent-0_a", there.Add(time.Second)), here.Add(10*time.Second))).To(BeFalse())
	g.Expect(state(24 * time.Second)).To(Equal(shard.Alive))
	g.Expect(state(40 * time.Second)).To(Equal(shard.Gone))

	// A release, a new process and a new Lease are news.
	g.Expect(tracker.Observe(lease("u", "", there.Add(2*time.Second)), here.Add(41*time.Second))).To(BeTrue())
	g.Expect(state(42 * time.Second)).To(Equal(shard.Released))
	g.Expect(tracker.Observe(lease("u", "agent-0_b", there.Add(2*time.Second)), here.Add(43*time.Second))).To(BeTrue())
	g.Expect(state(44 * time.Second)).To(Equal(shard.Alive))
	g.Expect(tracker.Observe(lease("v", "agent-0_b", there.Add(2*time.Second)), here.Add(60*time.Second))).To(BeTrue())
	g.Expect(state(61 * time.Second)).To(Equal(shard.Alive))

	// An agent that was taken for dead and goes on renewing is news.
	g.Expect(tracker.Observe(lease("v", "agent-0_b", there.Add(3*time.Second)), here.Add(90*time.Second))).To(BeTrue())
	g.Expect(tracker.Observe(lease("v", "agent-0_b", there.Add(4*time.Second)), here.Add(95*time.Second))).To(BeFalse())

	// Without a Lease, it is no agent.
	tracker.Sync(nil, here)
	g.Expect(tracker.Agents()).To(BeEmpty())
}

func TestTrackerIgnoresOtherLeases(t *testing.T) {
	g := NewWithT(t)
	tracker := Tracker{Namespace: "flux-system", Duration: 15 * time.Second}
	for _, name := range []string{"headwater-hub-leader-election", "headwater-agent-"} {
		other := lease("u", "x", time.Time{})
		other.Name = name
		g.Expect(tracker.Observe(other, time.Time{})).To(BeFalse())
	}
	g.Expect(tracker.Agents()).To(BeEmpty())
}

// A tenant can make any Lease in its own namespace. It makes an agent only of the
// one inside of a cluster of that namespace.
func TestTrackerIgnoresForgedLeases(t *testing.T) {
	g := NewWithT(t)
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	at := func(namespace, agent string) coordinationv1.Lease {
		l := lease("u", "x", now)
		l.Namespace, l.Name = namespace, "headwater-agent-"+agent
		return *l
	}
	tracker := Tracker{Namespace: "flux-system", Duration: 15 * time.Second}
	tracker.Sync([]coordinationv1.Lease{
		at("flux-system", "agent-0"), at("team-a", "agent-1"),
		at("team-a", "pull.team-a.edge"), at("team-a", "pull.team-b.edge"), at("flux-system", "pull.team-c.edge"),
	}, now)
	var names []string
	for _, agent := range tracker.Agents() {
		names = append(names, agent.Name)
	}
	g.Expect(names).To(Equal([]string{"agent-0", "pull.team-a.edge"}))

	// Nor does a forged one keep in the list what has gone.
	tracker.Sync([]coordinationv1.Lease{at("team-a", "agent-0")}, now)
	g.Expect(tracker.Agents()).To(BeEmpty())
}
