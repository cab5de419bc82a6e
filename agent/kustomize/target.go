package kustomize

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/headwater-dev/headwater/agent/apply"
	"github.com/headwater-dev/headwater/agent/remote"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
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
	// memory is what is remembered of the objects at the target, from the time
	// that they are planned.
	memory *memory
	key    shard.Key
	src    *meta.Artifact
}

// open connects to the cluster that the spec names, after leaving the one that
// the objects are at, should that be another. Another way to the same cluster
// changes nothing there.
func (r *Reconciler) open(ctx context.Context, obj *kustomizev1.Kustomization, src *meta.Artifact) (*target, error) {
	if keyOf(obj) != wantedKey(obj) {
		if err := r.leave(ctx, obj); err != nil {
			return nil, err
		}
	}
	return r.connect(ctx, obj, wantedKey(obj), src)
}

// leave takes the objects away from the cluster that the spec named before, and
// forgets that cluster. From then on the Kustomization belongs to the owner of
// the new one, who may be another agent.
func (r *Reconciler) leave(ctx context.Context, obj *kustomizev1.Kustomization) error {
	refs := inventoryOf(ctx, obj)
	if len(refs) > 0 {
		same, err := r.Targets.SameCluster(ctx, keyOf(obj), wantedKey(obj))
		if err != nil {
			return err
		}
		if same {
			obj.Status.Target = wantedKey(obj).String()
			return r.status.Patch(ctx, obj)
		}
	}
	if obj.Spec.Prune && len(refs) > 0 {
		if err := r.pruneAt(ctx, obj, keyOf(obj), refs); err != nil {
			return err
		}
	}
	obj.Status.Inventory, obj.Status.Target = nil, ""
	return r.status.Patch(ctx, obj)
}

// pruneAt deletes the objects at a cluster that the Kustomization gives up.
// Without the kubeconfig the way to them is gone for good, as it is when the
// target is lost, and an event says what stays behind.
func (r *Reconciler) pruneAt(ctx context.Context, obj *kustomizev1.Kustomization, key shard.Key, refs []apply.Ref) error {
	from, err := r.connect(ctx, obj, key, nil)
	if errors.Is(err, remote.ErrSecretMissing) || errors.Is(err, remote.ErrLost) || errors.Is(err, errAccountMissing) {
		r.Events.Publish(ctx, obj, r.unableToPrune(obj, refs, err))
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	return r.pruneAll(ctx, obj, from, refs)
}

func (r *Reconciler) connect(ctx context.Context, obj *kustomizev1.Kustomization, key shard.Key, src *meta.Artifact) (*target, error) {
	opened, err := r.Targets.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := r.impersonate(ctx, obj, opened, src == nil); err != nil {
		opened.Close()
		return nil, err
	}
	return &target{
		Target: opened,
		key:    key,
		src:    src,
		applier: &apply.Applier{
			Client: opened.Client,
			Mapper: opened.Mapper,
			Owner:  r.ownerOf(obj),
		},
	}, nil
}

// impersonate makes the target act as the ServiceAccount that the spec names, or
// as the agents' default. A cluster that is given up is asked first whether it
// has the account: without it, nothing can be pruned there any more.
func (r *Reconciler) impersonate(ctx context.Context, obj *kustomizev1.Kustomization, to *remote.Target, leaving bool) error {
	account := cmp.Or(obj.Spec.ServiceAccountName, r.Options.DefaultServiceAccount)
	if account == "" {
		return nil
	}
	if leaving {
		missing, err := to.AccountMissing(ctx, obj.Namespace, account)
		if err != nil {
			return err
		}
		if missing {
			return fmt.Errorf("spec.serviceAccountName %q: %w", account, errAccountMissing)
		}
	}
	return to.Impersonate(obj.Namespace, account)
}

// ownerOf is the Kustomization as the objects know it.
func (r *Reconciler) ownerOf(obj *kustomizev1.Kustomization) apply.Owner {
	return apply.Owner{
		FieldManager: fieldManager,
		Group:        kustomizev1.GroupVersion.Group,
		Namespace:    obj.Namespace,
		Name:         obj.Name,
		Spare:        []string{"reconcile.fluxcd.io/", "fleet.headwater.dev/"},
		Overrides:    r.Drift.Overrides,
	}
}

// fence makes sure that this process may write to the target, and that what it
// knows of the Kustomization is not the past of an agent that held the fence
// before.
func (r *Reconciler) fence(ctx context.Context, obj *kustomizev1.Kustomization, to *target) error {
	tenure, err := to.Fence(ctx)
	if err != nil {
		return err
	}
	return r.status.Confirm(ctx, obj, tenure)
}
