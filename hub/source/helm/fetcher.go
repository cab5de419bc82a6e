package helm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/hub/registry/signature"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/helm/chart"
	"github.com/headwater-dev/headwater/hub/source/helm/index"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/queue"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Reasons of HelmCharts.
const (
	sourceUnavailableReason     = "SourceUnavailable"
	unsupportedSourceKindReason = "UnsupportedSourceKind"
	noSourceArtifactReason      = "NoSourceArtifact"
	invalidReferenceReason      = "InvalidChartReference"
	metadataPatchReason         = "MetadataPatchError"
	valuesFilesReason           = "ValuesFilesError"
	pullReason                  = "ChartPullError"
	dependencyReason            = "DependencyBuildError"
	packageReason               = "ChartPackageError"
	pulledReason                = "ChartPullSucceeded"
	packagedReason              = "ChartPackageSucceeded"
)

const ociScheme = "oci://"

// chartName is what a chart may be called in a repository; in a registry it may
// be a path.
var chartName = regexp.MustCompile(`^[a-z0-9][-a-z0-9._]*(/[a-z0-9][-a-z0-9._]*)*$`)

// ChartFetcher is the source.Fetcher of HelmChart.
type ChartFetcher struct {
	// Sources reads the HelmRepositories, GitRepositories and Buckets.
	Sources client.Reader
	// Secrets reads the Secrets that HelmRepositories name: live, so that the
	// hub holds no Secret in memory for longer than it uses it.
	Secrets client.Reader
	// Transport carries the requests to repositories without settings of
	// their own; Strangers those to hosts that only a chart names.
	Transport, Strangers *http.Transport
	// Registries opens sessions with registries.
	Registries *registry.Opener
	// Signatures reads whom spec.verify trusts.
	Signatures signature.Verifier
	// Indexes holds the indexes that were read.
	Indexes *index.Cache
	// Limits of charts.
	Limits Limits
	// MaxTimeout bounds spec.timeout of the HelmRepositories.
	MaxTimeout reconcile.MaxTimeout
	// Store holds the artifacts of the sources.
	Store *artifact.Store
	// Scratch makes a directory for one run.
	Scratch func() (dir string, done func(), err error)
}

// pick is what Resolve has chosen.
type pick struct {
	// name of the chart, and version with the metadata that the spec leads to.
	name, version string
	// sourceRevision is that of the source's artifact.
	sourceRevision string
	// values files to merge, in order.
	values []string

	// repo and offer are set for a chart of a repository, local for others.
	repo  *sourcev1.HelmRepository
	offer offer
	local *local

	// merged are the values files that were, once built is true.
	merged []string
	built  bool
	// verified is the trust with which a signature was found to be good; nil where
	// none was asked for, or none had to be looked at again.
	verified *signature.Trust
}

func (p *pick) revision(release func()) source.Revision {
	return source.Revision{Name: p.version, ID: p.version, File: p.name + "-" + p.version + ".tgz", Found: p, Release: release}
}

// Kind is HelmChart.
func (*ChartFetcher) Kind() string { return sourcev1.HelmChartKind }

// Ignore returns nothing: a chart has a .helmignore of its own.
func (*ChartFetcher) Ignore(*sourcev1.HelmChart) (want *string, observed **string) {
	return nil, new(*string)
}

// Observed says whether the artifact was made for the spec as it is. A run that
// failed leaves that open: another spec may have been tried since.
func (*ChartFetcher) Observed(obj *sourcev1.HelmChart) bool {
	return obj.Generation == obj.Status.ObservedGeneration &&
		!apimeta.IsStatusConditionFalse(obj.Status.Conditions, meta.ReadyCondition)
}

// Observe notes what the chart was made of, and that its signature is good: before
// there is an artifact that would be about another one.
func (*ChartFetcher) Observe(obj *sourcev1.HelmChart, rev source.Revision) {
	p, ok := rev.Found.(*pick)
	if !ok {
		return
	}
	obj.Status.ObservedChartName = p.name
	obj.Status.ObservedSourceArtifactRevision = p.sourceRevision
	if p.built {
		obj.Status.ObservedValuesFiles = p.merged
	}
	if p.verified != nil {
		obj.Status.ObservedVerification = p.verified.Digest
		source.Verified(obj, p.verified.Verified("version "+p.offer.version))
	}
}

