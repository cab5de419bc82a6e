package kustomize

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/apply"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// terminationPoll is how soon it is looked again whether deleted objects are
// gone.
const terminationPoll = 2 * time.Second

// errAccountMissing says that nobody is there on whose behalf to prune.
var errAccountMissing = errors.New("the ServiceAccount to impersonate does not exist at the target")

// Finalize prunes what was applied, unless the spec says to leave it or the
// Kustomization is suspended.
func (r *Reconciler) Finalize(ctx context.Context, obj *kustomizev1.Kustomization) error {
	r.waits.drop(client.ObjectKeyFromObject(obj))
	r.memories.drop(client.ObjectKeyFromObject(obj))
	refs := inventoryOf(ctx, obj)
	if len(refs) == 0 || obj.Spec.Suspend || !prunesOnDeletion(obj) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, obj.Timeout())
	defer cancel()
	return r.pruneAt(ctx, obj, keyOf(obj), refs)
}

// waitsForTermination says whether what is deleted along with the Kustomization is
// to be gone before it.
func waitsForTermination(obj *kustomizev1.Kustomization) bool {
	return !obj.DeletionTimestamp.IsZero() && obj.Spec.DeletionPolicy == kustomizev1.DeletionPolicyWaitForTermination
}

// terminated waits until what was deleted along with the Kustomization is gone. The
// time runs from the deletion, and out: then an event says what was left behind.
func (r *Reconciler) terminated(ctx context.Context, obj *kustomizev1.Kustomization, from *target, refs []apply.Ref) error {
	left, err := from.applier.Terminating(ctx, refs)
	if err != nil {
		return reconcile.Fail(meta.PruneFailedReason, err)
	}
	if len(left) == 0 {
		return nil
	}
	going := make([]apply.Unhealthy, len(left))
	for i, ref := range left {
		going[i] = apply.Unhealthy{Ref: ref, Status: "Terminating"}
	}
	if !r.Clock.Now().Before(obj.DeletionTimestamp.Add(obj.Timeout())) {
		r.Events.Publish(ctx, obj, reconcile.Event{
			Severity: reconcile.SeverityError,
			Reason:   meta.PruneFailedReason,
			Message:  fmt.Sprintf("termination failed after %s: timeout waiting for: %s", obj.Timeout(), apply.Describe(going)),
			Metadata: r.revisionOf(obj),
		})
		return nil
	}
	obj.Status.Inventory = toInventory(left)
	return reconcile.Wait(meta.ProgressingReason, "waiting for termination of: "+apply.Describe(going), terminationPoll)
}

// prunesOnDeletion says whether the objects go with the Kustomization.
func prunesOnDeletion(obj *kustomizev1.Kustomization) bool {
	switch obj.Spec.DeletionPolicy {
	case kustomizev1.DeletionPolicyOrphan:
		return false
	case kustomizev1.DeletionPolicyDelete, kustomizev1.DeletionPolicyWaitForTermination:
		return true
	}
	return obj.Spec.Prune
}

// unableToPrune says which objects stay behind, and why.
func (r *Reconciler) unableToPrune(obj *kustomizev1.Kustomization, refs []apply.Ref, err error) reconcile.Event {
	names := make([]string, 0, len(refs))
	for _, ref := range refs {
		names = append(names, ref.String())
	}
	return reconcile.Event{
		Severity: reconcile.SeverityError,
		Reason:   meta.PruneFailedReason,
		Message:  fmt.Sprintf("unable to prune objects: %v\n%s", err, strings.Join(shortened(names), "\n")),
		Metadata: r.revisionOf(obj),
	}
}
