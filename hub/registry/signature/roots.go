package signature

import (
	"context"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"golang.org/x/sync/singleflight"
)

const (
	// rootsFresh is how long fetched roots are used without asking again.
	rootsFresh = 24 * time.Hour
	// rootsKept is how long they are used although asking fails.
	rootsKept = 7 * 24 * time.Hour
)

// Roots are those of the public Sigstore, fetched by TUF when they are first
// needed and once a day from then on. It is safe for concurrent use.
type Roots struct {
	// URL of the repository, and the root.json that the trust in it starts from;
	// empty for the public one.
	URL  string
	Root []byte
	// Now is the clock; nil for the real one.
	Now func() time.Time

	one     singleflight.Group
	mu      sync.Mutex
	known   *root.TrustedRoot
	fetched time.Time
}

func (r *Roots) get(ctx context.Context) (*root.TrustedRoot, error) {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	known, age := r.kept(now())
	if known != nil && age < rootsFresh {
		return known, nil
	}
	// Detached from the run, for it is fetched for all; its own timeouts end it.
	answer := r.one.DoChan("", func() (any, error) { return r.fetch(now()) })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case got := <-answer:
		if got.Err == nil {
			return got.Val.(*root.TrustedRoot), nil
		}
		if known != nil && age < rootsKept {
			return known, nil
		}
		return nil, got.Err
	}
}

func (r *Roots) kept(now time.Time) (*root.TrustedRoot, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known, now.Sub(r.fetched)
}

func (r *Roots) fetch(now time.Time) (*root.TrustedRoot, error) {
	options := tuf.DefaultOptions().WithDisableLocalCache()
	if r.URL != "" {
		options = options.WithRepositoryBaseURL(r.URL)
	}
	if len(r.Root) > 0 {
		options = options.WithRoot(r.Root)
	}
	known, err := root.FetchTrustedRootWithOptions(options)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.fetched = known, now
	return known, nil
}
