package git

import (
	"cmp"
	"errors"
	"path"
	"slices"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
)

// index is the index of a packfile that is being read: unlike go-git's, it grows.
type index struct {
	entries []entry // as they come in the packfile
	hashes  map[plumbing.Hash]int
}

// entry is an object of a packfile.
type entry struct {
	offset int64
	// hash is zero until the object is known.
	hash plumbing.Hash
	crc  uint32
	// depth is how many deltas lead to it.
	depth int
}

func newIndex() *index { return &index{hashes: map[plumbing.Hash]int{}} }

// add starts an entry, and returns its number.
func (x *index) add(offset int64) int {
	x.entries = append(x.entries, entry{offset: offset})
	return len(x.entries) - 1
}

func (x *index) name(number int, hash plumbing.Hash) {
	x.entries[number].hash = hash
	if _, twice := x.hashes[hash]; !twice {
		x.hashes[hash] = number
	}
}

// find returns the number of a known object.
func (x *index) find(of base) (int, bool) {
	if !of.hash.IsZero() {
		number, ok := x.hashes[of.hash]
		return number, ok
	}
	number, ok := slices.BinarySearchFunc(x.entries, of.offset, func(e entry, offset int64) int { return cmp.Compare(e.offset, offset) })
	return number, ok && !x.entries[number].hash.IsZero()
}

// save writes the index, and moves the packfile beside it under the name that
// Git looks for.
func (x *index) save(files billy.Filesystem, incoming string, sum plumbing.Hash) (err error) {
	var w idxfile.Writer
	for _, e := range x.entries {
		w.Add(e.hash, uint64(e.offset), e.crc)
	}
	if err := w.OnFooter(sum); err != nil {
		return err
	}
	content, err := w.Index()
	if err != nil {
		return err
	}
	name := path.Join(packDir, "pack-"+sum.String())
	file, err := files.Create(name + ".idx")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := idxfile.NewEncoder(file).Encode(content); err != nil {
		return err
	}
	return files.Rename(incoming, name+".pack")
}

// Contains is that of idxfile.Index, as are those below.
func (x *index) Contains(hash plumbing.Hash) (bool, error) {
	_, ok := x.hashes[hash]
	return ok, nil
}

// FindOffset returns where an object is.
func (x *index) FindOffset(hash plumbing.Hash) (int64, error) {
	number, ok := x.hashes[hash]
	if !ok {
		return 0, plumbing.ErrObjectNotFound
	}
	return x.entries[number].offset, nil
}

// FindHash returns which object is at an offset.
func (x *index) FindHash(offset int64) (plumbing.Hash, error) {
	number, ok := x.find(base{offset: offset})
	if !ok {
		return plumbing.ZeroHash, plumbing.ErrObjectNotFound
	}
	return x.entries[number].hash, nil
}

// FindCRC32 returns the checksum of an object as it is in the packfile.
func (x *index) FindCRC32(hash plumbing.Hash) (uint32, error) {
	number, ok := x.hashes[hash]
	if !ok {
		return 0, plumbing.ErrObjectNotFound
	}
	return x.entries[number].crc, nil
}

// Count returns how many objects are known.
func (x *index) Count() (int64, error) { return int64(len(x.hashes)), nil }

// Entries is for those who go through a packfile, which nobody does before it is
// complete.
func (x *index) Entries() (idxfile.EntryIter, error) { return nil, errors.ErrUnsupported }

// EntriesByOffset is likewise.
func (x *index) EntriesByOffset() (idxfile.EntryIter, error) { return nil, errors.ErrUnsupported }
