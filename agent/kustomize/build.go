package kustomize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/headwater-dev/headwater/agent/kustomize/bases"
	"github.com/headwater-dev/headwater/agent/kustomize/render"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// BuildOptions configure how artifacts are rendered. Zero means the default.
type BuildOptions struct {
	// CacheBytes bounds the rendered results that are kept in memory; 64 MiB.
	CacheBytes int64
	// LenientSubstitution takes undefined variables for empty ones, as Flux did
	// before 2.9.
	LenientSubstitution bool
	// AgeSecret holds age identities that every Kustomization with decryption
	// may use, after its own keys; none when empty.
	AgeSecret types.NamespacedName
	// DecryptionAccount is the ServiceAccount, in the Kustomization's namespace,
	// in whose name clouds are asked for keys where the spec names none; when it
	// is empty too, they are asked in the agent's.
	DecryptionAccount string
	// VaultConfig is a ConfigMap whose config.yaml lists the Vaults that know
	// ServiceAccounts of the hub, as decrypt.ReadVaults reads it; none when empty.
	VaultConfig types.NamespacedName
	// Remotes has kustomizations name bases at other places, which the agent then
	// fetches: the network is the agent's, and what is there nobody has reviewed.
	Remotes bool
}

// mostBuilds run at once, besides the one that takes long: each may take two hundred
// megabytes before it is a process's turn, which config/agent has room for.
const mostBuilds = 3

// addRenderer makes the renderer, and its counters known. Those of the first one
// in a process are the ones that are shown.
func (r *Reconciler) addRenderer() error {
	options := render.Options{
		MaxBytes:    r.Builds.CacheBytes,
		Concurrency: min(int64(runtime.GOMAXPROCS(0)), mostBuilds),
		Builder:     r.Builder,
	}
	if r.Builds.Remotes {
		options.Remotes = bases.New()
	}
	renderer, err := render.New(options)
	if err != nil {
		return err
	}
	r.renderer = renderer
	if err := metrics.Registry.Register(renderer); err != nil && !isRegistered(err) {
		return err
	}
	return nil
}

// build renders the objects of the artifact. It is fetched and unpacked only
// where the result is not in memory. Moving says that the next run may find other
// objects in the same artifact.
func (r *Reconciler) build(ctx context.Context, obj *kustomizev1.Kustomization, src *meta.Artifact) (objects []*unstructured.Unstructured, moving bool, err error) {
	variables, err := r.variables(ctx, obj)
	if err != nil {
		return nil, false, reconcile.Fail(meta.BuildFailedReason, err)
	}
	keys, err := r.keys(ctx, obj)
	if err != nil {
		return nil, false, reconcile.Fail(meta.BuildFailedReason, err)
	}
	doing(ctx, obj, src, "Building manifests")
	objects, moving, err = r.render(ctx, obj, render.Request{
		Digest: src.Digest,
		Open: func(fetching context.Context) (render.Archive, error) {
			doing(ctx, obj, src, "Fetching manifests")
			defer doing(ctx, obj, src, "Building manifests")
			return r.archive(fetching, src)
		},
		Settings:       settings(obj),
		Keys:           keys,
		Variables:      variables,
		CommonMetadata: obj.Spec.CommonMetadata,
	})
	if errors.Is(err, render.ErrNoPath) {
		return nil, false, reconcile.Fail(meta.ArtifactFailedReason, err)
	}
	return objects, moving, reconcile.Fail(meta.BuildFailedReason, err)
}

// doing says what the run is at, in Flux's words (FLUX.md §2.2).
func doing(ctx context.Context, obj *kustomizev1.Kustomization, src *meta.Artifact, what string) {
	reconcile.Doing(ctx, fmt.Sprintf("%s for revision %s with a timeout of %s", what, src.Revision, obj.Timeout()))
}

// archive is an artifact's file.
type archive struct{ *os.File }

// Size implements render.Archive.
func (a archive) Size() (int64, error) {
	info, err := a.Stat()
	if err != nil {
		return 0, reconcile.Fail(meta.ArtifactFailedReason, err)
	}
	size, err := artifact.Unpacked(a.File, info.Size())
	return size, reconcile.Fail(meta.ArtifactFailedReason, err)
}

// Files reads the artifact into memory.
func (a archive) Files(each, all int64) (files map[string][]byte, larger map[string]int64, err error) {
	if _, err := a.Seek(0, io.SeekStart); err != nil {
		return nil, nil, reconcile.Fail(meta.ArtifactFailedReason, err)
	}
	files, larger, err = artifact.FilesUpTo(each, a.File, artifact.Limits{Bytes: all})
	return files, larger, reconcile.Fail(meta.ArtifactFailedReason, err)
}

// archive fetches the artifact, and leaves it packed: many may wait to be built.
func (r *Reconciler) archive(ctx context.Context, src *meta.Artifact) (render.Archive, error) {
	file, err := r.fetch(ctx, src)
	if err != nil {
		return nil, err
	}
	return archive{file}, nil
}

// settings are what of the spec kustomize is given.
func settings(obj *kustomizev1.Kustomization) render.Settings {
	spec := &obj.Spec
	made := render.Settings{
		Path:                    spec.Path,
		TargetNamespace:         spec.TargetNamespace,
		NamePrefix:              spec.NamePrefix,
		NameSuffix:              spec.NameSuffix,
		Patches:                 spec.Patches,
		PatchesStrategicMerge:   spec.PatchesStrategicMerge,
		PatchesJSON6902:         spec.PatchesJSON6902,
		Images:                  spec.Images,
		Components:              spec.Components,
		IgnoreMissingComponents: spec.IgnoreMissingComponents,
	}
	for _, option := range spec.BuildMetadata {
		made.BuildMetadata = append(made.BuildMetadata, string(option))
	}
	return made
}
