package artifact_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/artifact"
)

type entry struct {
	name, body, link string
	kind             byte
	mode             int64
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	g := NewWithT(t)
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	tw := tar.NewWriter(gz)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		g.Expect(tw.WriteHeader(&tar.Header{
			Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.body)),
		})).To(Succeed())
		_, err := io.WriteString(tw, e.body)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(tw.Close()).To(Succeed())
	g.Expect(gz.Close()).To(Succeed())
	return b.Bytes()
}

func TestUnpack(t *testing.T) {
	g := NewWithT(t)
	archive := pack(t,
		entry{name: ".", kind: tar.TypeDir}, entry{name: "a", kind: tar.TypeDir}, entry{name: "a/b.yaml", body: "b"},
		entry{name: "./c/d/run.sh", body: "#!", mode: 0o755}, entry{name: "a/", kind: tar.TypeDir},
		entry{name: "link", kind: tar.TypeSymlink, link: "/etc/passwd"}, entry{name: "empty", kind: tar.TypeDir})

	files, err := artifact.Files(bytes.NewReader(archive), artifact.Limits{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(Equal(map[string][]byte{"a/b.yaml": []byte("b"), "c/d/run.sh": []byte("#!")}))

	dir := t.TempDir()
	g.Expect(artifact.UnpackTo(dir, bytes.NewReader(archive), artifact.Limits{})).To(Succeed())
	info, err := os.Stat(filepath.Join(dir, "c/d/run.sh"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(BeEquivalentTo(0o700))
	info, err = os.Stat(filepath.Join(dir, "a/b.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(BeEquivalentTo(0o600))
	g.Expect(filesBelow(t, dir)).To(Equal([]string{"a", "c", "empty"}), "the link is skipped")
}

func TestFilesUpTo(t *testing.T) {
	g := NewWithT(t)
	body := strings.Repeat("x", 100)
	archive := pack(t, entry{name: "a", body: body}, entry{name: "b", body: body + "x"})
	files, larger, err := artifact.FilesUpTo(100, bytes.NewReader(archive), artifact.Limits{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(Equal(map[string][]byte{"a": []byte(body)}))
	g.Expect(larger).To(Equal(map[string]int64{"b": 101}))

	size, err := artifact.Unpacked(bytes.NewReader(archive), int64(len(archive)))
	g.Expect(err).NotTo(HaveOccurred())
	_, _, err = artifact.FilesUpTo(100, bytes.NewReader(archive), artifact.Limits{Bytes: size})
	g.Expect(err).NotTo(HaveOccurred())
	_, _, err = artifact.FilesUpTo(100, bytes.NewReader(archive), artifact.Limits{Bytes: size - 1})
	g.Expect(err).To(MatchError(artifact.ErrTooLarge))
	_, err = artifact.Unpacked(bytes.NewReader(nil), 0)
	g.Expect(err).To(MatchError(ContainSubstring("not a gzipped archive")))
}

func TestUnpackRefuses(t *testing.T) {
	small := artifact.Limits{Files: 3, Bytes: 8 << 10}
	for _, c := range []struct {
		name    string
		entries []entry
		limits  artifact.Limits
		want    []string
	}{
		{"a path above the root", []entry{{name: "../evil"}}, artifact.Limits{}, []string{`"../evil"`, "leads out"}},
		{"a path that turns back", []entry{{name: "a/../../evil"}}, artifact.Limits{}, []string{`"a/../../evil"`, "leads out"}},
		{"dots that cancel out", []entry{{name: "a/../b"}}, artifact.Limits{}, []string{`"a/../b"`, "leads out"}},
		{"an absolute path", []entry{{name: "/etc/evil"}}, artifact.Limits{}, []string{`"/etc/evil"`, "leads out"}},
		{"a directory above the root", []entry{{name: "..", kind: tar.TypeDir}}, artifact.Limits{}, []string{`".."`}},
		{"a file as the root", []entry{{name: "./x/."}, {name: "."}}, artifact.Limits{}, []string{`"."`, "root"}},
		{"a hard link", []entry{{name: "x", kind: tar.TypeLink, link: "/etc/passwd"}}, artifact.Limits{}, []string{`"x"`, "only files and directories"}},
		{"a device", []entry{{name: "x", kind: tar.TypeChar}}, artifact.Limits{}, []string{`"x"`, "only files and directories"}},
		{"a pipe", []entry{{name: "x", kind: tar.TypeFifo}}, artifact.Limits{}, []string{`"x"`, "only files and directories"}},
		{"one path twice", []entry{{name: "x"}, {name: "./x"}}, artifact.Limits{}, []string{`"./x"`, "twice"}},
		{"a directory over a file", []entry{{name: "x"}, {name: "x", kind: tar.TypeDir}}, artifact.Limits{}, []string{`"x"`, "twice"}},
		{"a file below a file", []entry{{name: "x"}, {name: "x/y"}}, artifact.Limits{}, []string{`"x/y"`, `"x" is a file`}},
		{"a path no file system takes", []entry{{name: strings.Repeat("a/", 500_000) + "x"}}, artifact.Limits{}, []string{`"a/a/`, "too large", "4096 bytes"}},
		{"a path deeper than any tree", []entry{{name: strings.Repeat("a/", 100) + "x"}}, artifact.Limits{}, []string{"too large", "100 elements"}},
		{"directories that only paths name", []entry{{name: "a/b/c/x"}}, small, []string{`"a/b/c/x"`, "too large", "3 entries"}},
		{"too many", []entry{{name: "1"}, {name: "2"}, {name: "3"}, {name: "4"}}, small, []string{`"4"`, "too large", "3 entries"}},
		{"one too large", []entry{{name: "ok"}, {name: "big", body: strings.Repeat("x", 9<<10)}}, small, []string{`"big"`, "8192 bytes"}},
		{"together too large", []entry{{name: "1", body: strings.Repeat("x", 5<<10)}, {name: "2", body: strings.Repeat("x", 5<<10)}}, small, []string{`"2"`, "8192 bytes"}},
		{"too well compressed", []entry{{name: "bomb", body: strings.Repeat("x", 40<<20)}}, artifact.Limits{Ratio: 100}, []string{`"bomb"`, "100 times"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			archive := pack(t, c.entries...)
			_, err := artifact.Files(bytes.NewReader(archive), c.limits)
			g.Expect(err).To(HaveOccurred())
			for _, part := range c.want {
				g.Expect(err.Error()).To(ContainSubstring(part))
			}
			g.Expect(len(err.Error())).To(BeNumerically("<", 1000), "it is to be read")
			parent := t.TempDir()
			dir := filepath.Join(parent, "into")
			g.Expect(os.Mkdir(dir, 0o700)).To(Succeed())
			g.Expect(artifact.UnpackTo(dir, bytes.NewReader(archive), c.limits)).To(MatchError(err.Error()))
			g.Expect(filesBelow(t, parent)).To(Equal([]string{"into"}))
		})
	}
}

func TestUnpackADeepTree(t *testing.T) {
	g := NewWithT(t)
	deep := strings.Repeat("a/", artifact.MaxDepth-1)
	archive := pack(t, entry{name: "./" + deep + "x", body: "x"}, entry{name: deep + "y", body: "y"})
	files, err := artifact.Files(bytes.NewReader(archive), artifact.Limits{Files: artifact.MaxDepth + 1})
	g.Expect(err).NotTo(HaveOccurred(), "a directory counts once")
	g.Expect(files).To(Equal(map[string][]byte{deep + "x": []byte("x"), deep + "y": []byte("y")}))
}

// A file that is large and no bomb is unpacked, also when it comes first.
func TestUnpackOneLargeFile(t *testing.T) {
	g := NewWithT(t)
	body := make([]byte, 33<<20)
	_, err := rand.Read(body[:4<<20]) // the rest compresses well, and all of it not by hundreds
	g.Expect(err).NotTo(HaveOccurred())
	files, err := artifact.Files(bytes.NewReader(pack(t, entry{name: "large", body: string(body)})), artifact.Limits{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files["large"]).To(HaveLen(len(body)))
}

// TestUnpackEnds reads archives that have no end of their own: they are made while
// they are read, until nobody reads any more.
func TestUnpackEnds(t *testing.T) {
	zeros := make([]byte, 1<<20)
	for name, c := range map[string]struct {
		level int
		more  func(tw *tar.Writer, i int) error
		want  []string
	}{
		"a file of 10 GB": {gzip.BestSpeed, func(tw *tar.Writer, i int) error {
			if i == 0 {
				return tw.WriteHeader(&tar.Header{Name: "bomb", Typeflag: tar.TypeReg, Size: 10 << 30})
			}
			_, err := tw.Write(zeros)
			return err
		}, []string{`"bomb"`, "larger than 536870912 bytes"}},
		"files of 10 GB together": {gzip.BestSpeed, func(tw *tar.Writer, i int) error {
			err := tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("bomb-%d", i), Typeflag: tar.TypeReg, Size: int64(len(zeros))})
			if err == nil {
				_, err = tw.Write(zeros)
			}
			return err
		}, []string{`"bomb-`, "500 times"}},
		"tiny files without end": {gzip.NoCompression, func(tw *tar.Writer, i int) error {
			return tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("%d/%d", i/1000, i), Typeflag: tar.TypeReg})
		}, []string{"too large", "100000 entries"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			read, write := io.Pipe()
			made := make(chan int64)
			go func() {
				zipped, _ := gzip.NewWriterLevel(write, c.level) // the error is about the level
				counted := &counting{w: zipped}
				tw := tar.NewWriter(counted)
				var err error
				for i := 0; err == nil; i++ {
					err = c.more(tw, i)
				}
				made <- counted.n
			}()
			_, err := artifact.Files(read, artifact.Limits{})
			g.Expect(read.Close()).To(Succeed())
			g.Expect(err).To(HaveOccurred())
			for _, part := range c.want {
				g.Expect(err.Error()).To(ContainSubstring(part))
			}
			g.Expect(<-made).To(BeNumerically("<", 100<<20), "bytes before they are compressed")
		})
	}
}

type counting struct {
	w io.Writer
	n int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func TestUnpackNoticesADamagedArchive(t *testing.T) {
	g := NewWithT(t)
	archive := pack(t, entry{name: "a", body: strings.Repeat("abc", 1000)})
	for _, broken := range [][]byte{nil, []byte("no gzip"), archive[:len(archive)/2], archive[:len(archive)-4],
		append(bytes.Clone(archive[:len(archive)-8]), 1, 2, 3, 4, 5, 6, 7, 8)} {
		_, err := artifact.Files(bytes.NewReader(broken), artifact.Limits{})
		g.Expect(err).To(HaveOccurred())
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack(f, entry{name: ".", kind: tar.TypeDir}, entry{name: "a/b", body: "c"}))
	f.Add(pack(f, entry{name: "../a", body: "c"}))
	f.Add(pack(f, entry{name: "a", kind: tar.TypeSymlink, link: ".."}, entry{name: "a/b", body: "c"}))
	f.Add([]byte{0x1f, 0x8b})
	limits := artifact.Limits{Files: 20, Bytes: 64 << 10}
	f.Fuzz(func(t *testing.T, data []byte) {
		g := NewWithT(t)
		parent := t.TempDir()
		dir := filepath.Join(parent, "into")
		g.Expect(os.Mkdir(dir, 0o700)).To(Succeed())
		files, err := artifact.Files(bytes.NewReader(data), limits)
		dirErr := artifact.UnpackTo(dir, bytes.NewReader(data), limits)
		g.Expect(filesBelow(t, parent)).To(Equal([]string{"into"}))
		if err != nil {
			g.Expect(dirErr).To(HaveOccurred())
			return
		}
		var total int
		for name, body := range files {
			g.Expect(path.Clean(name)).To(Equal(name))
			g.Expect(filepath.IsLocal(name)).To(BeTrue())
			total += len(body)
		}
		g.Expect(total).To(BeNumerically("<=", 64<<10))
	})
}
