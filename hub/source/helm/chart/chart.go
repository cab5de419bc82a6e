package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/hub/source/helm/aliases"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Names of files in a chart.
const (
	metadataFile     = "Chart.yaml"
	lockFile         = "Chart.lock"
	valuesFile       = "values.yaml"
	requirementsFile = "requirements.yaml"
	requirementsLock = "requirements.lock"
	chartsDir        = "charts/"
)

// Limits of a chart. Helm's own are the defaults.
const (
	maxFiles    = 10_000
	maxUnpacked = 100 << 20
)

// Chart is a chart by its files.
type Chart struct {
	// Metadata is what Chart.yaml says, with the dependencies of a
	// requirements.yaml.
	Metadata *helmchart.Metadata
	// Files are those of the chart by their slash-separated paths below it.
	Files map[string][]byte
}

// Read unpacks a package. maxFile is the size of the largest file that it may
// hold.
func Read(archive io.Reader, maxFile int64) (*Chart, error) {
	packed, err := artifact.Files(archive, artifact.Limits{Files: maxFiles, Bytes: maxUnpacked})
	if err != nil {
		return nil, err
	}
	files, top := make(map[string][]byte, len(packed)), ""
	for name, content := range packed {
		dir, rest, below := strings.Cut(name, "/")
		switch {
		case !below:
			return nil, fmt.Errorf("the file %q is not in the directory of the chart", name)
		case top != "" && dir != top:
			return nil, fmt.Errorf("there is more than one directory in the package: %q and %q", min(top, dir), max(top, dir))
		}
		top, files[rest] = dir, content
	}
	return New(files, maxFile)
}

// New makes a chart of its files.
func New(files map[string][]byte, maxFile int64) (*Chart, error) {
	for name, content := range files {
		if int64(len(content)) > maxFile {
			return nil, fmt.Errorf("the file %q has more than %d bytes (--helm-chart-file-max-size)", name, maxFile)
		}
	}
	content, ok := files[metadataFile]
	if !ok {
		return nil, errors.New("there is no " + metadataFile)
	}
	metadata, err := ParseMetadata(content)
	if err != nil {
		return nil, err
	}
	if requirements, ok := files[requirementsFile]; ok && metadata.APIVersion == helmchart.APIVersionV1 {
		if err := unmarshal(requirements, metadata); err != nil {
			return nil, fmt.Errorf("%s: %s", requirementsFile, reconcile.OneLine(err))
		}
	}
	return &Chart{Metadata: metadata, Files: files}, nil
}

// ParseMetadata reads a Chart.yaml.
func ParseMetadata(content []byte) (*helmchart.Metadata, error) {
	metadata := &helmchart.Metadata{}
	if err := unmarshal(content, metadata); err != nil {
		return nil, fmt.Errorf("%s: %s", metadataFile, reconcile.OneLine(err))
	}
	if metadata.APIVersion == "" {
		metadata.APIVersion = helmchart.APIVersionV1 // as Helm 2 wrote it
	}
	if err := metadata.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %s", metadataFile, reconcile.OneLine(err))
	}
	return metadata, nil
}

// unmarshal reads a file of YAML, whose aliases are bounded.
func unmarshal(content []byte, into any) error {
	if err := aliases.Bound(content); err != nil {
		return err
	}
	return yaml.Unmarshal(content, into)
}

// WithMetadata is the version with build metadata in the place of its own.
func WithMetadata(version, metadata string) (string, error) {
	if metadata == "" {
		return version, nil
	}
	parsed, err := semver.NewVersion(version)
	if err != nil {
		return "", fmt.Errorf("version %q is not a semantic version", version)
	}
	with, err := parsed.SetMetadata(metadata)
	if err != nil {
		return "", fmt.Errorf("version %q cannot carry the metadata %q: %w", version, metadata, err)
	}
	return with.String(), nil
}

// SetVersion writes another version into Chart.yaml.
func (c *Chart) SetVersion(version string) error {
	if c.Metadata.Version == version {
		return nil
	}
	content := map[string]any{}
	if err := unmarshal(c.Files[metadataFile], &content); err != nil {
		return fmt.Errorf("%s: %s", metadataFile, reconcile.OneLine(err))
	}
	changed := *c.Metadata
	changed.Version = version
	known := changed
	if known.APIVersion == helmchart.APIVersionV1 {
		known.Dependencies = nil // they are in another file
	}
	// What Helm knows is written as Helm has read it: a number where it wants a text is
	// not read the same twice.
	overlay, err := json.Marshal(&known)
	if err == nil {
		err = json.Unmarshal(overlay, &content)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", metadataFile, err)
	}
	text, err := yaml.Marshal(content)
	if err != nil {
		return fmt.Errorf("%s: %w", metadataFile, err)
	}
	c.Metadata, c.Files[metadataFile] = &changed, text
	return nil
}

// Dependencies are those that have to be in the package: of the lock, or else of
// the chart.
func (c *Chart) Dependencies() ([]*helmchart.Dependency, error) {
	content, ok := c.Files[lockFile]
	if !ok && c.Metadata.APIVersion == helmchart.APIVersionV1 {
		content, ok = c.Files[requirementsLock]
	}
	wanted := c.Metadata.Dependencies
	if ok {
		lock := &helmchart.Lock{}
		if err := unmarshal(content, lock); err != nil {
			return nil, fmt.Errorf("%s: %s", lockFile, reconcile.OneLine(err))
		}
		wanted = lock.Dependencies
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(d *helmchart.Dependency) bool { return d == nil }), nil
}

// Vendored are the names of the charts below charts/. maxFile is as for Read. When
// the context ends, the error is its cause.
func (c *Chart) Vendored(ctx context.Context, maxFile int64) (map[string]bool, error) {
	names := map[string]bool{}
	for name, content := range c.Files {
		if late := context.Cause(ctx); late != nil {
			return nil, late
		}
		rest, below := strings.CutPrefix(name, chartsDir)
		if !below {
			continue
		}
		var metadata *helmchart.Metadata
		switch {
		case strings.Count(rest, "/") == 1 && path.Base(rest) == metadataFile:
			parsed, err := ParseMetadata(content)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			metadata = parsed
		case !strings.Contains(rest, "/") && strings.HasSuffix(rest, ".tgz"):
			sub, err := Read(bytes.NewReader(content), maxFile)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			metadata = sub.Metadata
		default:
			continue
		}
		names[metadata.Name] = true
	}
	return names, nil
}

// Vendor puts another chart below charts/, within the bounds of one package. A
// chart may depend on several versions of one.
func (c *Chart) Vendor(sub *Chart) error {
	if len(c.Files)+len(sub.Files) > maxFiles || c.size()+sub.size() > maxUnpacked {
		return fmt.Errorf("with it the chart has more than %d files or %d bytes", maxFiles, maxUnpacked)
	}
	dir := chartsDir + sub.Metadata.Name + "-" + sub.Metadata.Version + "/"
	for name, content := range sub.Files {
		c.Files[dir+name] = content
	}
	return nil
}

func (c *Chart) size() (bytes int) {
	for _, content := range c.Files {
		bytes += len(content)
	}
	return bytes
}

// ReadBytes is Read of a package in memory.
func ReadBytes(archive []byte, maxFile int64) (*Chart, error) {
	return Read(bytes.NewReader(archive), maxFile)
}
