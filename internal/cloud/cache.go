package cloud

import (
	"crypto/sha256"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// key is a digest, since what it is made of holds the password of a proxy.
type key [sha256.Size]byte

func keyOf(parts ...string) key { return sha256.Sum256([]byte(strings.Join(parts, "\x00"))) }

// cache keeps logins until shortly before they end, the least recently used one
// giving way. The zero value is empty.
type cache struct {
	mu   sync.Mutex
	kept *lru.Cache[key, entry]
}

type entry struct {
	login Login
	until time.Time
}

func (c *cache) find(k key, now time.Time) (Login, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		return Login{}, false
	}
	found, ok := c.kept.Get(k)
	return found.login, ok && now.Before(found.until)
}

// keep keeps a login for four fifths of its life: one that is found is to last
// for the work that follows.
func (c *cache) keep(login Login, now time.Time, most time.Duration, size int) {
	life := min(login.Expires.Sub(now)*4/5, most)
	if life <= 0 || size <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		kept, err := lru.New[key, entry](size)
		if err != nil {
			return // the size is good: it was looked at
		}
		c.kept = kept
	}
	c.kept.Add(login.key, entry{login: login, until: now.Add(life)})
}

func (c *cache) forget(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept != nil {
		c.kept.Remove(k)
	}
}
