package helm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/hub/source/helm/index"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Media types of the layer with the chart; the second is that of old registries.
const (
	chartLayer    = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	oldChartLayer = "application/tar+gzip"
)

// offer is a version of a chart that a repository has.
type offer struct {
	name, version string
	// url and digest are those of the index.
	url, digest string
	// manifest is the digest whose signature was checked, for a registry.
	manifest string
}

// shop is where packages come from: a repository by its index, or a registry.
// Its errors have a reason.
type shop interface {
	// choose picks a version in the range.
	choose(ctx context.Context, name, wanted string) (offer, error)
	// download brings the package, checked against what the index says.
	download(ctx context.Context, o offer) ([]byte, error)
	close()
}

// enter opens a conversation with the repository. reason is that of what fails
// for no better known reason.
func (f *ChartFetcher) enter(ctx context.Context, repo *sourcev1.HelmRepository, reason string) (shop, error) {
	if repo.Spec.Type == sourcev1.HelmRepositoryTypeOCI {
		if err := reconcile.UnsupportedFields(repo, "url", "interval", "timeout", "suspend", "secretRef", "certSecretRef",
			"passCredentials", "type", "provider", "insecure", "accessFrom"); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(repo.Spec.URL, ociScheme) {
			return nil, reconcile.Stall(urlInvalidReason, fmt.Errorf("spec.url %s does not begin with oci://, as spec.type oci asks", repo.Spec.URL))
		}
		return &registryShop{fetcher: f, repo: repo, reason: reason}, nil
	}
	catalogue, err := f.indexOf(repo)
	if err != nil {
		return nil, err
	}
	s, err := openSite(ctx, f.Secrets, f.Transport, repo)
	if err != nil {
		return nil, err
	}
	return &indexShop{site: s, index: catalogue, max: f.Limits.Chart, reason: reason}, nil
}

// indexOf is the index that the repository's artifact holds.
func (f *ChartFetcher) indexOf(repo *sourcev1.HelmRepository) (*index.Index, error) {
	stored := repo.Status.Artifact
	if stored == nil {
		return nil, reconcile.Wait(noSourceArtifactReason, "it has no artifact yet", repo.Interval())
	}
	found, err := f.Indexes.Get(stored.Revision, func() (*index.Index, error) {
		text, err := f.Store.Open(stored)
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
	return found, lostSource(err)
}

// lostSource is for an artifact that is not in the store any longer, as after a
// hub began on an empty disk: its source makes it again, which wakes the chart.
func lostSource(err error) error {
	if errors.Is(err, artifact.ErrNotFound) || errors.Is(err, artifact.ErrDigest) {
		return reconcile.Fail(noSourceArtifactReason, errors.New("its artifact is not in the store, and is being made again"))
	}
	return reconcile.Fail(sourceUnavailableReason, err)
}

// indexShop is a repository over HTTP.
type indexShop struct {
	*site
	index  *index.Index
	max    int64
	reason string
}

func (s *indexShop) close() { s.site.close() }

func (s *indexShop) choose(_ context.Context, name, wanted string) (offer, error) {
	v, err := s.index.Find(name, wanted)
	if err != nil {
		return offer{}, reconcile.Fail(s.reason, err)
	}
	return offer{name: name, version: v.Version, url: v.URL, digest: v.Digest}, nil
}

func (s *indexShop) download(ctx context.Context, o offer) ([]byte, error) {
	doing := fmt.Sprintf("fetching chart %q in version %s", o.name, o.version)
	u, err := s.resolve(o.url)
	if err != nil {
		return nil, s.failed(ctx, s.reason, doing, err)
	}
	// The package is compressed already, and its digest is that of it so.
	response, err := s.get(ctx, u, http.Header{"Accept-Encoding": {"identity"}})
	if err != nil {
		return nil, s.failed(ctx, s.reason, doing, err)
	}
	defer func() { _ = response.Body.Close() }()
	var content bytes.Buffer
	if err := copyBounded(&content, response.Body, s.max, "helm-chart-max-size"); err != nil {
		return nil, s.failed(ctx, s.reason, doing, err)
	}
	if err := checkDigest(content.Bytes(), o.digest); err != nil {
		return nil, s.failed(ctx, s.reason, doing, err)
	}
	return content.Bytes(), nil
}

// checkDigest holds the package against the digest in the index, where it has
// one.
func checkDigest(content []byte, want string) error {
	want = strings.ToLower(strings.TrimPrefix(want, "sha256:"))
	sum := sha256.Sum256(content)
	if got := hex.EncodeToString(sum[:]); want != "" && got != want {
		return fmt.Errorf("its SHA-256 is %s, and the index says %.64q", got, want)
	}
	return nil
}

// registryShop is a registry: each chart is a repository of its own there.
type registryShop struct {
	fetcher *ChartFetcher
	repo    *sourcev1.HelmRepository
	reason  string
}

func (*registryShop) close() {}

func (s *registryShop) choose(ctx context.Context, name, wanted string) (offer, error) {
	if _, err := semver.StrictNewVersion(wanted); err == nil {
		return offer{name: name, version: wanted}, nil
	}
	c, err := s.open(ctx, name)
	if err != nil {
		return offer{}, err
	}
	tags, err := remote.List(c.repository, c.Options()...)
	if err != nil {
		return offer{}, c.Failed(ctx, s.reason, fmt.Sprintf("listing the versions of chart %q", name), err)
	}
	for i, tag := range tags {
		tags[i] = strings.ReplaceAll(tag, "_", "+") // a tag cannot hold a plus
	}
	version, err := index.Choose(tags, wanted)
	if err != nil {
		return offer{}, reconcile.Fail(s.reason, fmt.Errorf("chart %q: %w", name, err))
	}
	return offer{name: name, version: version}, nil
}

func (s *registryShop) download(ctx context.Context, o offer) ([]byte, error) {
	c, err := s.open(ctx, o.name)
	if err != nil {
		return nil, err
	}
	doing := fmt.Sprintf("fetching chart %q in version %s", o.name, o.version)
	content, err := c.pull(c.ref(o), s.fetcher.Limits.Chart)
	if err != nil {
		return nil, c.Failed(ctx, s.reason, doing, err)
	}
	return content, nil
}

// ref is the tag of a version, or the digest that was checked.
func (c *chartRepository) ref(o offer) name.Reference {
	if o.manifest != "" {
		return c.repository.Digest(o.manifest)
	}
	return c.repository.Tag(strings.ReplaceAll(o.version, "+", "_"))
}

func (s *registryShop) open(ctx context.Context, name string) (*chartRepository, error) {
	at := strings.TrimSuffix(strings.TrimPrefix(s.repo.Spec.URL, ociScheme), "/") + "/" + name
	parsed, err := registry.Parse(at, s.repo.Spec.Insecure)
	if err != nil {
		return nil, reconcile.Stall(urlInvalidReason, fmt.Errorf("spec.url is not oci://host/path: %w", err))
	}
	session, err := s.fetcher.Registries.Open(ctx, parsed, registry.Access{
		Namespace:     s.repo.Namespace,
		Remote:        "spec.url " + s.repo.Spec.URL,
		SecretRef:     s.repo.Spec.SecretRef,
		Basic:         true,
		Provider:      s.repo.Spec.Provider,
		CertSecretRef: s.repo.Spec.CertSecretRef,
		Insecure:      s.repo.Spec.Insecure,
	})
	return &chartRepository{Session: session, repository: parsed}, err
}
