package shard

import "time"

// LeaseState is what an agent's membership says of the agent.
type LeaseState int

// States of a membership. Only the Alive are given anything; the Expired and the
// Released keep what they own until they are Gone.
const (
	// Alive agents renew their Lease.
	Alive LeaseState = iota
	// Expired agents have not renewed in time; they may be restarting.
	Expired
	// Released agents have left in an orderly way; they may be restarting.
	Released
	// Gone agents have been away for so long that others take over.
	Gone
)

// String is the state as texts for people name it.
func (s LeaseState) String() string {
	switch s {
	case Alive:
		return "alive"
	case Expired:
		return "not renewing its Lease"
	case Released:
		return "restarting"
	default:
		return "gone"
	}
}

// Lease is an agent's membership as an observer sees it.
type Lease struct {
	// Holder is the process that holds the Lease; empty once it was released.
	Holder string
	// Duration is how long one renewal lasts.
	Duration time.Duration
	// Seen is when the observer noticed the newest renewal or the release, by
	// its own clock. Times that another machine wrote are never compared with
	// the own clock.
	Seen time.Time
}

// State is the state at the given time, and the time at which it changes
// unless the agent does something; zero when it stays. An agent that has left is
// gone when reassignAfter has passed since then, and one that fell silent after
// half of that, once its Lease has run out: whoever takes over from it has its
// fences to wait out as well.
func (l Lease) State(now time.Time, reassignAfter time.Duration) (LeaseState, time.Time) {
	away := Expired
	if l.Holder == "" {
		away = Released
	}
	expires, gone := l.Seen.Add(l.Duration), l.Seen.Add(reassignAfter)
	if away == Expired {
		gone = l.Seen.Add(max(l.Duration, reassignAfter/2))
	}
	switch {
	case away == Expired && now.Before(expires):
		return Alive, expires
	case now.Before(gone):
		return away, gone
	default:
		return Gone, time.Time{}
	}
}
