package index

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"
)

// maxCached bounds the number of indexes; what counts is their bytes.
const maxCached = 10_000

// Cache holds indexes by the digest of what they were read from, for all
// objects that use them. It is bounded in bytes: the one used least recently
// goes first, and one that alone is larger is not kept. It is safe for
// concurrent use.
type Cache struct {
	max int64

	mu      sync.Mutex
	indexes *simplelru.LRU[string, *Index]
	bytes   int64

	flights singleflight.Group
	// reading lets one index be read at a time, so that memory is that of one.
	reading sync.Mutex
}

// NewCache makes a cache of so many bytes.
func NewCache(bytes int64) *Cache {
	c := &Cache{max: bytes}
	// The error is about a size below one.
	c.indexes, _ = simplelru.NewLRU(maxCached, func(_ string, old *Index) { c.bytes -= old.Bytes() })
	return c
}

// Get returns the index of the digest; read makes it when it is not there. Those
// who ask for the same at once wait for one read.
func (c *Cache) Get(digest string, read func() (*Index, error)) (*Index, error) {
	if known, ok := c.known(digest); ok {
		return known, nil
	}
	made, err, _ := c.flights.Do(digest, func() (any, error) {
		if known, ok := c.known(digest); ok {
			return known, nil
		}
		c.reading.Lock()
		defer c.reading.Unlock()
		made, err := read()
		if err != nil {
			return nil, err
		}
		c.keep(digest, made)
		return made, nil
	})
	if err != nil {
		return nil, err
	}
	return made.(*Index), nil
}

// Bytes is about how much memory the indexes take.
func (c *Cache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

func (c *Cache) known(digest string) (*Index, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.indexes.Get(digest)
}

func (c *Cache) keep(digest string, made *Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if made.Bytes() > c.max || c.indexes.Contains(digest) {
		return
	}
	c.indexes.Add(digest, made)
	c.bytes += made.Bytes()
	for c.bytes > c.max {
		c.indexes.RemoveOldest()
	}
}

// Replace reads the index of the digest whether it is known or not, for those who
// want what reading it writes.
func (c *Cache) Replace(digest string, read func() (*Index, error)) error {
	c.reading.Lock()
	defer c.reading.Unlock()
	made, err := read()
	if err == nil {
		c.keep(digest, made)
	}
	return err
}
