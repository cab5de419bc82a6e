package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
	execMode = 0o700

	modulesFile = ".gitmodules"
	maxModules  = 1 << 20

	// maxFiles and maxBytes bound what a commit is written out to. Agents take
	// a fifth, and an eighth, of that, without what is excluded.
	maxFiles = 500_000
	maxBytes = 4 << 30
)

// checkedOut is what was found in a commit besides its files.
type checkedOut struct {
	message string
	// links are the commits of submodules, by path.
	links map[string]plumbing.Hash
	// tree has the file that says where they are.
	tree *object.Tree
}

// checkOut writes the files of the commit into root: all, or those below the
// directories that are named.
func checkOut(ctx context.Context, objects storer.EncodedObjectStorer, hash plumbing.Hash, root *os.Root, only []string) (checkedOut, error) {
	commit, err := object.GetCommit(objects, hash)
	if err != nil {
		return checkedOut{}, fmt.Errorf("reading the commit: %w", err)
	}
	tree, err := commit.Tree()
	if err != nil {
		return checkedOut{}, fmt.Errorf("reading the commit's tree: %w", err)
	}
	only, err = directories(tree, only)
	if err != nil {
		return checkedOut{}, err
	}
	if err := checkSize(ctx, tree, only); err != nil {
		return checkedOut{}, err
	}
	done := checkedOut{message: commit.Message, links: map[string]plumbing.Hash{}, tree: tree}
	files := writer{root: root}
	defer files.close()
	walker := object.NewTreeWalker(tree, true, nil)
	defer walker.Close()
	for {
		name, entry, err := walker.Next()
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case err != nil, !below(name, only):
		case entry.Mode == filemode.Submodule:
			done.links[name] = entry.Hash
		default:
			err = files.write(objects, name, entry)
		}
		if err != nil {
			return checkedOut{}, fmt.Errorf("writing %q: %w", name, err)
		}
	}
}

// checkSize counts the files before one is written: a few objects can make up a
// tree that is larger than any disk, since it can hold one tree many times.
func checkSize(ctx context.Context, tree *object.Tree, only []string) error {
	walker := object.NewTreeWalker(tree, true, nil)
	defer walker.Close()
	for files := 0; files <= maxFiles; {
		name, entry, err := walker.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("reading the commit's tree: %w", err)
		}
		if entry.Mode != filemode.Dir && below(name, only) {
			files++
		}
	}
	return fmt.Errorf("the commit has more than %d files: name the directories that are needed in spec.sparseCheckout", maxFiles)
}

// directories are those of spec.sparseCheckout, in plain form. Each has to be
// there.
func directories(tree *object.Tree, only []string) ([]string, error) {
	var clean []string
	for _, dir := range only {
		plain := strings.TrimPrefix(path.Clean("/"+dir), "/")
		if plain == "" {
			return nil, nil // the root is everything
		}
		if entry, err := tree.FindEntry(plain); err != nil || entry.Mode != filemode.Dir {
			return nil, &noDirectory{dir}
		}
		clean = append(clean, plain+"/")
	}
	return clean, nil
}

// noDirectory says that the spec names a directory that the commit does not have.
type noDirectory struct{ name string }

func (e *noDirectory) Error() string {
	return fmt.Sprintf("spec.sparseCheckout: the directory %q does not exist", e.name)
}

func below(name string, only []string) bool {
	return len(only) == 0 || slices.ContainsFunc(only, func(dir string) bool { return strings.HasPrefix(name, dir) })
}

// modulesOf is the content of .gitmodules; nil when there is none.
func modulesOf(tree *object.Tree) ([]byte, error) {
	file, err := tree.File(modulesFile)
	if errors.Is(err, object.ErrFileNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", modulesFile, err)
	}
	if file.Size > maxModules {
		return nil, fmt.Errorf("%s has more than %d bytes", modulesFile, maxModules)
	}
	content, err := file.Contents()
	return []byte(content), err
}

// writer writes files below a root. It keeps the directory of the last one open:
// a tree is walked directory by directory.
type writer struct {
	root  *os.Root
	bytes int64 // written
	dir   string
	in    *os.Root // nil as long as dir is the root
}

func (w *writer) close() {
	if w.in != nil {
		_ = w.in.Close() // nothing was written to the directory itself
		w.in = nil
	}
}

// enter makes the directory and returns it.
func (w *writer) enter(dir string) (*os.Root, error) {
	if dir == "." {
		return w.root, nil
	}
	if w.in != nil && dir == w.dir {
		return w.in, nil
	}
	w.close()
	if err := w.root.MkdirAll(dir, dirMode); err != nil {
		return nil, err
	}
	var err error
	w.dir = dir
	w.in, err = w.root.OpenRoot(dir)
	return w.in, err
}

// write writes a file. Links are not part of an artifact, and directories come
// with their files.
func (w *writer) write(objects storer.EncodedObjectStorer, name string, entry object.TreeEntry) error {
	mode := os.FileMode(fileMode)
	switch entry.Mode {
	case filemode.Regular, filemode.Deprecated:
	case filemode.Executable:
		mode = execMode
	default:
		return nil
	}
	blob, err := object.GetBlob(objects, entry.Hash)
	if err != nil {
		return err
	}
	if w.bytes += blob.Size; w.bytes > maxBytes {
		return fmt.Errorf("the commit has more than %d bytes: name the directories that are needed in spec.sparseCheckout", int64(maxBytes))
	}
	content, err := blob.Reader()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	local := filepath.FromSlash(name)
	dir, err := w.enter(filepath.Dir(local))
	if err != nil {
		return err
	}
	f, err := dir.OpenFile(filepath.Base(local), os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}
