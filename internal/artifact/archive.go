package artifact

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// Modes in an archive depend on what a file is, never on the umask of the
// machine that made it.
const (
	archivedFileMode = 0o600
	archivedExecMode = 0o700
	archivedDirMode  = 0o750

	// copyBytes is the size of the buffer that all files of a tree go through.
	copyBytes = 32 << 10
)

// Archive writes the tree as a gzipped tar in Flux's layout: entries in lexical
// order from ".", no owners, no times, modes 0600, 0700 and 0750. Only
// directories and regular files are taken; links and devices are skipped, and
// so is every path below the root for which exclude (if given) says true. The
// children of an excluded directory are asked for one by one, so that a pattern
// can take one of them in again. What agents would refuse to unpack is an error
// here, before they meet it: by UnpackTo's default limits, and for its paths.
//
// The same tree gives the same bytes.
func Archive(ctx context.Context, w io.Writer, tree fs.FS, exclude func(path string, isDir bool) bool) error {
	packed := &written{w: w}
	// Half the time of the default level, for a fifteenth more bytes of manifests.
	gz, _ := gzip.NewWriterLevel(packed, gzip.BestSpeed) // fails for no level of gzip's own
	stream := &written{w: gz}
	a := &archiver{
		ctx: ctx, tw: tar.NewWriter(stream), stream: stream, tree: tree, exclude: exclude,
		left: map[string]bool{}, buffer: make([]byte, copyBytes),
	}
	err := fs.WalkDir(tree, ".", a.add)
	if err == nil {
		err = errors.Join(a.tw.Close(), gz.Close())
	}
	if err == nil {
		err = Limits{}.orDefaults().check(stream.n, packed.n)
	}
	switch {
	case errors.Is(err, ErrTooLarge):
		return fmt.Errorf("archiving: %w, which no agent unpacks: leave files out with spec.ignore, or of Git with spec.sparseCheckout, or make several sources of it", err)
	case err != nil:
		return fmt.Errorf("archiving: %w", err)
	}
	return nil
}

type archiver struct {
	ctx     context.Context
	tw      *tar.Writer
	stream  *written
	tree    fs.FS
	exclude func(path string, isDir bool) bool
	// entries are counted as those who unpack do, who make the directories that are
	// in paths alone; left has those that were excluded, for as long as they are in none.
	entries int
	left    map[string]bool
	buffer  []byte
}

func (a *archiver) add(name string, d fs.DirEntry, err error) error {
	if err := errors.Join(err, context.Cause(a.ctx)); err != nil {
		return err
	}
	if !d.IsDir() && !d.Type().IsRegular() {
		return nil
	}
	if a.exclude != nil && name != "." && a.exclude(name, d.IsDir()) {
		if d.IsDir() {
			a.left[name] = true
		}
		return nil
	}
	if _, err := cleanName(name); err != nil {
		return fmt.Errorf("%q: %w", shown(name), err)
	}
	if err := a.count(name); err != nil {
		return err
	}
	if d.IsDir() {
		return a.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: archivedDirMode})
	}
	return a.addFile(name)
}

// count takes one entry, and the directories above it that are no entries.
func (a *archiver) count(name string) error {
	a.entries++
	for dir := path.Dir(name); a.left[dir]; dir = path.Dir(dir) {
		delete(a.left, dir)
		a.entries++
	}
	if a.entries > MaxFiles {
		return fmt.Errorf("%w: more than %d entries", ErrTooLarge, MaxFiles)
	}
	return nil
}

func (a *archiver) addFile(name string) error {
	f, err := a.tree.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if a.stream.n+info.Size() > MaxBytes { // it is not read in vain
		return fmt.Errorf("%q: %w", shown(name), tooManyBytes(MaxBytes))
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: archivedFileMode, Size: info.Size()}
	if info.Mode()&0o111 != 0 {
		header.Mode = archivedExecMode
	}
	if err := a.tw.WriteHeader(header); err != nil {
		return err
	}
	_, err = copyThrough(a.buffer, a.tw, f)
	return err
}

// written counts what is written through it.
type written struct {
	w io.Writer
	n int64
}

func (c *written) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// copyThrough is io.CopyBuffer that uses the buffer in any case: files and tars
// have methods of their own, which make a buffer for each file.
func copyThrough(buffer []byte, to io.Writer, from io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buffer)
}
