package artifact_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/artifact"
)

// makeTree writes files (by slash path) in the given order; a content that
// starts with "#!" is executable, one that starts with "->" is a symlink.
func makeTree(t *testing.T, fileMode os.FileMode, files ...[2]string) string {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f[0]))
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o700)).To(Succeed())
		if target, ok := strings.CutPrefix(f[1], "->"); ok {
			g.Expect(os.Symlink(target, path)).To(Succeed())
			continue
		}
		mode := fileMode
		if strings.HasPrefix(f[1], "#!") {
			mode |= 0o111
		}
		g.Expect(os.WriteFile(path, []byte(f[1]), mode)).To(Succeed())
	}
	return dir
}

func archiveOf(t *testing.T, dir string, exclude func(string, bool) bool) []byte {
	t.Helper()
	var b bytes.Buffer
	NewWithT(t).Expect(artifact.Archive(t.Context(), &b, os.DirFS(dir), exclude)).To(Succeed())
	return b.Bytes()
}

func headersOf(t *testing.T, archive []byte) []*tar.Header {
	t.Helper()
	g := NewWithT(t)
	gz, err := gzip.NewReader(bytes.NewReader(archive))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(gz.Name).To(BeEmpty())
	g.Expect(gz.ModTime.IsZero()).To(BeTrue())
	var headers []*tar.Header
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return headers
		}
		g.Expect(err).NotTo(HaveOccurred())
		headers = append(headers, h)
	}
}

func TestArchiveLayoutIsThatOfFlux(t *testing.T) {
	g := NewWithT(t)
	dir := makeTree(t, 0o644,
		[2]string{"b.yaml", "b"}, [2]string{"a/run.sh", "#!/bin/sh"}, [2]string{"a/z.yaml", "z"},
		[2]string{"link", "->b.yaml"}, [2]string{"dirlink", "->a"})
	type entry struct {
		name string
		kind byte
		mode int64
	}
	var got []entry
	for _, h := range headersOf(t, archiveOf(t, dir, nil)) {
		got = append(got, entry{h.Name, h.Typeflag, h.Mode})
		g.Expect(h.Uid + h.Gid).To(BeZero())
		g.Expect(h.Uname + h.Gname).To(BeEmpty())
		g.Expect(h.ModTime.Unix()).To(BeZero())
	}
	g.Expect(got).To(Equal([]entry{
		{".", '5', 0o750}, {"a", '5', 0o750}, {"a/run.sh", '0', 0o700}, {"a/z.yaml", '0', 0o600}, {"b.yaml", '0', 0o600},
	}))
}

func TestArchiveOfTheSameTreeIsTheSame(t *testing.T) {
	g := NewWithT(t)
	one := makeTree(t, 0o644, [2]string{"a", "1"}, [2]string{"b/c", "2"}, [2]string{"b/d", "#!3"})
	two := makeTree(t, 0o600, [2]string{"b/d", "#!3"}, [2]string{"b/c", "2"}, [2]string{"a", "1"})
	past := time.Unix(1e9, 0)
	g.Expect(os.Chtimes(filepath.Join(two, "a"), past, past)).To(Succeed())
	g.Expect(archiveOf(t, one, nil)).To(Equal(archiveOf(t, two, nil)))

	g.Expect(os.WriteFile(filepath.Join(two, "a"), []byte("9"), 0o600)).To(Succeed())
	g.Expect(archiveOf(t, one, nil)).NotTo(Equal(archiveOf(t, two, nil)))
}

