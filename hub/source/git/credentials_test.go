package git_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/testenv"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

// front is a server in front of a repository that notes who asked.
type front struct {
	*httptest.Server
	mu    sync.Mutex
	seen  []string
	guard func(w http.ResponseWriter, r *http.Request) bool
	bytes func(r *http.Request) int
}

// turn lets the guard see each request from now on; one that it answers goes no
// further.
func (f *front) turn(guard func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.guard = guard
}

// limit cuts the connection after so many bytes of an answer.
func (f *front) limit(bytes func(r *http.Request) int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes = bytes
}

func newFront(t *testing.T, repository *testenv.Repository, start func(http.Handler) *httptest.Server) *front {
	t.Helper()
	behind, err := url.Parse(strings.TrimSuffix(repository.URL, "/fleet.git"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind) }}
	f := &front{}
	f.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.seen = append(f.seen, r.Header.Get("Authorization"))
		guard, bytes := f.guard, f.bytes
		f.mu.Unlock()
		if bytes != nil {
			w = &cut{w, bytes(r)}
		}
		if guard == nil || guard(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *front) authorizations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.seen...)
}

func TestBearerToken(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"a": "1"})
	server := newFront(t, repository, httptest.NewServer)
	obj := newObject(server.URL + "/fleet.git")
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "token"}
	fetch(t, newFetcher(newSecret("token", map[string]string{"bearerToken": "t0ken"})), obj)
	g.Expect(server.authorizations()).To(HaveEach("Bearer t0ken"))
	g.Expect(server.authorizations()).To(HaveLen(3), "one to resolve, two to fetch")
}

func TestPrivateCA(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"a": "1"})
	server := newFront(t, repository, httptest.NewTLSServer)
	obj := newObject(server.URL + "/fleet.git")
	_, err := newFetcher().Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring("certificate")))

	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "ca"}
	for _, key := range []string{"ca.crt", "caFile"} {
		_, _, files := fetch(t, newFetcher(newSecret("ca", map[string]string{key: ca})), obj)
		g.Expect(files).To(HaveKey("a"))
	}
}

func TestProxy(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"a": "1"})
	hosts := make(chan string, 100)
	proxy := newFront(t, repository, httptest.NewServer)
	proxy.turn(func(_ http.ResponseWriter, r *http.Request) bool {
		hosts <- r.URL.Host + " " + r.Header.Get("Proxy-Authorization")
		return true
	})
	obj := newObject("http://git.test/fleet.git")
	obj.Spec.ProxySecretRef = &meta.LocalObjectReference{Name: "proxy"}
	_, _, files := fetch(t, newFetcher(newSecret("proxy", map[string]string{"address": proxy.URL, "username": "flux", "password": "hunter2"})), obj)
	g.Expect(files).To(HaveKey("a"))
	g.Expect(<-hosts).To(Equal("git.test Basic " + base64.StdEncoding.EncodeToString([]byte("flux:hunter2"))))

	_, err := newFetcher().Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError("spec.proxySecretRef: Secret team/proxy: it does not exist"))
}

func TestCredentialsStayWithTheHost(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"a": "1"})
	other := newFront(t, repository, httptest.NewServer)
	moved := newFront(t, repository, httptest.NewServer)
	moved.turn(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, other.URL+r.URL.RequestURI(), http.StatusMovedPermanently)
		return false
	})
	for name, secret := range map[string]map[string]string{
		"basic": {"username": "flux", "password": "hunter2"}, "bearer": {"bearerToken": "t0ken"},
	} {
		obj := newObject(moved.URL + "/fleet.git")
		obj.Spec.SecretRef = &meta.LocalObjectReference{Name: name}
		_, _, files := fetch(t, newFetcher(newSecret(name, secret)), obj)
		g.Expect(files).To(HaveKey("a"), "a redirect is followed")
	}
	g.Expect(moved.authorizations()).To(HaveEach(Not(BeEmpty())))
	g.Expect(other.authorizations()).To(HaveLen(6))
	g.Expect(other.authorizations()).To(HaveEach(BeEmpty()))
}

func TestAClientCertificateStaysWithTheHost(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"a": "1"})
	asking := func(handler http.Handler) *httptest.Server {
		server := httptest.NewUnstartedServer(handler)
		server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
		server.StartTLS()
		return server
	}
	shown := make(chan string, 100)
	note := func(server string, r *http.Request) {
		shown <- fmt.Sprintf("%s was shown %d", server, len(r.TLS.PeerCertificates))
	}
	other, moved := newFront(t, repository, asking), newFront(t, repository, asking)
	other.turn(func(_ http.ResponseWriter, r *http.Request) bool {
		note("other", r)
		return true
	})
	moved.turn(func(w http.ResponseWriter, r *http.Request) bool {
		note("moved", r)
		http.Redirect(w, r, other.URL+r.URL.RequestURI(), http.StatusMovedPermanently)
		return false
	})
	obj := newObject(moved.URL + "/fleet.git")
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "tls"}
	_, _, files := fetch(t, newFetcher(newSecret("tls", map[string]string{
		"ca.crt":  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: moved.Certificate().Raw})),
		"tls.crt": clouds.ClientCertificate(), "tls.key": clouds.ClientCertificate(),
	})), obj)
	g.Expect(files).To(HaveKey("a"), "a redirect is followed")
	close(shown)
	var all []string
	for what := range shown {
		all = append(all, what)
	}
	g.Expect(all).To(ContainElement("moved was shown 1"))
	g.Expect(all).To(ContainElement("other was shown 0"))
	g.Expect(all).To(HaveEach(BeElementOf("moved was shown 1", "other was shown 0")))
}

func TestSecretsThatCannotBeUsed(t *testing.T) {
	for _, c := range []struct {
		name string
		data map[string]string
		want string
	}{
		{"missing", nil, "it does not exist"},
		{"empty", map[string]string{}, "it has none of the keys username"},
		{"half", map[string]string{"username": "hunter2"}, "it has the key username, but no password"},
		{"other half", map[string]string{"password": "hunter2"}, "it has the key password, but no username"},
		{"both", map[string]string{"username": "u", "password": "hunter2", "bearerToken": "hunter2"}, "both username and bearerToken"},
		{"bad CA", map[string]string{"ca.crt": "hunter2"}, "its key ca.crt holds no certificate"},
		{"bad key", map[string]string{"tls.crt": "x", "tls.key": "hunter2"}, "tls.crt and tls.key are not a pair"},
		{"ssh", map[string]string{"identity": "hunter2"}, "none of the keys"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			obj := newObject("http://127.0.0.1:1/x.git")
			obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
			var secrets []client.Object
			if c.data != nil {
				secrets = append(secrets, newSecret("login", c.data))
			}
			_, err := newFetcher(secrets...).Resolve(t.Context(), obj)
			g.Expect(err).To(MatchError(And(
				ContainSubstring("spec.secretRef: Secret team/login"), ContainSubstring(c.want), Not(ContainSubstring("hunter2")))))
		})
	}
}