// Ready says which chart there is, and how it came about.
func (*ChartFetcher) Ready(obj *sourcev1.HelmChart) (reason, message string) {
	reason, did := pulledReason, "pulled"
	merged := obj.Status.ObservedValuesFiles
	if len(valuesFilesOf(obj)) > 0 || obj.Spec.SourceRef.Kind != sourcev1.HelmRepositoryKind && !strings.HasSuffix(obj.Spec.Chart, ".tgz") {
		reason, did = packagedReason, "packaged"
	}
	message = fmt.Sprintf("%s '%s' chart with version '%s'", did, obj.Status.ObservedChartName, obj.Status.Artifact.Revision)
	if len(merged) > 0 {
		message += fmt.Sprintf(" and merged values files %v", merged)
	}
	return reason, message
}

// Resolve chooses the version.
func (f *ChartFetcher) Resolve(ctx context.Context, obj *sourcev1.HelmChart) (source.Revision, error) {
	if err := reconcile.UnsupportedFields(obj, "chart", "version", "sourceRef", "interval", "reconcileStrategy",
		"valuesFiles", "valuesFile", "ignoreMissingValuesFiles", "suspend", "accessFrom", "verify"); err != nil {
		return source.Revision{}, err
	}
	if err := reconcile.ForeignSource("spec.sourceRef", obj.Spec.SourceRef.APIVersion); err != nil {
		return source.Revision{}, err
	}
	switch kind := obj.Spec.SourceRef.Kind; kind {
	case sourcev1.HelmRepositoryKind:
		return f.resolveRemote(ctx, obj)
	case sourcev1.GitRepositoryKind, sourcev1.BucketKind:
		if obj.Spec.Verify != nil {
			return source.Revision{}, errVerifiedElsewhere
		}
		return f.resolveLocal(ctx, obj)
	default:
		return source.Revision{}, reconcile.Stall(unsupportedSourceKindReason, fmt.Errorf("spec.sourceRef.kind %q is not supported", kind))
	}
}

func (f *ChartFetcher) resolveRemote(ctx context.Context, obj *sourcev1.HelmChart) (source.Revision, error) {
	repo := &sourcev1.HelmRepository{}
	if err := f.source(ctx, obj, repo); err != nil {
		return source.Revision{}, err
	}
	if name := obj.Spec.Chart; !chartName.MatchString(name) {
		return source.Revision{}, reconcile.Stall(invalidReferenceReason,
			fmt.Errorf("spec.chart %q is not the name of a chart: lower case letters, digits, dashes, periods, and slashes", name))
	}
	p := &pick{repo: repo, values: valuesFilesOf(obj)}
	if repo.Status.Artifact != nil {
		p.sourceRevision = repo.Status.Artifact.Revision
	}
	err := f.visit(ctx, repo, pullReason, func(ctx context.Context, s shop) (err error) {
		p.offer, err = s.choose(ctx, obj.Spec.Chart, obj.Spec.Version)
		return err
	})
	if err != nil {
		return source.Revision{}, about(obj, err)
	}
	p.name = path.Base(p.offer.name)
	metadata := ""
	if len(p.values) > 0 {
		metadata = strconv.FormatInt(obj.Generation, 10)
	}
	if p.version, err = chart.WithMetadata(p.offer.version, metadata); err != nil {
		return source.Revision{}, reconcile.Stall(metadataPatchReason, err)
	}
	rev := p.revision(nil)
	rev.Stale, err = f.verify(ctx, obj, p)
	return rev, err
}

// visit talks to the repository for no longer than its timeout.
func (f *ChartFetcher) visit(ctx context.Context, repo *sourcev1.HelmRepository, reason string, talk func(context.Context, shop) error) error {
	ctx, cancel := f.MaxTimeout.Within(ctx, repo.Timeout())
	defer cancel()
	s, err := f.enter(ctx, repo, reason)
	if err != nil {
		return err
	}
	defer s.close()
	return talk(ctx, s)
}

// source reads the object that spec.sourceRef names.
func (f *ChartFetcher) source(ctx context.Context, obj *sourcev1.HelmChart, into client.Object) error {
	err := f.Sources.Get(ctx, types.NamespacedName{Namespace: obj.Namespace, Name: obj.Spec.SourceRef.Name}, into)
	if apierrors.IsNotFound(err) {
		err = errors.New("it does not exist")
	}
	if err != nil {
		return about(obj, reconcile.Fail(sourceUnavailableReason, err))
	}
	return nil
}