func TestArchiveExcludes(t *testing.T) {
	g := NewWithT(t)
	dir := makeTree(t, 0o644, [2]string{"x/drop", "1"}, [2]string{"x/keep", "2"}, [2]string{"y", "3"})
	exclude := func(path string, isDir bool) bool {
		return isDir && filepath.Base(path) == "x" || filepath.Base(path) == "drop"
	}
	files, err := artifact.Files(bytes.NewReader(archiveOf(t, dir, exclude)), artifact.Limits{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(HaveLen(2))
	g.Expect(files).To(HaveKey("x/keep"), "a child of an excluded directory is asked for itself")
	g.Expect(files).To(HaveKey("y"))
}

// The hub says so of a tree that no agent would unpack.
func TestArchiveRefusesADeepTree(t *testing.T) {
	g := NewWithT(t)
	deep := strings.Repeat("a/", artifact.MaxDepth) + "x"
	dir := makeTree(t, 0o644, [2]string{deep, "1"})
	err := artifact.Archive(t.Context(), io.Discard, os.DirFS(dir), nil)
	g.Expect(err).To(MatchError(artifact.ErrTooLarge))
	g.Expect(err).To(MatchError(ContainSubstring("100 elements")))

	exclude := func(path string, _ bool) bool { return path == deep }
	g.Expect(artifact.Archive(t.Context(), io.Discard, os.DirFS(dir), exclude)).To(Succeed(), "what stays out does no harm")
}

// sparse is a file of zeros with that many bytes, which takes no space.
func sparse(t *testing.T, size int64) string {
	t.Helper()
	dir := makeTree(t, 0o644, [2]string{"a", "1"}, [2]string{"large", ""})
	NewWithT(t).Expect(os.Truncate(filepath.Join(dir, "large"), size)).To(Succeed())
	return dir
}

func TestArchiveRefusesWhatNoAgentUnpacks(t *testing.T) {
	many := fstest.MapFS{}
	for i := range 100_000 {
		many[fmt.Sprintf("%d.yaml", i)] = &fstest.MapFile{}
	}
	for name, c := range map[string]struct {
		tree fs.FS
		want string
	}{
		"files": {many, "the archive is too large: more than 100000 entries"},
		"bytes": {os.DirFS(sparse(t, 512<<20)), "\"large\": the archive is too large: it unpacks to more than 536870912 bytes"},
		"zeros": {os.DirFS(sparse(t, 64<<20)), "the archive is too large: it unpacks to more than 500 times its size"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := artifact.Archive(t.Context(), io.Discard, c.tree, nil)
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			g.Expect(err).To(MatchError(artifact.ErrTooLarge))
			g.Expect(err).To(MatchError(HaveSuffix("which no agent unpacks: leave files out with spec.ignore, or of Git with spec.sparseCheckout, or make several sources of it")))
		})
	}
}

// A backslash is a letter like any other, as it is to Git and to Flux.
func TestArchiveTakesNamesAsTheyAre(t *testing.T) {
	g := NewWithT(t)
	tree := fstest.MapFS{`a\b`: {Data: []byte("1")}, `..\c`: {Data: []byte("2")}, `d\..\e/f`: {Data: []byte("3")}}
	var packed bytes.Buffer
	g.Expect(artifact.Archive(t.Context(), &packed, tree, nil)).To(Succeed())
	dir := filepath.Join(t.TempDir(), "tree")
	g.Expect(os.Mkdir(dir, 0o700)).To(Succeed())
	g.Expect(artifact.UnpackTo(dir, &packed, artifact.Limits{})).To(Succeed())
	for name, file := range tree {
		g.Expect(os.ReadFile(filepath.Join(dir, name))).To(Equal(file.Data), name)
	}
	g.Expect(filesBelow(t, filepath.Dir(dir))).To(Equal([]string{"tree"}))
}

// The last file that fits is archived, and unpacked: both sides count alike, also the
// directories that are in paths alone.
func TestArchiveTakesAllThatAgentsUnpack(t *testing.T) {
	g := NewWithT(t)
	tree := fstest.MapFS{}
	for i := range 99_989 { // in ten directories, and with them the root
		tree[fmt.Sprintf("%d/%d.yaml", i%10, i)] = &fstest.MapFile{}
	}
	outside := func(_ string, isDir bool) bool { return isDir }
	var packed bytes.Buffer
	g.Expect(artifact.Archive(t.Context(), &packed, tree, outside)).To(Succeed())
	g.Expect(artifact.Files(&packed, artifact.Limits{})).To(HaveLen(99_989))
	tree["b.yaml"] = &fstest.MapFile{}
	g.Expect(artifact.Archive(t.Context(), io.Discard, tree, outside)).To(MatchError(artifact.ErrTooLarge))
}

func TestArchiveStopsWhenCancelled(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := artifact.Archive(ctx, io.Discard, os.DirFS(makeTree(t, 0o644, [2]string{"a", "1"})), nil)
	g.Expect(err).To(MatchError(context.Canceled))
}
