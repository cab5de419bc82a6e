package kustomize

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headwater-dev/headwater/agent/kustomize/render"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// build fetches the artifact and renders its objects. Files are in memory for
// that long alone, and for a few builds at once: the download comes first.
func (r *Reconciler) build(ctx context.Context, obj *kustomizev1.Kustomization, src *meta.Artifact) ([]*unstructured.Unstructured, error) {
	file, err := r.fetch(ctx, src)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if err := r.building.Acquire(ctx, 1); err != nil {
		return nil, reconcile.Fail(meta.BuildFailedReason, err)
	}
	defer r.building.Release(1)
	files, err := artifact.Files(file, artifact.Limits{})
	if err != nil {
		return nil, reconcile.Fail(meta.ArtifactFailedReason, err)
	}
	objects, err := r.renderer.Render(ctx, render.Request{
		Files:     files,
		Path:      obj.Spec.Path,
		Namespace: obj.Spec.TargetNamespace,
	})
	if errors.Is(err, render.ErrNoPath) {
		return nil, reconcile.Fail(meta.ArtifactFailedReason, err)
	}
	return objects, reconcile.Fail(meta.BuildFailedReason, err)
}
