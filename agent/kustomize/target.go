package kustomize

import (
	"context"
	"errors"
	"fmt"

	"github.com/headwater-dev/headwater/agent/apply"
	"github.com/headwater-dev/headwater/agent/remote"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

const (
	// fieldManager owns what is applied; it is Flux's, so that a fleet can
	// move between the two.
	fieldManager = "kustomize-controller"
	// statusManager owns the status and the finalizer.
	statusManager = "gotk-kustomize-controller"
)

// target is an open cluster and what is to be brought to it.
type target struct {
	*remote.Target
	applier *apply.Applier
	key     shard.Key
	src     *meta.Artifact
}

// open connects to the cluster that the spec names, after leaving the one that
// the inventory is in, should that be another.
func (r *Reconciler) open(ctx context.Context, obj *kustomizev1.Kustomization, src *meta.Artifact) (*target, error) {
	key := keyOf(obj)
	moved := obj.Status.Target != "" && obj.Status.Target != key.String()
	if moved && obj.Spec.Prune {
		if err := r.leave(ctx, obj); err != nil {
			return nil, err
		}
	}
	to, err := r.connect(ctx, obj, key, src)
	if err != nil || !moved {
		return to, err
	}
	if err = to.Fence(ctx); err == nil {
		// What was left there is nobody's, and here is nothing yet.
		obj.Status.Inventory, obj.Status.Target = nil, ""
		err = r.status.Patch(ctx, obj)
	}
	if err != nil {
		to.Close()
		return nil, err
	}
	return to, nil
}

func (r *Reconciler) connect(ctx context.Context, obj *kustomizev1.Kustomization, key shard.Key, src *meta.Artifact) (*target, error) {
	opened, err := r.Targets.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	return &target{
		Target: opened,
		key:    key,
		src:    src,
		applier: &apply.Applier{
			Client: opened.Client,
			Mapper: opened.Mapper,
			Owner:  ownerOf(obj),
		},
	}, nil
}

// ownerOf is the Kustomization as the objects know it.
func ownerOf(obj *kustomizev1.Kustomization) apply.Owner {
	return apply.Owner{
		FieldManager: fieldManager,
		Group:        kustomizev1.GroupVersion.Group,
		Namespace:    obj.Namespace,
		Name:         obj.Name,
		Spare:        []string{"reconcile.fluxcd.io/", "fleet.headwater.dev/"},
	}
}

// leave prunes what was applied to the cluster that the spec named before.
func (r *Reconciler) leave(ctx context.Context, obj *kustomizev1.Kustomization) error {
	refs := inventoryOf(ctx, obj)
	if len(refs) == 0 {
		return nil
	}
	key, err := shard.ParseKey(obj.Status.Target)
	if err != nil {
		return fmt.Errorf("status.target: %w", err)
	}
	from, err := r.connect(ctx, obj, key, nil)
	if errors.Is(err, reconcile.ErrNotOwner) {
		return reconcile.Fail(meta.PruneFailedReason, errorElsewhere(key))
	}
	if err != nil {
		return err
	}
	defer from.Close()
	return r.pruneAll(ctx, obj, from, refs)
}

// errorElsewhere is about objects that this agent cannot reach.
func errorElsewhere(key shard.Key) error {
	return fmt.Errorf("spec.kubeConfig has changed, but what was applied before is still at %s, which another agent owns: "+
		"point spec.kubeConfig back to it, or set spec.prune to false to leave the objects there", key)
}
