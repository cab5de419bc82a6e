package helm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/Masterminds/semver/v3"
	lru "github.com/hashicorp/golang-lru/v2"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// rememberedCharts is how many charts' names and versions are kept.
	rememberedCharts = 4096
	// shownDigest is how much of an OCI digest becomes part of the version.
	shownDigest = 12
)

// identity is what a chart says of itself.
type identity struct {
	name, version, appVersion string
	// digest of the upstream artifact that it came in.
	digest string
}

// charts opens charts from the artifact cache. It is safe for concurrent use. The
// files are kept on disk, once per digest and bounded; what they unpack to is
// read anew for each action, since Helm writes into it.
type charts struct {
	artifacts *artifact.Cache
	known     *lru.Cache[string, identity]
	// ignoreDigest leaves the digest of an OCI artifact out of the version.
	ignoreDigest bool
}

func newCharts(artifacts *artifact.Cache, ignoreDigest bool) (*charts, error) {
	known, err := lru.New[string, identity](rememberedCharts)
	if err != nil {
		return nil, err
	}
	return &charts{artifacts: artifacts, known: known, ignoreDigest: ignoreDigest}, nil
}

// identify reads what the chart is called and which version it has.
func (c *charts) identify(ctx context.Context, from *meta.Artifact) (identity, error) {
	key := from.Digest + " " + from.Revision
	if known, ok := c.known.Get(key); ok {
		return known, nil
	}
	loaded, err := c.load(ctx, from)
	if err != nil {
		return identity{}, err
	}
	found := identity{name: loaded.Metadata.Name, version: loaded.Metadata.Version, appVersion: loaded.Metadata.AppVersion}
	if !c.ignoreDigest {
		_, found.digest = sourceDigest(from.Revision)
	}
	c.known.Add(key, found)
	return found, nil
}

// load parses the chart. One from an OCI artifact gets the digest into its
// version, so that a tag that moves is another version.
func (c *charts) load(ctx context.Context, from *meta.Artifact) (*chart.Chart, error) {
	file, err := c.artifacts.Open(ctx, *from)
	if errors.Is(err, artifact.ErrNotFound) || errors.Is(err, artifact.ErrDigest) {
		// The source has moved on, and its status has not reached us yet.
		return nil, reconcile.Wait(sourceNotReadyReason, "Source is not ready, artifact not found", sourceRetry)
	}
	if err != nil {
		return nil, reconcile.Fail(meta.ArtifactFailedReason, err)
	}
	loaded, err := parse(file)
	if err != nil {
		return nil, reconcile.Fail(meta.ArtifactFailedReason, fmt.Errorf("chart of revision %s: %w", from.Revision, err))
	}
	if err := c.mark(loaded, from); err != nil {
		return nil, reconcile.Fail(chartMutateReason, fmt.Errorf("chart of revision %s: %w", from.Revision, err))
	}
	return loaded, nil
}

func parse(file *os.File) (loaded *chart.Chart, err error) {
	defer func() { err = errors.Join(err, file.Close()) }()
	loaded, err = loader.LoadArchive(file)
	if err != nil {
		return nil, err
	}
	if loaded.Metadata == nil {
		return nil, errors.New("there is no Chart.yaml")
	}
	if err := loaded.Validate(); err != nil {
		return nil, err
	}
	if loaded.Metadata.Type == "library" {
		return nil, fmt.Errorf("%s is a library chart, which cannot be released: use it as a dependency", loaded.Name())
	}
	return loaded, nil
}

// mark puts the digest of the upstream artifact into the version.
func (c *charts) mark(loaded *chart.Chart, from *meta.Artifact) error {
	tag, digest := sourceDigest(from.Revision)
	if digest == "" || c.ignoreDigest {
		return nil
	}
	version, err := semver.NewVersion(loaded.Metadata.Version)
	if err != nil {
		return fmt.Errorf("version %q: %w", loaded.Metadata.Version, err)
	}
	// A tag has "_" where the version has "+".
	if tagged, err := semver.StrictNewVersion(strings.ReplaceAll(tag, "_", "+")); err == nil && !tagged.Equal(version) {
		return fmt.Errorf("the tag %s is a version, and the chart's is %s: they have to be the same", tag, loaded.Metadata.Version)
	}
	_, hex, _ := strings.Cut(digest, ":")
	marked, err := version.SetMetadata(hex[:min(len(hex), shownDigest)])
	if err != nil {
		return fmt.Errorf("version %q: %w", loaded.Metadata.Version, err)
	}
	loaded.Metadata.Version = marked.String()
	return nil
}
