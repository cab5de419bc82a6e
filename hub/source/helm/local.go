package helm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/helm/chart"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/queue"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// shortRevision is how much of a revision's digest a version carries: labels,
// where charts like to put versions, are short.
const shortRevision = 12

// maxBuild is how long each half of the work at a chart of another source may
// take, to read it and to make its package: its object has no timeout.
const maxBuild = 5 * time.Minute

// local is a chart in the artifact of another source.
type local struct {
	// root is the unpacked artifact; nothing outside can be reached by it.
	root *os.Root
	// at is the path of the chart in it.
	at    string
	chart *chart.Chart
	// packed is the chart where it is a package already.
	packed []byte
}

// resolveLocal reads the chart, unless the source is as it was.
func (f *ChartFetcher) resolveLocal(ctx context.Context, obj *sourcev1.HelmChart) (source.Revision, error) {
	from, err := f.artifactOf(ctx, obj)
	if err != nil {
		return source.Revision{}, err
	}
	if made := obj.Status.Artifact; made != nil && obj.Status.ObservedSourceArtifactRevision == from.Revision && f.Observed(obj) {
		return source.Revision{Name: made.Revision, ID: made.Revision, File: path.Base(made.Path)}, nil
	}
	if err := queue.Enter(ctx); err != nil {
		return source.Revision{}, about(obj, reconcile.Fail(packageReason, err))
	}
	ctx, cancel := buildContext(ctx)
	defer cancel()
	root, release, err := f.unpack(from)
	if err != nil {
		return source.Revision{}, about(obj, err)
	}
	p, err := f.pickLocal(ctx, obj, root, from.Revision)
	if err != nil {
		release()
		return source.Revision{}, err
	}
	return p.revision(release), nil
}

func buildContext(ctx context.Context) (context.Context, context.CancelFunc) {
	late := fmt.Errorf("making the chart took longer than %s: %w", maxBuild, context.DeadlineExceeded)
	return context.WithTimeoutCause(ctx, maxBuild, late)
}

// artifactOf is the artifact of the source.
func (f *ChartFetcher) artifactOf(ctx context.Context, obj *sourcev1.HelmChart) (*meta.Artifact, error) {
	var from source.Object = &sourcev1.GitRepository{}
	if obj.Spec.SourceRef.Kind == sourcev1.BucketKind {
		from = &sourcev1.Bucket{}
	}
	if err := f.source(ctx, obj, from); err != nil {
		return nil, err
	}
	if from.GetArtifact() == nil {
		return nil, about(obj, reconcile.Wait(noSourceArtifactReason, "it has no artifact yet", obj.Interval()))
	}
	return from.GetArtifact(), nil
}

func (f *ChartFetcher) unpack(from *meta.Artifact) (root *os.Root, release func(), err error) {
	packed, err := f.Store.Open(from)
	if err != nil {
		return nil, nil, lostSource(err)
	}
	defer func() { _ = packed.Close() }()
	dir, done, err := f.Scratch()
	if err != nil {
		return nil, nil, reconcile.Fail(packageReason, err)
	}
	if err = artifact.UnpackTo(dir, packed, artifact.Limits{}); err == nil {
		root, err = os.OpenRoot(dir)
	}
	if err != nil {
		done()
		return nil, nil, reconcile.Fail(packageReason, err)
	}
	return root, func() { _ = root.Close(); done() }, nil
}

// pickLocal reads the chart and says which version it becomes.
func (f *ChartFetcher) pickLocal(ctx context.Context, obj *sourcev1.HelmChart, root *os.Root, revision string) (*pick, error) {
	l, err := f.readLocal(ctx, root, within(obj.Spec.Chart))
	if late := context.Cause(ctx); late != nil {
		return nil, reconcile.Fail(packageReason, about(obj, late)) // which is no fault of the chart's
	}
	if err != nil {
		return nil, reconcile.Stall(invalidReferenceReason, about(obj, fmt.Errorf("spec.chart %q: %w", obj.Spec.Chart, err)))
	}
	p := &pick{name: l.chart.Metadata.Name, sourceRevision: revision, values: valuesFilesOf(obj), local: l}
	metadata := versionMetadata(obj, revision)
	if p.version, err = chart.WithMetadata(l.chart.Metadata.Version, metadata); err != nil {
		return nil, reconcile.Stall(metadataPatchReason, about(obj, err))
	}
	return p, nil
}

// readLocal reads a directory or a package.
func (f *ChartFetcher) readLocal(ctx context.Context, root *os.Root, at string) (*local, error) {
	info, err := root.Stat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("the source has no such path")
	case err != nil:
		return nil, err
	case info.IsDir():
		c, err := chart.ReadDir(ctx, root, at, f.Limits.File)
		return &local{root: root, at: at, chart: c}, err
	case info.Size() > f.Limits.Chart:
		return nil, fmt.Errorf("it is larger than %d bytes (--helm-chart-max-size)", f.Limits.Chart)
	}
	packed, err := root.ReadFile(at)
	if err != nil {
		return nil, err
	}
	c, err := chart.ReadBytes(packed, f.Limits.File)
	return &local{root: root, at: at, chart: c, packed: packed}, err
}

// within is a path inside the artifact: what would lead out of it ends at its
// root.
func within(name string) string {
	if inside := strings.TrimPrefix(path.Clean("/"+name), "/"); inside != "" {
		return inside
	}
	return "."
}

// versionMetadata is what the version carries, so that readers notice changes:
// the revision where each one makes a new artifact, and the generation where
// values files take part.
func versionMetadata(obj *sourcev1.HelmChart, revision string) string {
	var parts []string
	if obj.Spec.ReconcileStrategy == sourcev1.ReconcileStrategyRevision {
		_, digest, found := strings.Cut(revision[strings.LastIndex(revision, "@")+1:], ":")
		if !found {
			digest = revision
		}
		parts = append(parts, digest[:min(len(digest), shortRevision)])
	}
	if len(valuesFilesOf(obj)) > 0 {
		parts = append(parts, strconv.FormatInt(obj.Generation, 10))
	}
	return strings.Join(parts, ".")
}

// buildLocal merges values, brings the dependencies, and makes the package.
func (f *ChartFetcher) buildLocal(ctx context.Context, obj *sourcev1.HelmChart, p *pick) (packed []byte, err error) {
	ctx, cancel := buildContext(ctx)
	defer cancel()
	c := p.local.chart
	if p.local.packed != nil && len(p.values) == 0 && p.version == c.Metadata.Version {
		return p.local.packed, nil
	}
	p.merged, err = c.MergeValues(p.values, obj.Spec.IgnoreMissingValuesFiles, func(name string) ([]byte, error) {
		content, err := p.local.readFile(within(name), f.Limits.File)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the source does not have it: %w", chart.ErrNoValues)
		}
		return content, err
	})
	if err != nil {
		return nil, reconcile.Stall(valuesFilesReason, about(obj, err))
	}
	if p.local.packed == nil {
		if err := f.vendor(ctx, obj, p.local); err != nil {
			return nil, source.Unbuilt(about(obj, reconcile.Fail(dependencyReason, err)))
		}
	}
	return f.pack(c, p.version)
}

func (l *local) readFile(name string, limit int64) ([]byte, error) {
	file, err := l.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("it is larger than %d bytes (--helm-chart-file-max-size)", limit)
	}
	return content, err
}