// about names the source before what is said of it.
func about(obj *sourcev1.HelmChart, err error) error {
	return fmt.Errorf("%s %s/%s: %w", obj.Spec.SourceRef.Kind, obj.Namespace, obj.Spec.SourceRef.Name, err)
}

func valuesFilesOf(obj *sourcev1.HelmChart) []string {
	files := slices.Clone(obj.Spec.ValuesFiles)
	if obj.Spec.ValuesFile != "" {
		files = append(files, obj.Spec.ValuesFile)
	}
	return files
}

// Fetch makes the package.
func (f *ChartFetcher) Fetch(ctx context.Context, obj *sourcev1.HelmChart, rev source.Revision, dir string) (source.Content, error) {
	if err := ctx.Err(); err != nil {
		return source.Content{}, reconcile.Fail(pullReason, fmt.Errorf("fetching the chart: %w", err))
	}
	p, ok := rev.Found.(*pick)
	if !ok {
		return source.Content{}, reconcile.Fail(pullReason, errors.New("the source has changed meanwhile"))
	}
	build := f.buildRemote
	if p.local != nil {
		build = f.buildLocal
	}
	content, err := build(ctx, obj, p)
	if err != nil {
		return source.Content{}, err
	}
	made := filepath.Join(filepath.Dir(dir), rev.File)
	if err := os.WriteFile(made, content, fileMode); err != nil {
		return source.Content{}, source.Unbuilt(reconcile.Fail(packageReason, err))
	}
	p.built = true
	return source.Content{File: made}, nil
}

// buildRemote brings the package, and makes it anew where values are merged.
func (f *ChartFetcher) buildRemote(ctx context.Context, obj *sourcev1.HelmChart, p *pick) ([]byte, error) {
	if obj.Spec.Verify != nil && p.offer.manifest == "" {
		if err := f.check(ctx, obj, p); err != nil {
			return nil, err
		}
	}
	var packed []byte
	err := f.visit(ctx, p.repo, pullReason, func(ctx context.Context, s shop) (err error) {
		packed, err = s.download(ctx, p.offer)
		return err
	})
	if err != nil {
		return nil, about(obj, err)
	}
	if err := queue.Enter(ctx); err != nil {
		return nil, about(obj, reconcile.Fail(pullReason, err))
	}
	c, err := f.open(packed, p.offer)
	if err != nil {
		return nil, about(obj, reconcile.Fail(pullReason, err))
	}
	if len(p.values) == 0 {
		return packed, nil
	}
	p.merged, err = c.MergeValues(p.values, obj.Spec.IgnoreMissingValuesFiles, func(name string) ([]byte, error) {
		if content, ok := c.Files[path.Clean(name)]; ok {
			return content, nil
		}
		return nil, fmt.Errorf("the chart does not have it: %w", chart.ErrNoValues)
	})
	if err != nil {
		return nil, reconcile.Stall(valuesFilesReason, err)
	}
	return f.pack(c, p.version)
}

// open reads a package that has to be what was offered.
func (f *ChartFetcher) open(packed []byte, o offer) (*chart.Chart, error) {
	c, err := chart.ReadBytes(packed, f.Limits.File)
	if err != nil {
		return nil, fmt.Errorf("chart %q in version %s: %w", o.name, o.version, err)
	}
	if c.Metadata.Name != path.Base(o.name) || !sameVersion(c.Metadata.Version, o.version) {
		return nil, fmt.Errorf("chart %q in version %s: what was fetched for it is %q in version %s", o.name, o.version, c.Metadata.Name, c.Metadata.Version)
	}
	return c, nil
}

// sameVersion compares versions; that of a tag may lack, or have, a v.
func sameVersion(a, b string) bool {
	left, leftErr := semver.NewVersion(a)
	right, rightErr := semver.NewVersion(b)
	if leftErr != nil || rightErr != nil {
		return a == b
	}
	return left.Equal(right) && left.Metadata() == right.Metadata()
}

func (f *ChartFetcher) pack(c *chart.Chart, version string) ([]byte, error) {
	if err := c.SetVersion(version); err != nil {
		return nil, reconcile.Stall(metadataPatchReason, err)
	}
	packed, err := c.PackBytes(f.Limits.Chart)
	if err != nil {
		return nil, source.Unbuilt(reconcile.Fail(packageReason, err))
	}
	return packed, nil
}
