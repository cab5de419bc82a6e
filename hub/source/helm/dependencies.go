package helm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/Masterminds/semver/v3"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/hub/source/helm/chart"
	"github.com/headwater-dev/headwater/hub/source/helm/index"
)

const (
	maxDependencies = 100
	fileScheme      = "file://"
)

// vendor puts the dependencies that are not in the chart's directory into the
// chart.
func (f *ChartFetcher) vendor(ctx context.Context, obj *sourcev1.HelmChart, l *local) error {
	wanted, err := l.chart.Dependencies()
	if err != nil {
		return err
	}
	if len(wanted) > maxDependencies {
		return fmt.Errorf("the chart has more than %d dependencies", maxDependencies)
	}
	have, err := l.chart.Vendored(ctx, f.Limits.File)
	if err != nil {
		return err
	}
	for _, dependency := range wanted {
		if have[dependency.Name] {
			continue
		}
		sub, err := f.dependency(ctx, obj, l, dependency)
		if late := context.Cause(ctx); late != nil {
			err = late // rather than the repository's timeout
		}
		if err == nil {
			err = l.chart.Vendor(sub)
		}
		if err != nil {
			return fmt.Errorf("dependency %q: %w", dependency.Name, err)
		}
	}
	return nil
}

func (f *ChartFetcher) dependency(ctx context.Context, obj *sourcev1.HelmChart, l *local, d *helmchart.Dependency) (*chart.Chart, error) {
	switch at := d.Repository; {
	case at == "":
		return nil, errors.New("it is not in charts/, and has no repository")
	case strings.HasPrefix(at, fileScheme):
		return f.neighbour(ctx, l, d)
	case strings.HasPrefix(at, "https://"), strings.HasPrefix(at, "http://"), strings.HasPrefix(at, ociScheme):
		return f.remoteDependency(ctx, obj, d)
	}
	return nil, fmt.Errorf("its repository %q is neither file://, https://, http:// nor oci://", d.Repository)
}

// neighbour reads a chart beside the one that depends on it.
func (f *ChartFetcher) neighbour(ctx context.Context, l *local, d *helmchart.Dependency) (*chart.Chart, error) {
	at := path.Join(l.at, strings.TrimPrefix(d.Repository, fileScheme))
	if !filepath.IsLocal(filepath.FromSlash(at)) {
		return nil, fmt.Errorf("its repository %q leads out of the source", d.Repository)
	}
	found, err := f.readLocal(ctx, l.root, at)
	if err != nil {
		return nil, fmt.Errorf("its repository %q: %w", d.Repository, err)
	}
	if err := fits(found.chart.Metadata, d); err != nil {
		return nil, err
	}
	return found.chart, nil
}

// fits says whether a chart is what a dependency asks for.
func fits(m *helmchart.Metadata, d *helmchart.Dependency) error {
	if m.Name != d.Name {
		return fmt.Errorf("its repository %q holds the chart %q", d.Repository, m.Name)
	}
	accepted, err := semver.NewConstraint(rangeOf(d))
	if err != nil {
		return fmt.Errorf("its version %q is not a range of versions", d.Version)
	}
	version, err := semver.NewVersion(m.Version)
	if err != nil || !accepted.Check(version) && m.Version != d.Version {
		return fmt.Errorf("its repository %q holds version %s, which does not match %q", d.Repository, m.Version, d.Version)
	}
	return nil
}

func rangeOf(d *helmchart.Dependency) string {
	if d.Version == "" {
		return "*"
	}
	return d.Version
}

// remoteDependency fetches a chart from a repository: with the access that a
// HelmRepository of the namespace has for the same URL, or else with none.
func (f *ChartFetcher) remoteDependency(ctx context.Context, obj *sourcev1.HelmChart, d *helmchart.Dependency) (*chart.Chart, error) {
	repo, err := f.knownRepository(ctx, obj.Namespace, d.Repository)
	if err != nil {
		return nil, err
	}
	visit := f.visit
	if repo == nil {
		repo = stranger(obj.Namespace, d.Repository)
		visit = f.visitStranger
	}
	var packed []byte
	var chosen offer
	err = visit(ctx, repo, dependencyReason, func(ctx context.Context, s shop) (err error) {
		if chosen, err = s.choose(ctx, d.Name, rangeOf(d)); err != nil {
			return err
		}
		packed, err = s.download(ctx, chosen)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("its repository %s: %w", d.Repository, err)
	}
	return f.open(packed, chosen)
}

// knownRepository is the HelmRepository with the URL; nil when there is none.
func (f *ChartFetcher) knownRepository(ctx context.Context, namespace, url string) (*sourcev1.HelmRepository, error) {
	var list sourcev1.HelmRepositoryList
	if err := f.Sources.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("listing the HelmRepositories of namespace %s: %w", namespace, err)
	}
	for i := range list.Items {
		if strings.TrimSuffix(list.Items[i].Spec.URL, "/") == strings.TrimSuffix(url, "/") {
			return &list.Items[i], nil
		}
	}
	return nil, nil
}

// stranger is a repository that only a chart names.
func stranger(namespace, url string) *sourcev1.HelmRepository {
	repo := &sourcev1.HelmRepository{}
	repo.Namespace, repo.Spec.URL = namespace, url
	if strings.HasPrefix(url, ociScheme) {
		repo.Spec.Type = sourcev1.HelmRepositoryTypeOCI
	}
	return repo
}

// visitStranger is visit of a repository without an object, and so without an
// artifact: its index is read for the one visit.
func (f *ChartFetcher) visitStranger(ctx context.Context, repo *sourcev1.HelmRepository, reason string, talk func(context.Context, shop) error) error {
	bare := *f
	bare.Transport = f.Strangers
	// Nothing kept: that would lead there by the transport that it was made with.
	bare.Registries = &registry.Opener{Secrets: f.Registries.Secrets, Transport: f.Strangers, Clouds: f.Registries.Clouds}
	if repo.Spec.Type == sourcev1.HelmRepositoryTypeOCI {
		return bare.visit(ctx, repo, reason, talk)
	}
	ctx, cancel := f.MaxTimeout.Within(ctx, repo.Timeout())
	defer cancel()
	s, err := openSite(ctx, bare.Secrets, bare.Transport, repo)
	if err != nil {
		return err
	}
	defer s.close()
	catalogue, err := bare.strangeIndex(ctx, s)
	if err != nil {
		return s.failed(ctx, reason, "fetching the index", err)
	}
	return talk(ctx, &indexShop{site: s, index: catalogue, max: f.Limits.Chart, reason: reason})
}

// strangeIndex fetches and reads an index.
func (f *ChartFetcher) strangeIndex(ctx context.Context, s *site) (*index.Index, error) {
	response, err := s.get(ctx, s.indexURL(), http.Header{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	dir, done, err := f.Scratch()
	if err != nil {
		return nil, err
	}
	defer done()
	saved := filepath.Join(dir, indexFile)
	sum, err := saveIndex(saved, response.Body, f.Limits.Index)
	if err != nil {
		return nil, err
	}
	return f.Indexes.Get("sha256:"+sum, func() (*index.Index, error) {
		text, err := os.Open(saved)
		if err != nil {
			return nil, err
		}
		defer func() { _ = text.Close() }()
		info, err := text.Stat()
		if err != nil {
			return nil, err
		}
		return index.Parse(text, info.Size(), io.Discard)
	})
}
