package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// renewalsPerDuration is how often a held fence is renewed within its duration.
const renewalsPerDuration = 6

// FenceOptions are the times and the place of the fences (DESIGN §4 part 3).
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

// fence is the Lease that says which process may write to one target. It is
// safe for concurrent use.
type fence struct {
	FenceOptions
	// leases reaches the Lease past the gate.
	leases client.Client
	// name and namespace of the Lease, and who we are.
	name, namespace, identity string
	// first says that the key never had an owner before: its Lease may be
	// created without waiting for one whose Lease was deleted.
	first bool
	clock clock.Clock

	// taking is held while the Lease is being taken, renewed or released, so
	// that one write to it is under way at a time. It guards lease and seen.
	taking sync.Mutex
	// lease is the Lease as last written by us.
	lease *coordinationv1.Lease
	// seen is another's tenure as last observed, and since when.
	seen  tenure
	since time.Time

	// mu guards what the gate looks at; it is never held over I/O.
	mu sync.Mutex
	// renewed is when the last successful renewal began; zero: not held.
	renewed time.Time
	// notBefore holds writes back after a Lease that was created anew.
	notBefore time.Time
	lastUse   time.Time
	// tenures counts how often the fence was taken anew.
	tenures int64
	// unsettled is when a write last ended without an answer: the server may
	// still work on it. Such a fence is left to run out, not released.
	unsettled time.Time
}

// tenure identifies one renewal by one holder. Times of other machines are
// compared for equality alone.
type tenure struct {
	uid     types.UID
	holder  string
	renewed metav1.MicroTime
}

// heldError says that another process holds the fence.
type heldError struct {
	holder string
	after  time.Duration
}

func (e *heldError) Error() string {
	return fmt.Sprintf("the target's fence is held by %s", e.holder)
}

// valid says whether a write may begin now. Both clocks must agree: the
// monotonic one stands still while a machine is suspended.
func (f *fence) valid() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.validLocked()
}

func (f *fence) validLocked() bool {
	if f.renewed.IsZero() {
		return false
	}
	now := f.clock.Now()
	if now.Before(f.notBefore) {
		return false
	}
	return now.Sub(f.renewed) < f.validity() && now.Round(0).Sub(f.renewed.Round(0)) < f.validity()
}

// enter begins a write, if one may begin now, and returns how long it may take:
// R, less what has passed since it was allowed. That the fence is valid and that
// it is in use are one step, so that it is not released as idle in between.
func (f *fence) enter() (allowed time.Time, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fenced && !f.validLocked() {
		return time.Time{}, false
	}
	f.lastUse = f.clock.Now()
	return f.lastUse, true
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

// take makes sure that the fence is held. It returns a *heldError when another
// process still holds it.
func (f *fence) take(ctx context.Context) error {
	if f.valid() {
		f.use()
		return nil
	}
	f.taking.Lock()
	defer f.taking.Unlock()
	if f.valid() {
		f.use()
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.Request)
	defer cancel()
	lease := &coordinationv1.Lease{}
	began := f.clock.Now()
	err := f.leases.Get(ctx, types.NamespacedName{Namespace: f.namespace, Name: f.name}, lease)
	switch {
	case apierrors.IsNotFound(err):
		return f.create(ctx, began)
	case err != nil:
		return f.explain(err)
	}
	if holder := ptr.Deref(lease.Spec.HolderIdentity, ""); holder != "" && holder != f.identity {
		if wait := f.remaining(lease); fenced && wait > 0 {
			return &heldError{holder: holder, after: wait}
		}
	}
	if err := f.write(ctx, lease, began); err != nil {
		return err
	}
	f.use()
	return f.pending()
}

// pending is the rest of the wait that a newly created Lease imposes.
func (f *fence) pending() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if wait := f.notBefore.Sub(f.clock.Now()); fenced && wait > 0 {
		return &heldError{holder: "a former owner whose Lease is gone", after: wait}
	}
	return nil
}

// remaining is how long another's tenure still has to be respected: D + R after
// its renewTime was last seen to change.
func (f *fence) remaining(lease *coordinationv1.Lease) time.Duration {
	now := f.clock.Now()
	current := tenureOf(lease)
	if current != f.seen {
		f.seen, f.since = current, now
	}
	duration := max(f.Duration, time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0))*time.Second)
	return f.since.Add(duration + f.Request).Sub(now)
}

