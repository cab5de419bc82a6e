package kustomize

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// build fetches the artifact and renders its objects.
func (r *Reconciler) build(ctx context.Context, obj *kustomizev1.Kustomization, src *meta.Artifact) ([]*unstructured.Unstructured, error) {
	if err := r.unpacking.Acquire(ctx, 1); err != nil {
		return nil, reconcile.Fail(meta.BuildFailedReason, err)
	}
	defer r.unpacking.Release(1)
	files, err := r.fetch(ctx, src)
	if err != nil {
		return nil, err
	}
	objects, err := r.renderer.render(ctx, request{
		files:     files,
		path:      obj.Spec.Path,
		namespace: obj.Spec.TargetNamespace,
	})
	if errors.Is(err, errNoPath) {
		return nil, reconcile.Fail(meta.ArtifactFailedReason, err)
	}
	return objects, reconcile.Fail(meta.BuildFailedReason, err)
}
