package kustomize

import (
	"context"
	"fmt"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/apply"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Finalize prunes what was applied, unless the spec says to leave it or the
// Kustomization is suspended.
func (r *Reconciler) Finalize(ctx context.Context, obj *kustomizev1.Kustomization) error {
	r.waits.drop(obj)
	r.memories.drop(client.ObjectKeyFromObject(obj))
	refs := inventoryOf(ctx, obj)
	if len(refs) == 0 || obj.Spec.Suspend || !prunesOnDeletion(obj) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, obj.Timeout())
	defer cancel()
	return r.pruneAt(ctx, obj, keyOf(obj), refs)
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
func unableToPrune(obj *kustomizev1.Kustomization, refs []apply.Ref, err error) reconcile.Event {
	names := make([]string, 0, len(refs))
	for _, ref := range refs {
		names = append(names, ref.String())
	}
	return reconcile.Event{
		Severity: reconcile.SeverityError,
		Reason:   meta.PruneFailedReason,
		Message:  fmt.Sprintf("unable to prune objects: %v\n%s", err, strings.Join(shortened(names), "\n")),
		Metadata: revisionOf(obj),
	}
}