func tenureOf(lease *coordinationv1.Lease) tenure {
	return tenure{
		uid:     lease.UID,
		holder:  ptr.Deref(lease.Spec.HolderIdentity, ""),
		renewed: ptr.Deref(lease.Spec.RenewTime, metav1.MicroTime{}),
	}
}

// create makes the Lease. Whoever makes it cannot know whether somebody held
// one that was deleted, and waits D + R, unless the key never had an owner.
func (f *fence) create(ctx context.Context, began time.Time) error {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: f.namespace,
		Name:      f.name,
		Labels:    map[string]string{"app.kubernetes.io/managed-by": "headwater"},
	}}
	f.claim(lease, began)
	if err := f.leases.Create(ctx, lease); err != nil {
		return f.explain(err)
	}
	f.mu.Lock()
	if !f.first {
		f.notBefore = began.Add(f.Duration + f.Request)
	}
	f.mu.Unlock()
	f.hold(lease, began)
	f.use()
	return f.pending()
}

// write updates the Lease with its resourceVersion as precondition.
func (f *fence) write(ctx context.Context, lease *coordinationv1.Lease, began time.Time) error {
	f.claim(lease, began)
	if err := f.leases.Update(ctx, lease); err != nil {
		return f.explain(err)
	}
	f.hold(lease, began)
	return nil
}

func (f *fence) claim(lease *coordinationv1.Lease, began time.Time) {
	now := metav1.NewMicroTime(began)
	if ptr.Deref(lease.Spec.HolderIdentity, "") != f.identity {
		lease.Spec.AcquireTime = &now
		lease.Spec.LeaseTransitions = ptr.To(ptr.Deref(lease.Spec.LeaseTransitions, 0) + 1)
	}
	lease.Spec.HolderIdentity = ptr.To(f.identity)
	lease.Spec.LeaseDurationSeconds = ptr.To(int32(f.Duration.Seconds()))
	lease.Spec.RenewTime = &now
}

func (f *fence) hold(lease *coordinationv1.Lease, began time.Time) {
	f.lease = lease
	f.seen = tenure{}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.renewed.IsZero() {
		f.tenures++
	}
	f.renewed = began
}

func (f *fence) drop() {
	f.lease = nil
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renewed = time.Time{}
	f.notBefore = time.Time{}
}

func (f *fence) explain(err error) error {
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return fmt.Errorf("fence lease %s/%s: %w: the target's credentials need get, create and update on leases in namespace %s (--fence-namespace)",
			f.namespace, f.name, err, f.namespace)
	}
	return fmt.Errorf("fence lease %s/%s: %w", f.namespace, f.name, err)
}

// tend renews a held fence, or releases it when it has been idle. It is called
// every D/6.
func (f *fence) tend(ctx context.Context) error {
	f.taking.Lock()
	defer f.taking.Unlock()
	if f.lease == nil {
		return nil
	}
	if f.rest() {
		return f.releaseLocked(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, f.Request)
	defer cancel()
	began := f.clock.Now()
	err := f.write(ctx, f.lease.DeepCopy(), began)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		// Somebody deleted it, took it, or touched it: not ours until it has
		// been taken anew.
		f.drop()
	}
	return err
}

// rest ends the validity of a fence that is idle, and says whether it did.
func (f *fence) rest() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock.Now()
	idle := now.Sub(f.lastUse) > f.Idle && !now.Before(f.notBefore)
	if idle {
		f.renewed = time.Time{}
	}
	return idle
}

// release gives the fence up, for a successor to take at once. A fence with a
// write whose end is unknown is left to run out.
func (f *fence) release(ctx context.Context) error {
	f.taking.Lock()
	defer f.taking.Unlock()
	return f.releaseLocked(ctx)
}

func (f *fence) releaseLocked(ctx context.Context) error {
	lease := f.lease
	f.mu.Lock()
	now := f.clock.Now()
	keep := lease == nil || now.Before(f.notBefore) ||
		!f.unsettled.IsZero() && now.Sub(f.unsettled) < f.Duration
	f.mu.Unlock()
	f.drop()
	if keep {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.Request)
	defer cancel()
	released := lease.DeepCopy()
	released.Spec.HolderIdentity = ptr.To("")
	if err := f.leases.Update(ctx, released); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return f.explain(err)
	}
	return nil
}

// rebind makes the fence use another connection. Where that leads to another
// cluster, the fence is not held there.
func (f *fence) rebind(leases client.Client, elsewhere bool) {
	f.taking.Lock()
	defer f.taking.Unlock()
	f.leases = leases
	if elsewhere {
		f.drop()
	}
}
