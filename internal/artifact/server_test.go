package artifact_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/artifact"
)

type answer struct {
	code   int
	header http.Header
	body   string
}

func ask(t *testing.T, method, url string, headers ...string) answer {
	t.Helper()
	g := NewWithT(t)
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	g.Expect(err).NotTo(HaveOccurred())
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	return answer{response.StatusCode, response.Header, string(body)}
}

func TestServerServesAFile(t *testing.T) {
	g := NewWithT(t)
	store, _, _ := newStore(t)
	publish(t, store, "abc", "0123456789")
	server := httptest.NewServer(store)
	defer server.Close()
	url := server.URL + "/gitrepository/team/app/abc.tar.gz"
	etag := `"` + digestOf("0123456789") + `"`

	got := ask(t, "GET", url)
	g.Expect(got.code).To(Equal(200))
	g.Expect(got.body).To(Equal("0123456789"))
	g.Expect(got.header.Get("ETag")).To(Equal(etag))
	g.Expect(got.header.Get("Cache-Control")).To(Equal("private, no-cache"), "whoever is between may not hand it on")
	g.Expect(got.header.Get("Content-Type")).To(Equal("application/gzip"))
	g.Expect(got.header.Get("Last-Modified")).To(BeEmpty())

	got = ask(t, "HEAD", url)
	g.Expect(got.code).To(Equal(200))
	g.Expect(got.body).To(BeEmpty())
	g.Expect(got.header.Get("Content-Length")).To(Equal("10"))

	g.Expect(ask(t, "GET", url, "If-None-Match", etag).code).To(Equal(304))
	got = ask(t, "GET", url, "Range", "bytes=3-5")
	g.Expect(got.code).To(Equal(206))
	g.Expect(got.body).To(Equal("345"))
	got = ask(t, "GET", url, "Range", "bytes=3-5", "If-Range", `"sha256:other"`)
	g.Expect(got.code).To(Equal(200), "a range of another content is no use")
}

func TestServerFollowsLatest(t *testing.T) {
	g := NewWithT(t)
	store, _, _ := newStore(t)
	server := httptest.NewServer(store)
	defer server.Close()
	url := server.URL + "/gitrepository/team/app/latest.tar.gz"
	g.Expect(ask(t, "GET", url).code).To(Equal(404))

	publish(t, store, "abc", "one")
	got := ask(t, "GET", url)
	g.Expect(got.body).To(Equal("one"))
	g.Expect(got.header.Get("Cache-Control")).To(Equal("private, no-cache"))

	publish(t, store, "def", "two")
	got = ask(t, "GET", url)
	g.Expect(got.body).To(Equal("two"))
	g.Expect(got.header.Get("ETag")).To(Equal(`"` + digestOf("two") + `"`))
	g.Expect(ask(t, "GET", server.URL+"/gitrepository/team/app/abc.tar.gz").body).To(Equal("one"))
}

func TestServerEtagFollowsAReplacedFile(t *testing.T) {
	g := NewWithT(t)
	store, _, _ := newStore(t)
	server := httptest.NewServer(store)
	defer server.Close()
	url := server.URL + "/gitrepository/team/app/abc.tar.gz"
	publish(t, store, "abc", "one")
	g.Expect(ask(t, "HEAD", url).header.Get("ETag")).To(Equal(`"` + digestOf("one") + `"`))
	publish(t, store, "abc", "two")
	g.Expect(ask(t, "HEAD", url).header.Get("ETag")).To(Equal(`"` + digestOf("two") + `"`))
}

func TestServerHasNothingElse(t *testing.T) {
	g := NewWithT(t)
	store, dir, _ := newStore(t)
	publish(t, store, "abc", "one")
	own := filepath.Join(dir, "gitrepository", "team", "app")
	g.Expect(os.WriteFile(filepath.Join(dir, "secret"), []byte("s"), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(own, ".hidden"), []byte("s"), 0o600)).To(Succeed())
	g.Expect(os.Symlink("/etc/passwd", filepath.Join(own, "passwd"))).To(Succeed())
	g.Expect(os.Symlink("abc.tar.gz", filepath.Join(own, "other"))).To(Succeed())
	evil := filepath.Join(dir, "gitrepository", "team", "evil")
	g.Expect(os.MkdirAll(evil, 0o700)).To(Succeed())
	g.Expect(os.Symlink("../../../secret", filepath.Join(evil, "latest.tar.gz"))).To(Succeed())
	outside := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(outside, "f"), []byte("s"), 0o600)).To(Succeed())
	g.Expect(os.Symlink(outside, filepath.Join(dir, "gitrepository", "team", "out"))).To(Succeed())
	work, done, err := store.WorkDir()
	g.Expect(err).NotTo(HaveOccurred())
	defer done()
	g.Expect(os.MkdirAll(filepath.Join(work, "a"), 0o700)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(work, "a", "b"), []byte("s"), 0o600)).To(Succeed())

	server := httptest.NewServer(store)
	defer server.Close()
	g.Expect(ask(t, "GET", server.URL+"/").code).To(Equal(200))
	for _, path := range []string{
		"/gitrepository", "/gitrepository/", "/gitrepository/team/app", "/gitrepository/team/app/",
		"/secret", "/gitrepository/team/app/.hidden", "/gitrepository/team/app/passwd", "/gitrepository/team/app/other",
		"/gitrepository/team/evil/latest.tar.gz", "/gitrepository/team/out/f",
		"/.tmp/" + filepath.Base(work) + "/a/b", "/gitrepository/team/app/../app/abc.tar.gz",
		"/gitrepository/team/app/..%2f..%2f..%2fsecret", "//gitrepository/team/app/abc.tar.gz",
		"/gitrepository/team/app/none.tar.gz",
	} {
		got := ask(t, "GET", server.URL+path)
		g.Expect(got.code).To(BeNumerically(">=", 400), path)
		g.Expect(got.body).NotTo(Equal("s"), path)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		g.Expect(ask(t, method, server.URL+"/gitrepository/team/app/abc.tar.gz").code).To(Equal(405))
	}
}

func TestServerRunsUntilItsContextEnds(t *testing.T) {
	g := NewWithT(t)
	store, _, _ := newStore(t)
	publish(t, store, "abc", "one")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	addr := listener.Addr().String()
	server := &artifact.Server{Store: store, Addr: addr}
	g.Expect(server.NeedLeaderElection()).To(BeTrue())
	g.Expect(server.Start(t.Context())).To(MatchError(ContainSubstring("--storage-addr")), "the port is taken")
	g.Expect(listener.Close()).To(Succeed())

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Start(ctx) }()
	g.Eventually(func() error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			err = conn.Close()
		}
		return err
	}).Should(Succeed())
	g.Expect(ask(t, "GET", "http://"+addr+"/gitrepository/team/app/abc.tar.gz").body).To(Equal("one"))
	cancel()
	g.Eventually(ended).Should(Receive(BeNil()))
}
