package git

import (
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	// maxCommit bounds a commit, of which go-git holds several copies.
	maxCommit = 1 << 20
	// maxTrees bounds the directories of a commit together, in bytes as Git has them:
	// 500,000 files with names of 40 bytes. In memory they take some four times that.
	maxTrees = 32 << 20
)

// objects are those of one download. They refuse commits and trees that are too
// large to be taken apart, which go-git does in memory whatever their size: a
// packfile of a few hundred kilobytes can hold one of a gigabyte. They belong to
// one goroutine.
type objects struct {
	*filesystem.Storage
	// trees is the size of all that were asked for.
	trees int64
}

// EncodedObject is that of storer.EncodedObjectStorer.
func (o *objects) EncodedObject(kind plumbing.ObjectType, hash plumbing.Hash) (plumbing.EncodedObject, error) {
	found, err := o.Storage.EncodedObject(kind, hash)
	if err != nil {
		return nil, err
	}
	switch found.Type() {
	case plumbing.CommitObject:
		if found.Size() > maxCommit {
			return nil, fmt.Errorf("it has %d bytes, more than the %d that are read of a commit", found.Size(), maxCommit)
		}
	case plumbing.TreeObject:
		if o.trees += found.Size(); o.trees > maxTrees {
			return nil, fmt.Errorf("the commit's directories have more than %d bytes, without their files", maxTrees)
		}
	}
	return found, nil
}
