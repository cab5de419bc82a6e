package artifact_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/artifact"
)

// origin serves contents by path and counts the requests.
type origin struct {
	*httptest.Server
	requests atomic.Int32
	handler  http.HandlerFunc
}

func newOrigin(t *testing.T, handler http.HandlerFunc) *origin {
	t.Helper()
	o := &origin{handler: handler}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.requests.Add(1)
		o.handler(w, r)
	}))
	t.Cleanup(o.Close)
	return o
}

// echo answers with the last element of the path.
func echo(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, filepath.Base(r.URL.Path))
}

func (o *origin) artifact(content string) meta.Artifact {
	return meta.Artifact{URL: o.URL + "/" + content, Digest: digestOf(content)}
}

func newCache(t *testing.T, o artifact.CacheOptions) *artifact.Cache {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Backoff == 0 {
		o.Backoff = time.Millisecond
	}
	cache, err := artifact.NewCache(o)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return cache
}

func read(t *testing.T, cache *artifact.Cache, a meta.Artifact) string {
	t.Helper()
	g := NewWithT(t)
	f, err := cache.Open(t.Context(), a)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = f.Close() }()
	body, err := io.ReadAll(f)
	g.Expect(err).NotTo(HaveOccurred())
	return string(body)
}

func cachedFile(dir, content string) string {
	return filepath.Join(dir, "sha256", strings.TrimPrefix(digestOf(content), "sha256:"))
}

func TestCacheFetchesOnce(t *testing.T) {
	g := NewWithT(t)
	o := newOrigin(t, echo)
	dir := t.TempDir()
	cache := newCache(t, artifact.CacheOptions{Dir: dir})
	g.Expect(read(t, cache, o.artifact("one"))).To(Equal("one"))
	g.Expect(read(t, cache, o.artifact("one"))).To(Equal("one"))
	g.Expect(read(t, newCache(t, artifact.CacheOptions{Dir: dir}), o.artifact("one"))).To(Equal("one"), "after a restart, or in another process")
	g.Expect(o.requests.Load()).To(BeEquivalentTo(1))
	g.Expect(filesBelow(t, filepath.Join(dir, ".tmp"))).To(BeEmpty())
}

func TestCacheSharesOneDownload(t *testing.T) {
	g := NewWithT(t)
	const readers = 20
	release := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		echo(w, r)
	})
	cache := newCache(t, artifact.CacheOptions{})
	impatient, giveUp := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() {
		_, err := cache.Open(impatient, o.artifact("one"))
		gaveUp <- err
	}()
	g.Eventually(o.requests.Load).Should(BeEquivalentTo(1))
	giveUp()
	g.Eventually(gaveUp).Should(Receive(MatchError(context.Canceled)), "it waits no longer than its context")

	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() { g.Expect(read(t, cache, o.artifact("one"))).To(Equal("one")) })
	}
	close(release)
	wg.Wait()
	g.Expect(o.requests.Load()).To(BeEquivalentTo(1), "the download outlives the one who began it")
}

func TestCacheRefetchesADamagedFile(t *testing.T) {
	g := NewWithT(t)
	o := newOrigin(t, echo)
	dir := t.TempDir()
	read(t, newCache(t, artifact.CacheOptions{Dir: dir}), o.artifact("one"))
	for _, damage := range []string{"", "xne", "one and more"} {
		g.Expect(os.WriteFile(cachedFile(dir, "one"), []byte(damage), 0o600)).To(Succeed())
		g.Expect(read(t, newCache(t, artifact.CacheOptions{Dir: dir}), o.artifact("one"))).To(Equal("one"), "%q", damage)
	}
	g.Expect(o.requests.Load()).To(BeEquivalentTo(4))
}

func TestCacheRefusesTheWrongContent(t *testing.T) {
	g := NewWithT(t)
	o := newOrigin(t, echo)
	dir := t.TempDir()
	cache := newCache(t, artifact.CacheOptions{Dir: dir})
	a := o.artifact("one")
	a.Digest = digestOf("two")
	_, err := cache.Open(t.Context(), a)
	g.Expect(err).To(MatchError(artifact.ErrDigest))
	g.Expect(err).To(MatchError(ContainSubstring(digestOf("one"))))
	g.Expect(o.requests.Load()).To(BeEquivalentTo(1), "asking again would not help")
	g.Expect(cachedFile(dir, "two")).NotTo(BeAnExistingFile())

	for _, digest := range []string{"", "one", "md5:900150983cd24fb0d6963f7d28e17f72", "sha256:../../x", "sha256:" + strings.Repeat("A", 64)} {
		_, err := cache.Open(t.Context(), meta.Artifact{URL: o.URL + "/one", Digest: digest})
		g.Expect(err).To(MatchError(artifact.ErrDigest), digest)
	}
}

