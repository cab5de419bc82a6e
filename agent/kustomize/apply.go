package kustomize

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headwater-dev/headwater/agent/apply"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// apply brings the objects to the target, stage after stage, prunes what is
// wanted no more, and keeps the inventory. It returns what happened to each
// object that is wanted, and to those that were pruned.
func (r *Reconciler) apply(ctx context.Context, obj *kustomizev1.Kustomization, to *target, want []*unstructured.Unstructured) ([]apply.Change, error) {
	if err := to.applier.Prepare(want); err != nil {
		return nil, reconcile.Fail(meta.ReconciliationFailedReason, err)
	}
	to.applier.Owner.Label(want)
	refs := refsTo(want)
	r.recall(ctx, obj, to, kindsOf(refs))
	if err := to.validate(obj.Spec.Validation); err != nil {
		return nil, reconcile.Fail(meta.ReconciliationFailedReason, err)
	}
	if err := to.ignore(obj.Spec.Ignore); err != nil {
		return nil, err
	}
	changes, err := r.applyStages(ctx, obj, to, want)
	r.announce(ctx, obj, to, changes)
	r.contested(ctx, obj, changes)
	if err != nil {
		return changes, err
	}
	r.checked(obj, to)
	to.memory.Keep(refs)
	pruned, err := r.prune(ctx, obj, to, refs)
	r.announce(ctx, obj, to, pruned)
	return append(changes, pruned...), err
}

func (r *Reconciler) applyStages(ctx context.Context, obj *kustomizev1.Kustomization, to *target, want []*unstructured.Unstructured) ([]apply.Change, error) {
	var changes []apply.Change
	stages := apply.Stages(want, r.early...)
	for i, stage := range stages {
		plan, err := r.diff(ctx, obj, to, stage)
		if err != nil {
			return changes, err
		}
		if writes := plan.Writes(); len(writes) > 0 {
			if err := r.writeAhead(ctx, obj, to, writes, refsTo(want)); err != nil {
				return changes, err
			}
		}
		done, err := to.applier.Apply(ctx, plan)
		changes = append(changes, done...)
		if err == nil && i < len(stages)-1 {
			err = r.usable(ctx, obj, to, done)
		}
		if err != nil {
			return changes, reconcile.Fail(meta.ReconciliationFailedReason, err)
		}
	}
	return changes, nil
}

// usable waits until what was applied can be used by the stages after it. Of all
// waits this alone holds a worker, for it stands in the middle of applying. It is
// short: most sets have nothing that is not current as soon as it is there.
func (r *Reconciler) usable(ctx context.Context, obj *kustomizev1.Kustomization, to *target, done []apply.Change) error {
	if err := to.applier.Settle(ctx, done); err != nil {
		return err
	}
	var checks []apply.Check
	for _, change := range done {
		if check, ok := change.StageCheck(); ok && !isSelf(obj, check.Ref) {
			checks = append(checks, check)
		}
	}
	if err := r.addRules(obj, checks); err != nil {
		return err
	}
	return to.applier.Await(ctx, checks)
}

// ignore has the applier leave fields to others.
func (t *target) ignore(rules []meta.IgnoreRule) (err error) {
	if t.applier.Ignore, err = apply.ParseIgnore(rules); err != nil {
		return reconcile.Stall(meta.ReconciliationFailedReason, fmt.Errorf("spec.ignore%w", err))
	}
	return nil
}

// validate says what is checked of objects before any of their stage is applied:
// nothing, their fields, or all that the server has to say of them.
func (t *target) validate(how string) error {
	t.applier.Unchecked = how == kustomizev1.ValidationNone || how == kustomizev1.ValidationClient
	if how != kustomizev1.ValidationClient {
		return nil
	}
	schemas, err := apply.NewSchemas(t.Config)
	if err == nil {
		t.applier.Check = schemas.Check
	}
	return err
}

// writeAhead takes the fence, and puts what is about to be created or taken over
// into the inventory before it is: an agent that is killed in between leaves no
// object of ours that nobody knows of.
func (r *Reconciler) writeAhead(ctx context.Context, obj *kustomizev1.Kustomization, to *target, writes, want []apply.Ref) error {
	known := inventoryOf(ctx, obj)
	if len(apply.Without(writes, known)) == 0 {
		return r.fence(ctx, obj, to)
	}
	tenure, err := to.Fence(ctx)
	if err != nil {
		return err
	}
	before := obj.Status
	obj.Status = recorded(obj, to, slices.Concat(want, known))
	if err := r.status.PatchIn(ctx, obj, tenure); err != nil {
		// What cannot be written must not be in the way of saying so.
		obj.Status = before
		return unrecorded(err, len(want))
	}
	return nil
}

// unrecorded says why an inventory was not written. Too large is what etcd says
// of a message, and etcd's client and the API server before that.
func unrecorded(err error, objects int) error {
	err = fmt.Errorf("writing the inventory of %d objects into the status: %w", objects, err)
	if apierrors.IsRequestEntityTooLargeError(err) ||
		strings.Contains(err.Error(), "request is too large") || strings.Contains(err.Error(), "larger than max") {
		err = fmt.Errorf("%w: make several Kustomizations of this one", err)
	}
	return reconcile.Fail(meta.ReconciliationFailedReason, err)
}

// prune deletes what is in the inventory and not wanted any more, and records
// what was applied. What cannot be deleted stays in the inventory. Where spec.prune
// is false the objects are left where they are, and are nobody's any more.
func (r *Reconciler) prune(ctx context.Context, obj *kustomizev1.Kustomization, to *target, want []apply.Ref) ([]apply.Change, error) {
	var stale []apply.Ref
	if obj.Spec.Prune {
		stale = apply.Without(inventoryOf(ctx, obj), want)
	}
	if len(stale) == 0 && equality.Semantic.DeepEqual(obj.Status, recorded(obj, to, want)) {
		return nil, nil
	}
	if err := r.fence(ctx, obj, to); err != nil {
		return nil, err
	}
	deleted, kept, err := to.applier.Prune(ctx, stale)
	obj.Status = recorded(obj, to, slices.Concat(want, kept))
	return deleted, reconcile.Fail(meta.PruneFailedReason, err)
}

// recorded is the status with what was attempted, and what is at the target.
func recorded(obj *kustomizev1.Kustomization, to *target, refs []apply.Ref) kustomizev1.KustomizationStatus {
	status := obj.Status.DeepCopy()
	status.Inventory = toInventory(refs)
	status.Target = to.key.String()
	status.LastAttemptedRevision = to.src.Revision
	return *status
}

// pruneAll deletes all the objects; those that it cannot delete become the
// inventory, and so do those that are still to be waited for.
func (r *Reconciler) pruneAll(ctx context.Context, obj *kustomizev1.Kustomization, from *target, refs []apply.Ref) error {
	if err := r.fence(ctx, obj, from); err != nil {
		return err
	}
	deleted, kept, err := from.applier.Prune(ctx, refs)
	waits := waitsForTermination(obj)
	if waits {
		kept = refs
	}
	obj.Status.Inventory = toInventory(kept)
	r.announce(ctx, obj, from, deleted)
	if err != nil || !waits {
		return reconcile.Fail(meta.PruneFailedReason, err)
	}
	return r.terminated(ctx, obj, from, refs)
}

func refsTo(objects []*unstructured.Unstructured) []apply.Ref {
	refs := make([]apply.Ref, 0, len(objects))
	for _, obj := range objects {
		refs = append(refs, apply.RefTo(obj))
	}
	return refs
}
