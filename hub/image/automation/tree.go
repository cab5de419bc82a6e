package automation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/headwater-dev/headwater/internal/gitobjects"
)

// checkout is one commit of a repository, and what is to become of it.
type checkout struct {
	objects storer.EncodedObjectStorer
	commit  *object.Commit
	// made are the objects that are new.
	made []plumbing.Hash
}

// open reads the commit that a tag or branch leads to.
func open(objects storer.EncodedObjectStorer, hash plumbing.Hash) (*checkout, error) {
	commit, err := object.GetCommit(objects, hash)
	if err != nil {
		return nil, fmt.Errorf("reading commit %s: %w", hash, err)
	}
	return &checkout{objects: objects, commit: commit}, nil
}

// skip is a marker or file that was passed over, and where.
type skip struct {
	file string
	Problem
}

// String is a line for people, cut where it is long.
func (s skip) String() string {
	line := s.file + ": " + s.Reason
	if s.Line > 0 {
		line = fmt.Sprintf("%s:%d: %s", s.file, s.Line, s.Reason)
	}
	if len(line) > shownSkip {
		line = strings.ToValidUTF8(line[:shownSkip], "") + "..."
	}
	return line
}

// rewritten is what an edit of the tree gave.
type rewritten struct {
	tree    plumbing.Hash
	changes map[string][]Change
	// skipped are the first of so many skips.
	skipped []skip
	skips   int
	// seen is what has come of each blob: a tree may name one a million times.
	seen map[plumbing.Hash]outcome
}

// outcome is what has come of a blob.
type outcome struct {
	hash     plumbing.Hash
	changes  []Change
	problems []Problem
}

// Bounds of a commit: a few objects can make up a tree that is larger than any disk.
const (
	maxEntries = 500_000
	maxPath    = 4096
	maxChanged = 10_000
)

// rewrite sets the marked values in the files at and below dir.
func (c *checkout) rewrite(ctx context.Context, dir string, lookup images) (*rewritten, error) {
	root, err := c.commit.Tree()
	if err != nil {
		return nil, fmt.Errorf("reading the tree of commit %s: %w", c.commit.Hash, err)
	}
	dir = strings.TrimPrefix(path.Clean("/"+dir), "/")
	below := root
	if dir != "" {
		below, err = root.Tree(dir)
		if errors.Is(err, object.ErrDirectoryNotFound) {
			return nil, fmt.Errorf("spec.update.path %q is no directory of commit %s", dir, c.commit.Hash)
		}
		if err != nil {
			return nil, fmt.Errorf("reading directory %s of commit %s: %w", dir, c.commit.Hash, err)
		}
	}
	done := &rewritten{changes: map[string][]Change{}, seen: map[plumbing.Hash]outcome{}}
	blobs := map[string]plumbing.Hash{}
	walker := object.NewTreeWalker(below, true, nil)
	defer walker.Close()
	for entries := 0; ; entries++ {
		name, entry, err := gitobjects.Next(walker, c.objects)
		if errors.Is(err, io.EOF) {
			break
		}
		switch {
		case err != nil:
		case entries >= maxEntries, len(name) > maxPath, len(blobs) > maxChanged:
			err = fmt.Errorf("it has more than %d files and directories, paths of more than %d bytes, or more than %d files to change", maxEntries, maxPath, maxChanged)
		default:
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("reading the files of commit %s: %w", c.commit.Hash, err)
		}
		if !isManifest(name, entry) {
			continue
		}
		file := path.Join(dir, name)
		hash, err := c.rewriteFile(file, entry, lookup, done)
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", file, err)
		}
		if hash != entry.Hash {
			blobs[file] = hash
		}
	}
	done.tree, err = c.replace(root, "", blobs)
	return done, err
}

// isManifest says whether a file is looked into, as Flux does.
func isManifest(name string, entry object.TreeEntry) bool {
	if entry.Mode != filemode.Regular && entry.Mode != filemode.Executable && entry.Mode != filemode.Deprecated {
		return false
	}
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") || path.Base(name) == "Kustomization"
}

