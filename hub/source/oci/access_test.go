package oci_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/oci"
)

func resolve(t *testing.T, f *oci.Fetcher, obj *sourcev1.OCIRepository) source.Revision {
	t.Helper()
	rev, err := f.Resolve(t.Context(), obj)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return rev
}

func TestServiceAccount(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	obj := r.object()
	obj.Spec.SecretRef, obj.Spec.ServiceAccountName = nil, "puller"
	_, err := r.fetcher().Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError("spec.serviceAccountName: ServiceAccount team/puller: it does not exist"))

	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "puller"}}
	_, err = r.fetcher(account).Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring("401: no login was sent")))

	account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "login"}}
	resolve(t, r.fetcher(account), obj)
}

func TestTLS(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	obj := r.object()
	obj.Spec.CertSecretRef = nil
	_, err := r.fetcher().Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring("certificate")))
	obj.Spec.Insecure = true
	resolve(t, r.fetcher(), obj)

	plain := httptest.NewServer(r.Config.Handler)
	t.Cleanup(plain.Close)
	obj.Spec.URL = strings.Replace(plain.URL, "http://", "oci://", 1) + "/team/app"
	obj.Spec.SecretRef = nil
	_, err = r.fetcher().Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring("401: no login was sent")), "it was asked, in the clear")
	obj.Spec.Insecure = false
	_, err = r.fetcher().Resolve(t.Context(), obj)
	g.Expect(err).To(HaveOccurred())
	g.Expect(err.Error()).NotTo(ContainSubstring("401"))
}

func TestProxy(t *testing.T) {
	g := NewWithT(t)
	var asked atomic.Pointer[string]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		line := request.Method + " " + request.Host + " " + request.Header.Get("Proxy-Authorization")
		asked.Store(&line)
		http.Error(w, "no", http.StatusForbidden)
	}))
	t.Cleanup(proxy.Close)
	r := newRegistry(t)
	obj := r.object()
	obj.Spec.ProxySecretRef = &meta.LocalObjectReference{Name: "proxy"}
	secret := newSecret("proxy", map[string]string{"address": proxy.URL, "username": "u", "password": "hunter2"})
	_, err := r.fetcher(secret).Resolve(t.Context(), obj)
	g.Expect(err).To(HaveOccurred())
	g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	g.Expect(*asked.Load()).To(Equal("CONNECT " + r.host() + " Basic dTpodW50ZXIy"))

	_, err = r.fetcher(newSecret("proxy", nil)).Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(HavePrefix("spec.proxySecretRef: Secret team/proxy: its key address is not the URL")))
}

func TestCredentialsStayWithTheRegistry(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	var seen atomic.Pointer[http.Header]
	storage := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		seen.Store(&request.Header)
		w.WriteHeader(http.StatusNotFound)
	}))
	storage.TLS = r.TLS.Clone()
	storage.StartTLS()
	t.Cleanup(storage.Close)
	r.intercept = func(w http.ResponseWriter, request *http.Request) bool {
		if !strings.Contains(request.URL.Path, "/blobs/") {
			return false
		}
		http.Redirect(w, request, storage.URL, http.StatusTemporaryRedirect)
		return true
	}
	f, obj := r.fetcher(), r.object()
	_, err := f.Fetch(t.Context(), obj, resolve(t, f, obj), t.TempDir())
	g.Expect(err).To(HaveOccurred())
	g.Expect(*seen.Load()).NotTo(HaveKey("Authorization"))
}

