package artifact_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/artifact"
)

const (
	downloads = 1000
	clients   = 50
	fileBytes = 5_000_000
)

func newBenchStore(b *testing.B) (*artifact.Store, string) {
	b.Helper()
	dir := b.TempDir()
	// An hour after everything that is written meanwhile.
	later := func() time.Time { return time.Now().Add(time.Hour) }
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: dir, AdvertisedAddr: "hub.example:9090", Now: later})
	NewWithT(b).Expect(err).NotTo(HaveOccurred())
	return store, dir
}

func publishRandom(b *testing.B, store *artifact.Store) *meta.Artifact {
	b.Helper()
	stored, err := store.Publish(b.Context(), app, "r", "abc.tar.gz", func(w io.Writer) error {
		_, err := io.CopyN(w, rand.Reader, fileBytes)
		return err
	})
	NewWithT(b).Expect(err).NotTo(HaveOccurred())
	return stored
}

// BenchmarkServer holds 1,000 downloads of 5 MB by 50 clients against the file
// server of net/http, one after the other: its metric is the share of that one's
// speed.
func BenchmarkServer(b *testing.B) {
	store, dir := newBenchStore(b)
	stored := publishRandom(b, store)
	floor := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer floor.Close()
	addr := serve(b, store)
	var shares []float64
	for b.Loop() {
		theirs := download(b, floor.URL+"/"+stored.Path)
		ours := download(b, "http://"+addr+"/"+stored.Path)
		b.Logf("net/http: %.2f s; the store: %.2f s", theirs.Seconds(), ours.Seconds())
		shares = append(shares, theirs.Seconds()/ours.Seconds())
	}
	slices.Sort(shares)
	b.ReportMetric(shares[len(shares)/2], "x-net/http")
}

// serve runs the server and returns its address.
func serve(b *testing.B, store *artifact.Store) string {
	b.Helper()
	g := NewWithT(b)
	listener, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	addr := listener.Addr().String()
	g.Expect(listener.Close()).To(Succeed())
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- (&artifact.Server{Store: store, Addr: addr}).Start(ctx) }()
	b.Cleanup(func() {
		cancel()
		NewWithT(b).Eventually(ended).Should(Receive(BeNil()))
	})
	g.Eventually(func() error {
		conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", addr)
		if err == nil {
			err = conn.Close()
		}
		return err
	}).Should(Succeed())
	return addr
}

// download fetches the file again and again, and returns how long that took.
func download(b *testing.B, url string) time.Duration {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(clients)
	for range downloads {
		group.Go(func() error { return fetch(b.Context(), transport, url) })
	}
	NewWithT(b).Expect(group.Wait()).To(Succeed())
	return time.Since(began)
}

func fetch(ctx context.Context, transport *http.Transport, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, response.Body)
	if err == nil && n != fileBytes {
		err = fmt.Errorf("%d bytes came with status %d", n, response.StatusCode)
	}
	return errors.Join(err, response.Body.Close())
}

// BenchmarkVerify looks at an artifact of 5 MB as each reconcile does.
func BenchmarkVerify(b *testing.B) {
	store, _ := newBenchStore(b)
	stored := publishRandom(b, store)
	for b.Loop() {
		NewWithT(b).Expect(store.Verify(stored)).To(Succeed())
	}
}
