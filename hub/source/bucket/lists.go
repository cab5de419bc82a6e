package bucket

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxLists and maxListed bound what is remembered: larger buckets are fetched
	// whole. What counts is the bytes of all lists together.
	maxLists       = 10_000
	maxListed      = 10_000
	maxListedBytes = 64 << 20
	// entryBytes is about what an entry takes beside its key and etag.
	entryBytes = 100
)

// lists remembers of each object what its last artifact was made of. The one used
// least recently goes first. It is safe for concurrent use.
type lists struct {
	mu    sync.Mutex
	made  *simplelru.LRU[types.NamespacedName, made]
	bytes int
}

// made is what one artifact was made of.
type made struct {
	of    string
	list  list
	bytes int
}

func newLists() (*lists, error) {
	l := &lists{}
	var err error
	l.made, err = simplelru.NewLRU(maxLists, func(_ types.NamespacedName, old made) { l.bytes -= old.bytes })
	return l, err
}

// get returns the list of the artifact that the object was given last.
func (l *lists) get(object types.NamespacedName, artifact string) (list, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, known := l.made.Get(object)
	return last.list, known && last.of == artifact
}

func (l *lists) put(object types.NamespacedName, artifact string, of list) {
	if len(of) > maxListed {
		return
	}
	last := made{of: artifact, list: of, bytes: len(artifact)}
	for key, e := range of {
		last.bytes += len(key) + len(e.etag) + entryBytes
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made.Remove(object)
	l.made.Add(object, last)
	l.bytes += last.bytes
	for l.bytes > maxListedBytes {
		l.made.RemoveOldest()
	}
}
