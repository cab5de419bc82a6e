package remote

import (
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
)

const (
	// renewalsPerDuration is how often a held fence is renewed within its
	// duration while work is under way.
	renewalsPerDuration = 6
	// looksPerDuration is how often one that waits for a fence looks at it
	// within its duration: a fence that was handed over is taken soon.
	looksPerDuration = 15
)

// FenceOptions are the times and the place of the fences (docs/architecture.md).
type FenceOptions struct {
	// Namespace of the Lease in the target.
	Namespace string
	// Duration is D: how long a fence that is not renewed still counts.
	Duration time.Duration
	// Request is R: the longest that one write may take.
	Request time.Duration
	// Idle is how long after the last write the fence is released.
	Idle time.Duration
}

// validity is how long after the start of its last renewal a fence allows a
// write to begin: a write that begins then has ended R before the fence runs
// out.
func (o FenceOptions) validity() time.Duration { return o.Duration - 2*o.Request }

// check refuses times that do not fit together.
func (o FenceOptions) check() error {
	switch {
	case o.validity() <= o.Duration/renewalsPerDuration:
		return errors.New("--fence-duration is too short for --request-timeout: it must be more than 2.4 times as long")
	case o.Idle <= o.Request:
		return errors.New("--fence-idle must be longer than --request-timeout")
	}
	return nil
}

// place is where a fence's Lease can be.
type place struct {
	kind      fleetv1.FencePlace
	namespace string
	// leases reaches the Lease past the gate.
	leases client.Client
}

// fence is the Lease that says which process may write to one target. It is
// safe for concurrent use.
type fence struct {
	FenceOptions
	// name of the Lease, and who we are.
	name, identity string
	ledger         *ledger
	clock          clock.Clock
	// busy says whether work for the key is under way.
	busy func() bool
	// draining says that the key is being handed over, which bounds how long
	// the fence is still held; nil means never.
	draining func() bool
	// disowned is called when the hub says that the key is another's.
	disowned func()

	// taking is held while the Lease is being taken, renewed or released, so
	// that one write to it is under way at a time. It guards what follows.
	taking sync.Mutex
	// target is where the Lease belongs; hub is where it is kept when the
	// target's credentials forbid Leases. For the hub's own keys there is no
	// second place.
	target, hub *place
	// lease is the Lease as last written by us, and at is where; nil when it is
	// known that others had it since. held says that it was not to release it.
	lease *coordinationv1.Lease
	at    *place
	held  bool
	// first says that this process has noted a fence that nobody had before, and has
	// not made its Lease yet: that there is none tells of nobody.
	first bool
	// seen is another's tenure as last observed, since when, and when it was
	// looked at last.
	seen          tenure
	since, looked time.Time
	// respected is the duration of that tenure.
	respected time.Duration
	// yieldedTo is who got the fence while the hub could not confirm that it
	// is ours.
	yieldedTo string

	// mu guards what the gate looks at; it is never held over I/O.
	mu sync.Mutex
	// renewed is when the last successful renewal began; zero: not held.
	renewed time.Time
	// aged says that the fence was due for a renewal since, and that nobody needed it.
	aged bool
	// notBefore holds writes back after a Lease that was made anew, whatever becomes
	// of that Lease.
	notBefore time.Time
	lastUse   time.Time
	// tenures counts how often the fence was taken anew.
	tenures int64
	// unsettled is when a write last ended without an answer: the server may
	// still work on it. Such a fence is left to run out, not released.
	unsettled time.Time
	// writes is how many are under way; over is when the last of them to begin
	// must have ended. quiet is closed when none is left.
	writes int
	over   time.Time
	quiet  chan struct{}
}

// tenure identifies one renewal by one holder. Times of other machines are
// compared for equality alone.
type tenure struct {
	uid     types.UID
	holder  string
	renewed metav1.MicroTime
}

func tenureOf(lease *coordinationv1.Lease) tenure {
	return tenure{
		uid:     lease.UID,
		holder:  ptr.Deref(lease.Spec.HolderIdentity, ""),
		renewed: ptr.Deref(lease.Spec.RenewTime, metav1.MicroTime{}),
	}
}

// heldError says that another process holds the fence.
type heldError struct {
	holder string
	after  time.Duration
}

func (e *heldError) Error() string {
	return fmt.Sprintf("the target's fence is held by %s", e.holder)
}

// valid says whether a write may begin now.
func (f *fence) valid() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.validLocked()
}

func (f *fence) validLocked() bool {
	if f.renewed.IsZero() || f.clock.Now().Before(f.notBefore) {
		return false
	}
	return f.before(f.renewed.Add(f.validity()))
}

// ready says whether work may begin: the fence is valid, and will be renewed in time.
// It keeps the fence from being released as idle.
func (f *fence) ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	ready := f.validLocked() && !f.aged
	if ready {
		f.lastUse = f.clock.Now()
	}
	return ready
}

// before says whether a time has not come yet. Both clocks must agree: the
// monotonic one stands still while a machine is suspended, and the wall clock can
// be set.
func (f *fence) before(limit time.Time) bool {
	now := f.clock.Now()
	return now.Before(limit) && now.Round(0).Before(limit.Round(0))
}

// enter begins a write, if one may begin now, and returns since when it is
// allowed. That the fence is valid and that it is in use are one step, so that it
// is not released in between. Each enter is followed by a leave.
func (f *fence) enter() (allowed time.Time, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fenced && !f.validLocked() {
		return time.Time{}, false
	}
	if f.writes == 0 {
		f.quiet = make(chan struct{})
	}
	f.writes++
	f.over = f.renewed.Add(f.Duration - f.Request)
	f.lastUse = f.clock.Now()
	return f.lastUse, true
}

// leave ends a write.
func (f *fence) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes--
	if f.writes == 0 {
		close(f.quiet)
	}
}

// overdue says that a write is under way which should have ended: this process
// was stopped in the middle of it. Nothing of it may be sent any more.
func (f *fence) overdue() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fenced && f.writes > 0 && !f.before(f.over)
}

// shut ends the validity of the fence, and returns what is closed when no write
// is left.
func (f *fence) shut() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renewed = time.Time{}
	if f.writes > 0 {
		return f.quiet
	}
	none := make(chan struct{})
	close(none)
	return none
}

// begin makes what was allowed before end, and numbers what comes anew: others
// may have acted in between.
func (f *fence) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renewed = time.Time{}
	f.tenures++
}

// tenure numbers the times that the fence was taken anew.
func (f *fence) tenure() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tenures
}

// use keeps the fence from being released as idle.
func (f *fence) use() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastUse = f.clock.Now()
}

// unsettle notes a write whose end is unknown.
func (f *fence) unsettle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unsettled = f.clock.Now()
}

// state describes the fence for people.
func (f *fence) state() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.renewed.IsZero():
		return "released"
	case f.clock.Now().Before(f.notBefore):
		return "waiting"
	case !f.validLocked():
		return "expired"
	}
	return "held"
}