// rewriteFile writes the file anew if need be, and returns the hash of what it
// is then.
func (c *checkout) rewriteFile(file string, entry object.TreeEntry, lookup images, done *rewritten) (plumbing.Hash, error) {
	came, seen := done.seen[entry.Hash]
	if !seen {
		var err error
		if came, err = c.rewriteBlob(entry.Hash, lookup); err != nil {
			return entry.Hash, err
		}
		done.seen[entry.Hash] = came
	}
	done.skips += len(came.problems)
	for _, problem := range came.problems[:min(len(came.problems), shownSkips-len(done.skipped))] {
		done.skipped = append(done.skipped, skip{file: file, Problem: problem})
	}
	if len(came.changes) > 0 {
		done.changes[file] = came.changes
	}
	return came.hash, nil
}

func (c *checkout) rewriteBlob(hash plumbing.Hash, lookup images) (came outcome, err error) {
	came.hash = hash
	blob, err := object.GetBlob(c.objects, hash)
	if err != nil {
		return came, err
	}
	content, err := contentOf(blob)
	if err != nil || !strings.Contains(string(content), token) {
		return came, err
	}
	var edited []byte
	edited, came.changes, came.problems = rewrite(content, lookup)
	if len(came.changes) == 0 {
		return came, nil
	}
	came.hash, err = c.store(plumbing.BlobObject, func(obj plumbing.EncodedObject) error {
		w, err := obj.Writer()
		if err != nil {
			return err
		}
		_, err = w.Write(edited)
		return errors.Join(err, w.Close())
	})
	return came, err
}

// contentOf is the blob, one byte more than is looked into at most.
func contentOf(blob *object.Blob) ([]byte, error) {
	r, err := blob.Reader()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	return content, errors.Join(err, r.Close())
}

// replace gives the tree the new blobs below it, and returns its hash.
func (c *checkout) replace(tree *object.Tree, dir string, blobs map[string]plumbing.Hash) (plumbing.Hash, error) {
	entries := slices.Clone(tree.Entries)
	for i, entry := range entries {
		file := path.Join(dir, entry.Name)
		if hash, ok := blobs[file]; ok {
			entries[i].Hash = hash
		}
		if entry.Mode != filemode.Dir || !anyBelow(blobs, file) {
			continue
		}
		child, err := object.GetTree(c.objects, entry.Hash)
		if err != nil {
			return plumbing.ZeroHash, fmt.Errorf("reading directory %s: %w", file, err)
		}
		if entries[i].Hash, err = c.replace(child, file, blobs); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	if slices.Equal(entries, tree.Entries) {
		return tree.Hash, nil
	}
	return c.store(plumbing.TreeObject, (&object.Tree{Entries: entries}).Encode)
}

func anyBelow(blobs map[string]plumbing.Hash, dir string) bool {
	for file := range blobs {
		if strings.HasPrefix(file, dir+"/") {
			return true
		}
	}
	return false
}

// store adds an object to those that are new.
func (c *checkout) store(kind plumbing.ObjectType, encode func(plumbing.EncodedObject) error) (plumbing.Hash, error) {
	obj := c.objects.NewEncodedObject()
	obj.SetType(kind)
	if err := encode(obj); err != nil {
		return plumbing.ZeroHash, fmt.Errorf("making a %s: %w", kind, err)
	}
	hash, err := c.objects.SetEncodedObject(obj)
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("making a %s: %w", kind, err)
	}
	c.made = append(c.made, hash)
	return hash, nil
}

// commitTree makes a commit of the tree on top of what was checked out.
func (c *checkout) commitTree(tree plumbing.Hash, author object.Signature, message string, sign signer) (plumbing.Hash, error) {
	commit := &object.Commit{
		Author: author, Committer: author, Message: message,
		TreeHash: tree, ParentHashes: []plumbing.Hash{c.commit.Hash},
	}
	if sign != nil {
		unsigned := c.objects.NewEncodedObject()
		if err := commit.EncodeWithoutSignature(unsigned); err != nil {
			return plumbing.ZeroHash, fmt.Errorf("making a commit: %w", err)
		}
		r, err := unsigned.Reader()
		if err != nil {
			return plumbing.ZeroHash, fmt.Errorf("making a commit: %w", err)
		}
		if commit.PGPSignature, err = sign(r); err != nil {
			return plumbing.ZeroHash, fmt.Errorf("signing the commit: %w", err)
		}
	}
	return c.store(plumbing.CommitObject, commit.Encode)
}