// TestTokens logs in by a token service, which checks what it gets.
func TestTokens(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	inner := r.Config.Handler
	var query atomic.Pointer[url.Values]
	r.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/token" {
			values := request.URL.Query()
			query.Store(&values)
			if _, password, _ := request.BasicAuth(); password != "s3cret" {
				http.Error(w, "leak", http.StatusUnauthorized)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"token": "t0ken"})
			return
		}
		if request.Header.Get("Authorization") != "Bearer t0ken" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="registry.test"`, r.URL))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		request.SetBasicAuth("flux", "s3cret")
		inner.ServeHTTP(w, request)
	})
	resolve(t, r.fetcher(), r.object())
	g.Expect(*query.Load()).To(Equal(url.Values{"service": {"registry.test"}, "scope": {"repository:team/app:pull"}}))

	wrong := r.object()
	wrong.Spec.SecretRef.Name = "wrong"
	secret := r.login("other")
	secret.Name = "wrong"
	_, err := r.fetcher(secret).Resolve(t.Context(), wrong)
	g.Expect(err).To(MatchError(ContainSubstring("401: the login of Secret team/wrong")))
	g.Expect(err.Error()).NotTo(ContainSubstring("leak"))
}

func TestFailuresAreOneSentence(t *testing.T) {
	answer := func(status int, header ...string) func(w http.ResponseWriter, _ *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, strings.Repeat("leak\n", 10_000))
			return true
		}
	}
	for name, c := range map[string]struct {
		intercept func(http.ResponseWriter, *http.Request) bool
		want      string
	}{
		"forbidden": {answer(403), "answered 403: the login of Secret team/login"},
		"broken":    {answer(502), "the registry answered 502"},
		"busy":      {answer(429, "Retry-After", "17"), "429, too many requests: trying again in 17s"},
		"just busy": {answer(429), "429, too many requests"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRegistry(t)
			r.intercept = c.intercept
			_, err := r.fetcher().Resolve(t.Context(), r.object())
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			for _, never := range []string{"\n", "leak", "s3cret"} {
				g.Expect(err.Error()).NotTo(ContainSubstring(never))
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	r, done := newRegistry(t), make(chan struct{})
	r.intercept = func(http.ResponseWriter, *http.Request) bool { <-done; return true }
	defer close(done)
	obj := r.object()
	obj.Spec.Timeout = &metav1.Duration{Duration: 100 * time.Millisecond}
	_, err := r.fetcher().Resolve(t.Context(), obj)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("took longer than 100ms (spec.timeout)")))
}

func TestEndlessList(t *testing.T) {
	r := newRegistry(t)
	r.intercept = func(w http.ResponseWriter, request *http.Request) bool {
		if !strings.HasSuffix(request.URL.Path, "/tags/list") {
			return false
		}
		_, _ = io.WriteString(w, `{"name":"team/app","tags":["`)
		for request.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
				break
			}
		}
		return true
	}
	obj := r.object()
	obj.Spec.Reference = &sourcev1.OCIRepositoryRef{SemVer: "*"}
	_, err := r.fetcher().Resolve(t.Context(), obj)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("more than it may")))
}

func TestStalls(t *testing.T) {
	r := newRegistry(t)
	for want, set := range map[string]func(*sourcev1.OCIRepositorySpec){
		"spec.ref.tag":    func(s *sourcev1.OCIRepositorySpec) { s.URL += ":v1" },
		"spec.ref.digest": func(s *sourcev1.OCIRepositorySpec) { s.URL += "@sha256:" + strings.Repeat("a", 64) },
		"spec.secretRef": func(s *sourcev1.OCIRepositorySpec) {
			s.URL = strings.Replace(s.URL, "oci://", "oci://user:hunter2@", 1)
		},
	} {
		obj := r.object()
		set(&obj.Spec)
		_, err := r.fetcher().Resolve(t.Context(), obj)
		g := NewWithT(t)
		g.Expect(err).To(MatchError(ContainSubstring(want)))
		g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	}
}

func TestLoginOfTheLongestPath(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	obj := r.object()
	obj.Spec.SecretRef.Name = "many"
	secret := newSecret("many", map[string]string{".dockerconfigjson": fmt.Sprintf(
		`{"auths":{%q:{"username":"flux","password":"no"},%q:{"username":"flux","password":"s3cret"},"ghcr.io":{"username":"x","password":"y"},%q:{"username":"flux","password":"no"}}}`,
		r.host(), r.host()+"/team", r.host()+"/tea")})
	resolve(t, r.fetcher(secret), obj)

	secret.Data = map[string][]byte{".dockerconfigjson": []byte(`{"auths":{"ghcr.io":{"auth":"hunter2"}}}`)}
	_, err := r.fetcher(secret).Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring("no login was sent: Secret team/many")))
	secret.Data[".dockerconfigjson"] = []byte("hunter2")
	_, err = r.fetcher(secret).Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(HavePrefix("spec.secretRef: Secret team/many: its key .dockerconfigjson is not JSON")))
	g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
}
