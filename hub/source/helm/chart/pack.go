package chart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/ignore"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

const packedMode = 0o644

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
	return errors.Join(tarrer.Close(), zipper.Close())
}

// ReadDir reads the chart in a directory, without what its .helmignore names.
// Links are skipped.
func ReadDir(root *os.Root, dir string, maxFile int64) (*Chart, error) {
	tree := root.FS()
	rules, err := rulesOf(tree, dir)
	if err != nil {
		return nil, err
	}
	files, size := map[string][]byte{}, int64(0)
	err = fs.WalkDir(tree, dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
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
		if size += info.Size(); size > maxUnpacked || len(files) == maxFiles {
			return fmt.Errorf("the chart has more than %d files or %d bytes", maxFiles, maxUnpacked)
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
	rules := ignore.Empty()
	f, err := tree.Open(filepath.ToSlash(filepath.Join(dir, ignore.HelmIgnore)))
	if err == nil {
		defer func() { _ = f.Close() }()
		if rules, err = ignore.Parse(f); err != nil {
			return nil, fmt.Errorf("%s: %s", ignore.HelmIgnore, reconcile.OneLine(err))
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	rules.AddDefaults()
	return rules, nil
}

// PackBytes is Pack into memory.
func (c *Chart) PackBytes() ([]byte, error) {
	var packed bytes.Buffer
	err := c.Pack(&packed)
	return packed.Bytes(), err
}
