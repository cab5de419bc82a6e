package git

import (
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// unlimited is how many objects there may be: they are bounded in bytes.
	unlimited = 1 << 30
	// objectOverhead is about what an object takes besides its content.
	objectOverhead = 256
)

// recent are the objects of one download that were last used, as a cache.Object.
// Unlike go-git's own it counts what small ones take besides their content, which
// is most of it where there are a million of them. It belongs to one goroutine.
type recent struct {
	most    int64
	used    int64
	objects *simplelru.LRU[plumbing.Hash, plumbing.EncodedObject]
}

func newRecent(most int64) *recent {
	r := &recent{most: most}
	r.objects, _ = simplelru.NewLRU(unlimited, func(_ plumbing.Hash, gone plumbing.EncodedObject) { r.used -= footprint(gone) }) // fails for no number above 0
	return r
}

func footprint(object plumbing.EncodedObject) int64 { return object.Size() + objectOverhead }

// Put keeps the object, in place of those that were not used for longest.
func (r *recent) Put(object plumbing.EncodedObject) {
	hash := object.Hash()
	if r.objects.Contains(hash) || footprint(object) > r.most {
		return
	}
	r.objects.Add(hash, object)
	for r.used += footprint(object); r.used > r.most; {
		r.objects.RemoveOldest()
	}
}

// Get returns an object that is kept.
func (r *recent) Get(hash plumbing.Hash) (plumbing.EncodedObject, bool) { return r.objects.Get(hash) }

// Clear drops all of them.
func (r *recent) Clear() { r.objects.Purge() }
