package git

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

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

	// maxFiles and maxBytes bound what is read of a commit: a few objects can
	// make up a tree that is larger than any disk, since it can hold one tree
	// many times. Agents take a fifth, and an eighth, of that, without what is
	// excluded.
	maxFiles = 500_000
	maxBytes = 4 << 30
	// maxPath is the longest path that Linux takes.
	maxPath = 4096
	// maxPaths bounds all of them together, in bytes: those of directories and
	// submodules are held in memory.
	maxPaths = 64 << 20
)

// tree is the files of a commit as a file system that is read only. It is read
// from Git's objects: the directories at once, each file when it is opened.
// Links are not part of it, and directories come with their files. It belongs
// to one goroutine.
type tree struct {
	objects storer.EncodedObjectStorer
	dirs    map[string]*node
	bytes   int64 // of the files that were opened
	// message is the commit's.
	message string
	// links are the commits of submodules, by path.
	links map[string]plumbing.Hash
	// root has the file that says where they are, also where it is not one of
	// the files that were asked for.
	root *object.Tree
}

// readTree lists the files of the commit: all, or those below the directories
// that are named.
func readTree(ctx context.Context, objects storer.EncodedObjectStorer, hash plumbing.Hash, only []string) (*tree, error) {
	commit, err := object.GetCommit(objects, hash)
	if err != nil {
		return nil, fmt.Errorf("reading the commit: %w", err)
	}
	root, err := commit.Tree()
	if err != nil {
		return nil, fmt.Errorf("reading the commit's tree: %w", err)
	}
	only, err = directories(root, only)
	if err != nil {
		return nil, err
	}
	t := &tree{objects: objects, dirs: map[string]*node{}, message: commit.Message, links: map[string]plumbing.Hash{}, root: root}
	l := lister{tree: t, only: only}
	top, err := l.directory(ctx, ".", root)
	t.dirs["."] = top // empty as it may be
	return t, err
}

