package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/headwater-dev/headwater/api/meta"
)

const (
	defaultCacheBytes    = 1 << 30
	defaultArtifactBytes = 256 << 20
	defaultAttempts      = 4
	defaultBackoff       = 250 * time.Millisecond
	defaultTimeout       = 2 * time.Minute
	// rememberedFiles is how many verified files a process remembers; one that
	// is forgotten is verified again, no more.
	rememberedFiles = 8192
	// openAttempts covers files that another process evicts between being
	// ready and being opened.
	openAttempts = 10
)

// CacheOptions configure a Cache. Zero means the default.
type CacheOptions struct {
	// Dir holds the cache; processes of one node may share it.
	// --artifact-cache-dir.
	Dir string
	// MaxBytes bounds the cache; 1 GiB. The artifact in use stays even if it
	// is larger. --artifact-cache-size.
	MaxBytes int64
	// MaxArtifactBytes bounds one download; 256 MiB.
	MaxArtifactBytes int64
	// Attempts to download in one Open, while the network or the server
	// fails; 4.
	Attempts int
	// Backoff before the second attempt, doubled before each further one;
	// 250 ms.
	Backoff time.Duration
	// Timeout of one attempt; 2 min.
	Timeout time.Duration
	// Transport for the downloads; one with timeouts of its own.
	Transport http.RoundTripper
	// Now is the clock that orders uses; time.Now when nil.
	Now func() time.Time
}

// Cache keeps downloaded artifacts on disk, by digest. It is safe for
// concurrent use, and between processes that share its directory.
type Cache struct {
	options CacheOptions
	client  *http.Client
	flights singleflight.Group
	// verified holds the files, by path, whose digest this process has checked.
	verified *lru.Cache[string, fs.FileInfo]
	// evicting lets one goroutine at a time list and remove, so that two do
	// not both make room for the same bytes.
	evicting sync.Mutex
}

// NewCache opens the cache and sweeps what killed processes left unfinished.
func NewCache(o CacheOptions) (*Cache, error) {
	if o.Dir == "" {
		return nil, errors.New("the artifact cache needs a directory (--artifact-cache-dir)")
	}
	o.setDefaults()
	if err := sweep(filepath.Join(o.Dir, tempDirName)); err != nil {
		return nil, fmt.Errorf("opening the artifact cache: %w", err)
	}
	verified, err := lru.New[string, fs.FileInfo](rememberedFiles)
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Transport: o.Transport,
		// An artifact's URL is where it is: a redirect would lead a
		// request of the agent to wherever the answer says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c := &Cache{options: o, client: client, verified: verified}
	return c, c.evict("")
}

func (o *CacheOptions) setDefaults() {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultCacheBytes
	}
	if o.MaxArtifactBytes == 0 {
		o.MaxArtifactBytes = defaultArtifactBytes
	}
	if o.Attempts == 0 {
		o.Attempts = defaultAttempts
	}
	if o.Backoff == 0 {
		o.Backoff = defaultBackoff
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Open returns the artifact's file, downloaded if need be, with the content
// that its digest names. Several calls for one digest share one download; each
// waits no longer than its own context. The caller closes the file, which stays
// readable even when it is evicted meanwhile.
//
// The error wraps ErrNotFound when the server does not have the artifact (any
// longer), and ErrDigest when what it has is something else: both mean that the
// source has moved on and its status has to be read again.
func (c *Cache) Open(ctx context.Context, artifact meta.Artifact) (*os.File, error) {
	want, err := parseDigest(artifact.Digest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDigest, err)
	}
	path := filepath.Join(c.options.Dir, want.algorithm, want.hex)
	for range openAttempts {
		f, err := c.openVerified(path)
		if f != nil || err != nil {
			return f, err
		}
		if err := c.share(ctx, artifact, want, path); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("artifact %s: evicted %d times before it could be read; the cache is too small (--artifact-cache-size)",
		artifact.Digest, openAttempts)
}

// openVerified opens a file that this process has checked; nil when it has not.
func (c *Cache) openVerified(path string) (*os.File, error) {
	known, ok := c.verified.Get(path)
	if !ok {
		return nil, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("artifact cache: %w", err)
	}
	info, err := f.Stat()
	if err != nil || !os.SameFile(known, info) || known.Size() != info.Size() {
		return nil, errors.Join(err, f.Close())
	}
	c.touch(path)
	return f, nil
}

// touch notes the use of a file. That is advice for the eviction, so failing
// is no error.
func (c *Cache) touch(path string) {
	now := c.options.Now()
	_ = os.Chtimes(path, now, now)
}

// share makes the file ready, together with all others that want it. The work
// goes on when one of them gives up.
func (c *Cache) share(ctx context.Context, artifact meta.Artifact, want digest, path string) error {
	detached := context.WithoutCancel(ctx)
	result := c.flights.DoChan(path, func() (any, error) {
		return nil, c.ready(detached, artifact, want, path)
	})
	select {
	case <-ctx.Done():
		return fmt.Errorf("artifact %s: %w", artifact.Digest, ctx.Err())
	case r := <-result:
		return r.Err
	}
}

// ready verifies the file if it is there, and downloads it otherwise.
func (c *Cache) ready(ctx context.Context, artifact meta.Artifact, want digest, path string) error {
	present, err := c.check(want, path)
	if err != nil {
		return fmt.Errorf("artifact cache: %w", err)
	}
	if present {
		return nil
	}
	if err := c.download(ctx, artifact, want, path); err != nil {
		return fmt.Errorf("artifact %s: %w", artifact.Digest, err)
	}
	return c.evict(path)
}

// check reads the whole file; a damaged one is removed.
func (c *Cache) check(want digest, path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	err = want.verify(f)
	if errors.Is(err, ErrDigest) {
		return false, removeIfPresent(path)
	}
	if err != nil {
		return false, err
	}
	c.verified.Add(path, info)
	return true, nil
}

// evict removes what was not used for longest until the cache fits its bound.
func (c *Cache) evict(keep string) error {
	c.evicting.Lock()
	defer c.evicting.Unlock()
	var files []file
	for _, algorithm := range []string{"sha256", "sha384", "sha512"} {
		dir := filepath.Join(c.options.Dir, algorithm)
		found, err := list(dir)
		if err != nil {
			return fmt.Errorf("artifact cache: %w", err)
		}
		for _, f := range found {
			f.name = filepath.Join(dir, f.name)
			files = append(files, f)
		}
	}
	for _, path := range evictions(files, keep, c.options.MaxBytes) {
		c.verified.Remove(path)
		if err := removeIfPresent(path); err != nil {
			return fmt.Errorf("artifact cache: %w", err)
		}
	}
	return nil
}

func removeIfPresent(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
