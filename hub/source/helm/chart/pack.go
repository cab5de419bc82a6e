package chart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/ignore"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

const packedMode = 0o644

// Bounds of a .helmignore, as of the excludes of a source: each file is held
// against each line.
const (
	maxIgnoreBytes = 256 << 10
	maxIgnoreLines = 10_000
)

// Pack writes the package. The same files give the same bytes.
func (c *Chart) Pack(w io.Writer) error {
	zipper := gzip.NewWriter(w)
	tarrer := tar.NewWriter(zipper)
	// Chart.yaml is first, so that readers find it soon.
	names := slices.Sorted(maps.Keys(c.Files))
	names = append([]string{metadataFile}, slices.DeleteFunc(names, func(name string) bool { return name == metadataFile })...)
	for _, name := range names {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: c.Metadata.Name + "/" + name, Mode: packedMode, Size: int64(len(c.Files[name]))}
		if err := tarrer.WriteHeader(header); err != nil {
			return fmt.Errorf("packaging %q: %w", name, err)
		}
		if _, err := tarrer.Write(c.Files[name]); err != nil {
			return fmt.Errorf("packaging %q: %w", name, err)
		}
	}
	if err := tarrer.Close(); err != nil {
		return fmt.Errorf("packaging: %w", err)
	}
	return zipper.Close()
}

// ReadDir reads the chart in a directory, without what its .helmignore names.
// Links are skipped. What is named counts among the files as well, but for what is
// in a directory that is. When the context ends, the error is its cause.
func ReadDir(ctx context.Context, root *os.Root, dir string, maxFile int64) (*Chart, error) {
	tree := root.FS()
	rules, err := rulesOf(tree, dir)
	if err != nil {
		return nil, err
	}
	files, entries, size := map[string][]byte{}, 0, int64(0)
	err = fs.WalkDir(tree, dir, func(name string, entry fs.DirEntry, err error) error {
		if err := errors.Join(err, context.Cause(ctx)); err != nil || name == dir {
			return err
		}
		if entries++; entries > maxFiles {
			return fmt.Errorf("there are more than %d files and directories in it", maxFiles)
		}
		below := strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
		if dir == "." {
			below = name
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch ignored := rules.Ignore(below, info); {
		case ignored && entry.IsDir():
			return fs.SkipDir
		case ignored || !entry.Type().IsRegular():
			return nil
		}
		if size += info.Size(); size > maxUnpacked {
			return fmt.Errorf("the chart has more than %d bytes", maxUnpacked)
		}
		files[below], err = fs.ReadFile(tree, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the chart %q: %w", dir, err)
	}
	return New(files, maxFile)
}

func rulesOf(tree fs.FS, dir string) (*ignore.Rules, error) {
	content, err := readIgnore(tree, path.Join(dir, ignore.HelmIgnore))
	if err != nil {
		return nil, err
	}
	rules, err := ignore.Parse(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("%s: %s", ignore.HelmIgnore, reconcile.OneLine(err))
	}
	rules.AddDefaults()
	return rules, nil
}

// readIgnore is empty where there is no such file.
func readIgnore(tree fs.FS, name string) ([]byte, error) {
	f, err := tree.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxIgnoreBytes+1))
	if err == nil && (len(content) > maxIgnoreBytes || bytes.Count(content, []byte("\n")) > maxIgnoreLines) {
		err = fmt.Errorf("%s has more than %d bytes or %d lines", ignore.HelmIgnore, maxIgnoreBytes, maxIgnoreLines)
	}
	return content, err
}

// PackBytes is Pack into memory. A package of more than most bytes is an error.
func (c *Chart) PackBytes(most int64) ([]byte, error) {
	packed := buffer{most: most}
	err := c.Pack(&packed)
	return packed.Bytes(), err
}

type buffer struct {
	bytes.Buffer
	most int64
}

// Write takes no more than most bytes.
func (b *buffer) Write(p []byte) (int, error) {
	if int64(b.Len()+len(p)) > b.most {
		return 0, fmt.Errorf("the package is larger than %d bytes (--helm-chart-max-size)", b.most)
	}
	return b.Buffer.Write(p)
}
