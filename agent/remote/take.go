package remote

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// claimAnnotation on a Lease is who waits for it. Its holder makes sure that it
// still owns the key, and else gives it up.
const claimAnnotation = "fleet.headwater.dev/claim"

// take makes sure that the fence is held. It returns a *heldError when another
// process still holds it.
func (f *fence) take(ctx context.Context) error {
	if f.ready() {
		return nil
	}
	f.taking.Lock()
	defer f.taking.Unlock()
	if f.ready() {
		return nil
	}
	if f.held {
		err := f.renew(ctx)
		switch {
		case f.valid():
			// What could not be renewed holds as long as it held before.
			f.use()
			return nil
		case f.held && err == nil:
			f.use()
			return f.pending()
		case f.held:
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, f.Request)
	defer cancel()
	if err := f.reclaim(ctx); err != nil {
		return err
	}
	if f.resume(ctx) {
		return nil
	}
	known := f.ledger.known(ctx)
	if known != fleetv1.HubFence || f.hub == nil {
		err := f.takeAt(ctx, f.target)
		if !apierrors.IsForbidden(err) || f.hub == nil {
			return err
		}
		if known == fleetv1.TargetFence {
			// Who holds it there may be cut off from the hub, and go on writing.
			return fmt.Errorf("%w, where the fence was made: grant that, or delete RemoteCluster %s, once no agent acts for the target, to have it made anew",
				err, f.ledger.record)
		}
	}
	return f.takeAt(ctx, f.hub)
}

// reclaim makes sure, after the fence was given to one who claimed it, that the
// hub still wants this agent to have it.
func (f *fence) reclaim(ctx context.Context) error {
	if f.yieldedTo == "" {
		return nil
	}
	ours, err := f.ledger.ours(ctx)
	switch {
	case err != nil:
		return &heldError{holder: f.yieldedTo + ", who claimed it while the hub is out of reach", after: f.look()}
	case !ours:
		return reconcile.ErrNotOwner
	}
	f.yieldedTo = ""
	return nil
}

// resume takes a fence that was released at rest, or prepared, and that nobody has
// touched since, which one write tells and does: its tenure goes on. It says whether it did; if
// not, the usual way finds out why.
func (f *fence) resume(ctx context.Context) bool {
	if f.lease == nil || f.held {
		return false
	}
	if f.write(ctx, f.at, f.lease.DeepCopy(), f.clock.Now()) != nil {
		f.drop()
		return false
	}
	f.use()
	return true
}

// prepare makes the Lease of a fence that nobody ever had, held by nobody, so that
// the first write waits for one request and the record says from the beginning
// where the fence is. All that could not be done is left to take.
func (f *fence) prepare(ctx context.Context) error {
	f.taking.Lock()
	defer f.taking.Unlock()
	if f.lease != nil || f.ledger.known(ctx) != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.Request)
	defer cancel()
	err := f.prepareAt(ctx, f.target)
	if apierrors.IsForbidden(err) && f.hub != nil {
		err = f.prepareAt(ctx, f.hub)
	}
	return err
}

func (f *fence) prepareAt(ctx context.Context, at *place) error {
	err := at.leases.Get(ctx, types.NamespacedName{Namespace: at.namespace, Name: f.name}, &coordinationv1.Lease{})
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return f.explain(at, err)
	}
	before, err := f.ledger.note(ctx, at.kind)
	if err != nil || before {
		return err
	}
	f.first = true
	lease := f.blank(at)
	if err := at.leases.Create(ctx, lease); err != nil {
		return f.explain(at, err)
	}
	f.begin()
	f.lease, f.at, f.first = lease, at, false
	return nil
}

// look is how soon one that waits for the fence looks again.
func (f *fence) look() time.Duration { return f.Duration / looksPerDuration }

func (f *fence) takeAt(ctx context.Context, at *place) error {
	if now := f.clock.Now(); f.seen != (tenure{}) && now.Sub(f.looked) < f.look()/2 {
		// Another unit of work has just looked.
		if wait := f.left(now); fenced && wait > 0 {
			return &heldError{holder: f.seen.holder, after: min(wait, f.look())}
		}
	}
	began := f.clock.Now()
	lease := &coordinationv1.Lease{}
	err := at.leases.Get(ctx, types.NamespacedName{Namespace: at.namespace, Name: f.name}, lease)
	if err != nil && !apierrors.IsNotFound(err) {
		return f.explain(at, err)
	}
	if err != nil {
		lease = nil
	} else if err := f.respect(ctx, at, lease); err != nil {
		return err
	}
	anew, err := f.note(ctx, at, lease == nil)
	if err != nil {
		return err
	}
	if anew {
		f.waitOut(began)
	}
	if err := f.occupy(ctx, at, lease, began); err != nil {
		return err
	}
	f.use()
	return f.pending()
}

// waitOut holds writes back until a former holder of whom no Lease tells can write no
// more. It is called before there is a Lease: one that names this process says nothing
// of it, and the answer to its making may not come.
func (f *fence) waitOut(began time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notBefore = began.Add(f.Duration + f.Request)
}

