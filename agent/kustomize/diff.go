package kustomize

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-dev/headwater/agent/apply"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// diff finds out what applying one stage would do, and refuses to take objects
// that another Kustomization has and keeps.
func (r *Reconciler) diff(ctx context.Context, obj *kustomizev1.Kustomization, to *target, stage []*unstructured.Unstructured) (*apply.Plan, error) {
	plan, err := to.applier.Plan(ctx, stage)
	if err != nil {
		return nil, reconcile.Fail(meta.ReconciliationFailedReason, err)
	}
	others := map[types.NamespacedName]*kustomizev1.Kustomization{}
	var errs []error
	for _, conflict := range plan.Conflicts {
		other, read := others[conflict.Owner]
		if !read {
			if other, err = r.other(ctx, conflict.Owner); err != nil {
				return nil, err
			}
			others[conflict.Owner] = other
		}
		kept := keeps(other, obj, conflict.Ref, to.src.Revision)
		if kept {
			// What it has may be at another cluster.
			if kept, err = r.Targets.SameCluster(ctx, keyOf(other), to.key); err != nil {
				return nil, err
			}
		}
		if kept {
			errs = append(errs, fmt.Errorf("%s is managed by the Kustomization %s: remove it from one of the two",
				conflict.Ref, conflict.Owner))
		}
	}
	return plan, reconcile.Fail(meta.OwnershipConflictReason, errors.Join(errs...))
}

// other reads another Kustomization live; nil when it does not exist here: labels
// may be those of another hub's, and an agent inside of a target may not read all
// namespaces of its own.
func (r *Reconciler) other(ctx context.Context, name types.NamespacedName) (*kustomizev1.Kustomization, error) {
	var other kustomizev1.Kustomization
	err := r.Live.Get(ctx, name, &other)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the Kustomization %s, which labels name as an owner: %w", name, err)
	}
	return &other, nil
}

// keeps says whether another Kustomization, nil for one that does not exist, has an
// object of that identity, wherever, and is not about to let it go: one that moves
// from one to the other in a commit is free when the other has not applied that
// commit.
func keeps(other, obj *kustomizev1.Kustomization, ref apply.Ref, revision string) bool {
	if other == nil || !other.DeletionTimestamp.IsZero() || !lists(other, ref) {
		return false
	}
	sameSource := other.Spec.SourceRef.Kind == obj.Spec.SourceRef.Kind &&
		other.Spec.SourceRef.Name == obj.Spec.SourceRef.Name &&
		other.SourceNamespace() == obj.SourceNamespace()
	return !sameSource || other.Status.LastAppliedRevision == revision
}
