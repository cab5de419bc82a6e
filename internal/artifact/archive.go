package artifact

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
// can take one of them in again. A path that UnpackTo would refuse for its
// length or depth is an error here, before an agent meets it.
//
// The same tree gives the same bytes.
func Archive(ctx context.Context, w io.Writer, tree fs.FS, exclude func(path string, isDir bool) bool) error {
	// Half the time of the default level, for a fifteenth more bytes of manifests.
	gz, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // fails for no level of gzip's own
	a := &archiver{ctx: ctx, tw: tar.NewWriter(gz), tree: tree, exclude: exclude, buffer: make([]byte, copyBytes)}
	err := fs.WalkDir(tree, ".", a.add)
	if err == nil {
		err = errors.Join(a.tw.Close(), gz.Close())
	}
	if err != nil {
		return fmt.Errorf("archiving: %w", err)
	}
	return nil
}

type archiver struct {
	ctx     context.Context
	tw      *tar.Writer
	tree    fs.FS
	exclude func(path string, isDir bool) bool
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
		return nil
	}
	if err := checkPath(name); err != nil {
		return fmt.Errorf("%q: %w", shown(name), err)
	}
	if d.IsDir() {
		return a.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: archivedDirMode})
	}
	return a.addFile(name)
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

// copyThrough is io.CopyBuffer that uses the buffer in any case: files and tars
// have methods of their own, which make a buffer for each file.
func copyThrough(buffer []byte, to io.Writer, from io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buffer)
}
