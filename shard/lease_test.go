package shard_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/shard"
)

func TestLeaseState(t *testing.T) {
	seen := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return seen.Add(time.Duration(seconds) * time.Second) }
	for name, tc := range map[string]struct {
		holder   string
		now      int
		reassign time.Duration
		want     shard.LeaseState
		next     time.Time
	}{
		"just renewed":                        {"a_1", 0, 30 * time.Second, shard.Alive, at(15)},
		"about to expire":                     {"a_1", 14, 30 * time.Second, shard.Alive, at(15)},
		"gone with its Lease":                 {"a_1", 15, 30 * time.Second, shard.Gone, time.Time{}},
		"expired":                             {"a_1", 15, 60 * time.Second, shard.Expired, at(30)},
		"expired for a while":                 {"a_1", 29, 60 * time.Second, shard.Expired, at(30)},
		"gone":                                {"a_1", 30, 60 * time.Second, shard.Gone, time.Time{}},
		"alive although reassigned early":     {"a_1", 14, 5 * time.Second, shard.Alive, at(15)},
		"gone as soon as it has expired":      {"a_1", 15, 5 * time.Second, shard.Gone, time.Time{}},
		"released":                            {"", 0, 30 * time.Second, shard.Released, at(30)},
		"released, older than a lease lasts":  {"", 29, 30 * time.Second, shard.Released, at(30)},
		"released for good":                   {"", 30, 30 * time.Second, shard.Gone, time.Time{}},
		"released, reassigned before expiry":  {"", 6, 5 * time.Second, shard.Gone, time.Time{}},
		"a clock that went back is not alarm": {"a_1", -60, 30 * time.Second, shard.Alive, at(15)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			lease := shard.Lease{Holder: tc.holder, Duration: 15 * time.Second, Seen: seen}
			state, next := lease.State(at(tc.now), tc.reassign)
			g.Expect(state).To(Equal(tc.want))
			g.Expect(next).To(Equal(tc.next))
		})
	}
}