// directories are those of spec.sparseCheckout, in plain form. Each has to be
// there.
func directories(root *object.Tree, only []string) ([]string, error) {
	var clean []string
	for _, dir := range only {
		plain := strings.TrimPrefix(path.Clean("/"+dir), "/")
		if plain == "" {
			return nil, nil // the root is everything
		}
		if entry, err := root.FindEntry(plain); err != nil || entry.Mode != filemode.Dir {
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

// lister fills a tree.
type lister struct {
	*tree
	only           []string
	entries, paths int
}

// directory lists a directory with all that is below it.
func (l *lister) directory(ctx context.Context, name string, from *object.Tree) (*node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := l.count(name, from.Entries); err != nil {
		return nil, err
	}
	dir := &node{name: path.Base(name), mode: fs.ModeDir | dirMode}
	for _, entry := range from.Entries {
		child, err := l.entry(ctx, name, entry)
		if err != nil {
			return nil, err
		}
		if child != nil {
			dir.children = append(dir.children, child)
		}
	}
	// Git sorts a directory as if its name ended with a slash.
	slices.SortFunc(dir.children, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	for i, child := range dir.children {
		if i > 0 && child.name == dir.children[i-1].name {
			return nil, fmt.Errorf("%q is in the commit twice", path.Join(name, child.name))
		}
	}
	if len(dir.children) > 0 {
		l.dirs[name] = dir
	}
	return dir, nil
}

// count takes all entries of a directory at once: they are in memory for as long as
// what is below them is listed.
func (l *lister) count(dir string, entries []object.TreeEntry) error {
	if l.entries += len(entries); l.entries > maxFiles {
		return fmt.Errorf("the commit has more than %d files: name the directories that are needed in spec.sparseCheckout", maxFiles)
	}
	for _, entry := range entries {
		l.paths += len(dir) + len(entry.Name)
	}
	if l.paths > maxPaths {
		return fmt.Errorf("the paths of the commit's files have more than %d bytes: name the directories that are needed in spec.sparseCheckout", maxPaths)
	}
	return nil
}

// entry is nil for what does not become part of the tree.
func (l *lister) entry(ctx context.Context, dir string, entry object.TreeEntry) (*node, error) {
	name := path.Join(dir, entry.Name)
	if !fs.ValidPath(entry.Name) || strings.Contains(entry.Name, "/") || entry.Name == "." || len(name) > maxPath {
		return nil, fmt.Errorf("the commit has a file in %.100q by a name that no file system takes: %.100q", dir, entry.Name)
	}
	switch entry.Mode {
	case filemode.Dir:
		if !l.wanted(name) && !l.leadsOn(name) {
			return nil, nil
		}
		return l.below(ctx, name, entry.Hash)
	case filemode.Regular, filemode.Deprecated, filemode.Executable:
		if l.wanted(name) {
			return fileOf(entry), nil
		}
	case filemode.Submodule:
		if l.wanted(name) {
			l.links[name] = entry.Hash
		}
	}
	return nil, nil
}

func fileOf(entry object.TreeEntry) *node {
	f := &node{name: entry.Name, mode: fileMode, hash: entry.Hash}
	if entry.Mode == filemode.Executable {
		f.mode = execMode
	}
	return f
}

func (l *lister) below(ctx context.Context, name string, hash plumbing.Hash) (*node, error) {
	from, err := object.GetTree(l.objects, hash)
	if err != nil {
		return nil, fmt.Errorf("reading the tree of %q: %w", name, err)
	}
	dir, err := l.directory(ctx, name, from)
	if err != nil || len(dir.children) == 0 {
		return nil, err
	}
	return dir, nil
}

// wanted says whether the path is one of those below the named directories, or
// such a directory itself.
func (l *lister) wanted(name string) bool {
	return len(l.only) == 0 || slices.ContainsFunc(l.only, func(dir string) bool { return strings.HasPrefix(name+"/", dir) })
}

// leadsOn says whether the directory is above a named one.
func (l *lister) leadsOn(name string) bool {
	return slices.ContainsFunc(l.only, func(dir string) bool { return strings.HasPrefix(dir, name+"/") })
}

// find returns a directory or a file.
func (t *tree) find(op, name string) (*node, error) {
	if dir, ok := t.dirs[name]; ok {
		return dir, nil
	}
	if dir, ok := t.dirs[path.Dir(name)]; ok {
		i, found := slices.BinarySearchFunc(dir.children, path.Base(name), func(n *node, name string) int { return cmp.Compare(n.name, name) })
		if found {
			return dir.children[i], nil
		}
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// Stat is that of fs.StatFS.
func (t *tree) Stat(name string) (fs.FileInfo, error) { return t.find("stat", name) }

// ReadDir is that of fs.ReadDirFS.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	dir, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, len(dir.children))
	for i, child := range dir.children {
		entries[i] = child
	}
	return entries, nil
}

// Open opens a file; directories are for ReadDir alone.
func (t *tree) Open(name string) (fs.File, error) {
	found, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if found.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("it is a directory")}
	}
	content, err := object.GetBlob(t.objects, found.hash)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	if t.bytes += content.Size; t.bytes > maxBytes {
		return nil, fmt.Errorf("the commit has more than %d bytes: name the directories that are needed in spec.sparseCheckout", int64(maxBytes))
	}
	reader, err := content.Reader()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &file{ReadCloser: reader, node: found, size: content.Size}, nil
}

// modules is the content of .gitmodules; nil when there is none.
func (t *tree) modules() ([]byte, error) {
	file, err := t.root.File(modulesFile)
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

// file is an open one. Git's trees have no sizes: they are known from here on.
type file struct {
	io.ReadCloser
	*node
	size int64
}

func (f *file) Stat() (fs.FileInfo, error) { return f, nil }
func (f *file) Size() int64                { return f.size }

// node is a file or a directory, with what a tree says of it.
type node struct {
	name     string
	mode     fs.FileMode
	hash     plumbing.Hash
	children []*node // by name
}

func (n *node) Name() string               { return n.name }
func (n *node) Size() int64                { return 0 } // see file
func (n *node) Mode() fs.FileMode          { return n.mode }
func (n *node) Type() fs.FileMode          { return n.mode.Type() }
func (n *node) IsDir() bool                { return n.mode.IsDir() }
func (n *node) ModTime() time.Time         { return time.Time{} }
func (n *node) Sys() any                   { return nil }
func (n *node) Info() (fs.FileInfo, error) { return n, nil }
