// Package gitobjects reads the commits and trees of repositories that nobody trusts,
// for the hub and for agents. go-git takes both apart in memory whatever their size: a
// packfile of a few hundred kilobytes can hold one of a gigabyte.
package gitobjects

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	// maxCommit bounds a commit, of which go-git holds several copies.
	maxCommit = 1 << 20
	// maxTrees bounds the directories of a commit together, in bytes as Git has them:
	// 500,000 files with names of 40 bytes. In memory they take some four times that.
	maxTrees = 32 << 20
)

// Bounded is the store of one download. It refuses commits of more than 1 MiB, and
// trees once there were 32 MiB of them. It belongs to one goroutine.
type Bounded struct {
	*filesystem.Storage
	// trees is the size of all that were asked for.
	trees int64
}

// EncodedObject implements storer.EncodedObjectStorer.
func (b *Bounded) EncodedObject(kind plumbing.ObjectType, hash plumbing.Hash) (plumbing.EncodedObject, error) {
	found, err := b.Storage.EncodedObject(kind, hash)
	if err != nil {
		return nil, err
	}
	switch found.Type() {
	case plumbing.CommitObject:
		if found.Size() > maxCommit {
			return nil, fmt.Errorf("it has %d bytes, more than the %d that are read of a commit", found.Size(), maxCommit)
		}
	case plumbing.TreeObject:
		if b.trees += found.Size(); b.trees > maxTrees {
			return nil, fmt.Errorf("the commit's directories have more than %d bytes, without their files", maxTrees)
		}
	}
	return found, nil
}

// Next is the walker's Next. go-git says that the walk is at its end as well where it
// cannot read a directory, which is another error here: what comes behind it is not gone.
func Next(walker *object.TreeWalker, objects storer.EncodedObjectStorer) (name string, entry object.TreeEntry, err error) {
	name, entry, err = walker.Next()
	if !errors.Is(err, io.EOF) || entry.Mode != filemode.Dir {
		return name, entry, err
	}
	if _, err = object.GetTree(objects, entry.Hash); err == nil {
		err = fmt.Errorf("directory %q could not be read", name)
	}
	return name, entry, err
}
