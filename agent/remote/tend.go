package remote

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tend renews a held fence while work for its key is under way, and releases it when
// it has been idle. It is called every D/6.
func (f *fence) tend(ctx context.Context) error {
	f.taking.Lock()
	defer f.taking.Unlock()
	if !f.held {
		return nil
	}
	// Work that begins from here on sees that, and renews the fence itself.
	f.age()
	switch {
	case f.busy():
		return f.renew(ctx)
	case f.rest():
		return f.releaseLocked(ctx)
	}
	return nil
}

// renew renews a held fence. That it is not held afterwards says that it was lost, or
// given to one who claimed it.
func (f *fence) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.Request)
	defer cancel()
	began := f.clock.Now()
	err := f.write(ctx, f.at, f.lease.DeepCopy(), began)
	if apierrors.IsConflict(err) {
		return f.answer(ctx, began)
	}
	if apierrors.IsNotFound(err) {
		f.lose()
	}
	return err
}

// lose notes that the fence was taken away.
func (f *fence) lose() {
	fencesLost.Inc()
	f.drop()
}

// answer looks at why a renewal conflicted. Somebody who waits for the fence may
// have claimed it: then it is kept only if the hub confirms that it is ours. If
// somebody took the Lease, or made another one of its name, it is lost.
func (f *fence) answer(ctx context.Context, began time.Time) error {
	live, at := &coordinationv1.Lease{}, f.at
	if err := at.leases.Get(ctx, client.ObjectKeyFromObject(f.lease), live); err != nil {
		if apierrors.IsNotFound(err) {
			f.lose()
		}
		return f.explain(at, err)
	}
	if live.UID != f.lease.UID || ptr.Deref(live.Spec.HolderIdentity, "") != f.identity {
		f.lose()
		return &heldError{holder: ptr.Deref(live.Spec.HolderIdentity, "nobody"), after: f.look()}
	}
	f.lease = live
	if claim := live.Annotations[claimAnnotation]; claim != "" && !f.confirmed(ctx) {
		return f.yield(ctx, claim)
	}
	if err := f.write(ctx, f.at, live.DeepCopy(), began); err != nil {
		f.lose()
		return err
	}
	return nil
}

// confirmed asks the hub whether the key is still ours. During a hand-over it is
// known that it is not, and the end is near anyway.
func (f *fence) confirmed(ctx context.Context) bool {
	if f.draining != nil && f.draining() {
		return true
	}
	ours, err := f.ledger.ours(ctx)
	if err == nil && !ours && f.disowned != nil {
		f.disowned()
		return true
	}
	return err == nil
}

// yield gives the fence to the one who claimed it.
func (f *fence) yield(ctx context.Context, claim string) error {
	f.yieldedTo = claim
	fencesLost.Inc()
	select {
	case <-f.shut():
		return f.releaseLocked(ctx)
	case <-ctx.Done():
		f.drop()
		return ctx.Err()
	}
}

// age notes that the time has come to renew the fence.
func (f *fence) age() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.aged = true
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
	lease, at := f.lease, f.at
	f.mu.Lock()
	now := f.clock.Now()
	keep := !f.held || now.Before(f.notBefore) || f.writes > 0 ||
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
	err := at.leases.Update(ctx, released)
	switch {
	case err == nil:
		f.lease, f.at = released, at
	case apierrors.IsConflict(err):
		err = f.releaseClaimed(ctx, at, lease)
	}
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return f.explain(at, err)
	}
	return nil
}

// releaseClaimed releases a Lease that was claimed since it was last renewed.
func (f *fence) releaseClaimed(ctx context.Context, at *place, lease *coordinationv1.Lease) error {
	live := &coordinationv1.Lease{}
	if err := at.leases.Get(ctx, client.ObjectKeyFromObject(lease), live); err != nil {
		return err
	}
	if live.UID != lease.UID || ptr.Deref(live.Spec.HolderIdentity, "") != f.identity {
		return nil
	}
	live.Spec.HolderIdentity = ptr.To("")
	return at.leases.Update(ctx, live)
}

// drop forgets the Lease, but not whom there is to wait for: the Lease may still
// name this process, and be taken again.
func (f *fence) drop() {
	f.lease, f.at, f.held, f.first = nil, nil, false, false
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renewed = time.Time{}
}

// rebind makes the fence use another connection. Where that leads to another
// cluster, the fence is not held there.
func (f *fence) rebind(leases client.Client, elsewhere bool) {
	f.taking.Lock()
	defer f.taking.Unlock()
	f.target.leases = leases
	if elsewhere && f.at != f.hub {
		f.drop()
	}
}