// occupy makes the Lease ours, or makes one where there is none.
func (f *fence) occupy(ctx context.Context, at *place, lease *coordinationv1.Lease, began time.Time) (err error) {
	fresh := lease == nil || !f.untouched(lease)
	if fresh {
		f.begin()
	}
	if lease == nil {
		err = f.create(ctx, at, began)
	} else {
		err = f.write(ctx, at, lease, began)
	}
	if err == nil && fresh {
		fencesTaken.Inc()
	}
	return err
}

// untouched says whether the Lease is as this process has left it: nobody else has
// had it since. Else another may have acted meanwhile, and it is taken anew.
func (f *fence) untouched(lease *coordinationv1.Lease) bool {
	return f.lease != nil && lease.UID == f.lease.UID && tenureOf(lease) == tenureOf(f.lease)
}

// note remembers in the hub that the fence is made at the place, before it is.
// It says whether a former holder has to be waited out that the Lease at this
// place says nothing of: because its Lease is gone, or was elsewhere.
func (f *fence) note(ctx context.Context, at *place, gone bool) (anew bool, err error) {
	known := f.ledger.known(ctx)
	if known == at.kind {
		return gone && !f.first, nil
	}
	if known == "" && !gone {
		// The Lease itself has told who held it.
		_, err := f.ledger.note(ctx, at.kind)
		return false, err
	}
	anew, err = f.ledger.note(ctx, at.kind)
	f.first = err == nil && !anew
	return anew, err
}

// respect returns a *heldError while the Lease's holder may still write, after
// it was told that somebody waits.
func (f *fence) respect(ctx context.Context, at *place, lease *coordinationv1.Lease) error {
	holder := ptr.Deref(lease.Spec.HolderIdentity, "")
	if holder == "" || holder == f.identity {
		return nil
	}
	wait := f.remaining(lease)
	if wait <= 0 || !fenced {
		return nil
	}
	if lease.Annotations[claimAnnotation] != f.identity {
		claimed := lease.DeepCopy()
		metav1.SetMetaDataAnnotation(&claimed.ObjectMeta, claimAnnotation, f.identity)
		// It is a request: where it does not arrive, or is not allowed, the wait is
		// longer.
		err := at.leases.Update(ctx, claimed)
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return f.explain(at, err)
		}
	}
	return &heldError{holder: holder, after: min(wait, f.look())}
}

// remaining is how long another's tenure still has to be respected: D + R after
// its renewTime was last seen to change.
func (f *fence) remaining(lease *coordinationv1.Lease) time.Duration {
	now := f.clock.Now()
	f.looked = now
	if current := tenureOf(lease); current != f.seen {
		f.seen, f.since = current, now
	}
	f.respected = max(f.Duration, time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0))*time.Second)
	return f.left(now)
}

func (f *fence) left(now time.Time) time.Duration {
	return f.since.Add(f.respected + f.Request).Sub(now)
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

// create makes the Lease. Whoever makes it cannot know whether somebody held
// one that was deleted, and waits D + R, unless the key never had an owner.
func (f *fence) create(ctx context.Context, at *place, began time.Time) error {
	lease := f.blank(at)
	f.stamp(lease, began)
	if err := at.leases.Create(ctx, lease); err != nil {
		return f.explain(at, err)
	}
	f.hold(at, lease, began)
	return nil
}

// blank is the Lease held by nobody.
func (f *fence) blank(at *place) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: at.namespace,
			Name:      f.name,
			Labels:    map[string]string{"app.kubernetes.io/managed-by": "headwater"},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To("")},
	}
}

// write updates the Lease. Its uid and resourceVersion are the precondition.
func (f *fence) write(ctx context.Context, at *place, lease *coordinationv1.Lease, began time.Time) error {
	f.stamp(lease, began)
	if err := at.leases.Update(ctx, lease); err != nil {
		return f.explain(at, err)
	}
	f.hold(at, lease, began)
	return nil
}

// stamp makes the Lease ours, and answers a claim.
func (f *fence) stamp(lease *coordinationv1.Lease, began time.Time) {
	now := metav1.NewMicroTime(began)
	if ptr.Deref(lease.Spec.HolderIdentity, "") != f.identity {
		lease.Spec.AcquireTime = &now
		lease.Spec.LeaseTransitions = ptr.To(ptr.Deref(lease.Spec.LeaseTransitions, 0) + 1)
	}
	lease.Spec.HolderIdentity = ptr.To(f.identity)
	lease.Spec.LeaseDurationSeconds = ptr.To(int32(f.Duration.Seconds()))
	lease.Spec.RenewTime = &now
	delete(lease.Annotations, claimAnnotation)
}

func (f *fence) hold(at *place, lease *coordinationv1.Lease, began time.Time) {
	f.lease, f.at, f.held, f.first = lease, at, true, false
	f.seen = tenure{}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renewed, f.aged = began, false
}

// explain says what the credentials lack. The error stays recognisable.
func (f *fence) explain(at *place, err error) error {
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return fmt.Errorf("fence lease %s/%s: %w: the target's credentials need get, create and update on leases in namespace %s (--fence-namespace)",
			at.namespace, f.name, err, at.namespace)
	}
	return fmt.Errorf("fence lease %s/%s: %w", at.namespace, f.name, err)
}