func TestCacheErrors(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "one")
	}
	for _, c := range []struct {
		name     string
		handler  http.HandlerFunc
		requests int
		want     string
		notFound bool
	}{
		{"absent", status(404), 1, "not stored", true},
		{"gone", status(410), 1, "not stored", true},
		{"broken server", status(503), 3, "503", false},
		{"breaks off", cut, 3, "stopped after 3 bytes", false},
		{"refused", status(403), 1, "403", false},
		{"sends elsewhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/one", http.StatusFound) }, 1, "302", false},
		{"too large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 101)) }, 1, "limit of 100 bytes", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			o := newOrigin(t, c.handler)
			cache := newCache(t, artifact.CacheOptions{Attempts: 3, MaxArtifactBytes: 100})
			_, err := cache.Open(t.Context(), o.artifact("one"))
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			g.Expect(err).To(MatchError(ContainSubstring(digestOf("one"))))
			g.Expect(o.requests.Load()).To(BeEquivalentTo(c.requests))
			if c.notFound {
				g.Expect(err).To(MatchError(artifact.ErrNotFound))
			} else {
				g.Expect(err).NotTo(MatchError(artifact.ErrNotFound))
			}
		})
	}
}

func TestCacheTriesAgain(t *testing.T) {
	g := NewWithT(t)
	o := newOrigin(t, nil)
	o.handler = func(w http.ResponseWriter, r *http.Request) {
		if o.requests.Load() < 3 {
			w.WriteHeader(500)
			return
		}
		echo(w, r)
	}
	g.Expect(read(t, newCache(t, artifact.CacheOptions{Attempts: 3}), o.artifact("one"))).To(Equal("one"))
}

func TestCacheDoesNotHangOnASilentServer(t *testing.T) {
	g := NewWithT(t)
	done := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "on")
		w.(http.Flusher).Flush()
		<-done
	})
	defer close(done)
	cache := newCache(t, artifact.CacheOptions{Attempts: 2, Timeout: 50 * time.Millisecond})
	_, err := cache.Open(t.Context(), o.artifact("one"))
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(o.requests.Load()).To(BeEquivalentTo(2))
}

func TestCacheKeepsCredentialsOutOfErrors(t *testing.T) {
	g := NewWithT(t)
	cache := newCache(t, artifact.CacheOptions{Attempts: 1})
	for _, url := range []string{"http://user:hunter2@127.0.0.1:1/x?token=hunter2", "http://user:hunter2@[::1/x"} {
		_, err := cache.Open(t.Context(), meta.Artifact{URL: url, Digest: digestOf("one")})
		g.Expect(err).To(HaveOccurred())
		g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	}
}

func TestCacheEvictsTheLeastRecentlyUsed(t *testing.T) {
	g := NewWithT(t)
	o := newOrigin(t, echo)
	clock := &clockwork{now: time.Unix(1_700_000_000, 0)}
	options := artifact.CacheOptions{Dir: t.TempDir(), MaxBytes: 8, Now: func() time.Time {
		clock.now = clock.now.Add(time.Second)
		return clock.now
	}}
	cache := newCache(t, options)
	read(t, cache, o.artifact("aaa"))
	read(t, cache, o.artifact("bbb"))
	open, err := cache.Open(t.Context(), o.artifact("bbb"))
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = open.Close() }()

	cache = newCache(t, options) // the order of use survives a restart
	read(t, cache, o.artifact("aaa"))
	read(t, cache, o.artifact("aaa"))
	read(t, cache, o.artifact("ccc"))
	g.Expect(cachedFile(options.Dir, "aaa")).To(BeARegularFile())
	g.Expect(cachedFile(options.Dir, "bbb")).NotTo(BeAnExistingFile())
	g.Expect(cachedFile(options.Dir, "ccc")).To(BeARegularFile())
	body, err := io.ReadAll(open)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(body)).To(Equal("bbb"), "an open file stays readable")

	g.Expect(read(t, cache, o.artifact("longer-than-all"))).To(Equal("longer-than-all"), "one that is too large alone can still be used")
	g.Expect(filesBelow(t, filepath.Join(options.Dir, "sha256"))).To(HaveLen(1))
}

func TestCachesOfTwoProcessesShareADirectory(t *testing.T) {
	g := NewWithT(t)
	o := newOrigin(t, echo)
	dir := t.TempDir()
	options := artifact.CacheOptions{Dir: dir, MaxBytes: 40}
	caches := []*artifact.Cache{newCache(t, options), newCache(t, options)}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 25 {
				content := fmt.Sprintf("content-%d", (i+n)%6)
				g.Expect(read(t, caches[i%2], o.artifact(content))).To(Equal(content))
			}
		})
	}
	wg.Wait()
}
