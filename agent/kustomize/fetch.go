package kustomize

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// sourceRetry is how soon a source without an artifact is looked at again,
	// should its change not wake us.
	sourceRetry = 30 * time.Second

	// originRevision is the annotation of OCI artifacts that holds the
	// upstream's own revision.
	originRevision = "org.opencontainers.image.revision"
)

// sentence is an error in Flux's own words, which begin with a capital.
type sentence string

func (s sentence) Error() string { return string(s) }

// artifactSource is a kind of source.
type artifactSource interface {
	client.Object
	GetArtifact() *meta.Artifact
}

// newSource is an empty object of the kind, nil for kinds that are not served.
func newSource(kind string) artifactSource {
	switch kind {
	case sourcev1.GitRepositoryKind:
		return &sourcev1.GitRepository{}
	case sourcev1.OCIRepositoryKind:
		return &sourcev1.OCIRepository{}
	case sourcev1.BucketKind:
		return &sourcev1.Bucket{}
	case sourcev1.ExternalArtifactKind:
		return &sourcev1.ExternalArtifact{}
	}
	return nil
}

// source reads the source's artifact from its status.
func (r *Reconciler) source(ctx context.Context, obj *kustomizev1.Kustomization) (*meta.Artifact, error) {
	src := newSource(obj.Spec.SourceRef.Kind)
	name := types.NamespacedName{Namespace: obj.SourceNamespace(), Name: obj.Spec.SourceRef.Name}
	_, external := src.(*sourcev1.ExternalArtifact)
	switch {
	case external && !r.Options.ExternalArtifacts:
		return nil, reconcile.Stall(meta.FeatureGateDisabledReason, errors.New(
			"spec.sourceRef.kind: the feature gate ExternalArtifact is off: turn it on with --feature-gates=ExternalArtifact=true, or use another kind"))
	case r.Options.NoCrossNamespaceRefs && name.Namespace != obj.Namespace:
		return nil, accessDenied(name)
	}
	err := r.Sources.Get(ctx, name, src)
	switch {
	case apierrors.IsForbidden(err):
		return nil, reconcile.Fail(meta.AccessDeniedReason,
			fmt.Errorf("spec.sourceRef.namespace: this agent may not read %s %s: grant its ServiceAccount get on it, or use a source in the namespace of the Kustomization", obj.Spec.SourceRef.Kind, name))
	case apierrors.IsNotFound(err):
		return nil, reconcile.Fail(meta.ArtifactFailedReason,
			sentence(fmt.Sprintf("Source '%s/%s' not found", obj.Spec.SourceRef.Kind, name)))
	case err != nil:
		return nil, fmt.Errorf("source %s/%s: %w", obj.Spec.SourceRef.Kind, name, err)
	case src.GetArtifact() == nil, !usable(src):
		return nil, reconcile.Wait(meta.ArtifactFailedReason, "Source artifact not found, retrying in 30s", sourceRetry)
	}
	return src.GetArtifact(), nil
}

// usable says whether the artifact counts: nobody but its maker knows whether an
// external one does, and says so in its Ready condition. The hub's own sources
// keep a good artifact while they fail.
func usable(src artifactSource) bool {
	external, ok := src.(*sourcev1.ExternalArtifact)
	return !ok || apimeta.IsStatusConditionTrue(external.Status.Conditions, meta.ReadyCondition)
}

// fetch opens the artifact's file, downloaded if need be. The caller closes it.
func (r *Reconciler) fetch(ctx context.Context, src *meta.Artifact) (*os.File, error) {
	file, err := r.Artifacts.Open(ctx, *src)
	if errors.Is(err, artifact.ErrNotFound) || errors.Is(err, artifact.ErrDigest) {
		// The source has moved on, and its status has not reached us yet.
		return nil, reconcile.Wait(meta.ArtifactFailedReason, "Source is not ready, artifact not found, retrying in 30s", sourceRetry)
	}
	return file, reconcile.Fail(meta.ArtifactFailedReason, err)
}
