package oci_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	registries "github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/hub/source/oci"
)

// tokenRegistry puts a token service in front of the registry, and notes what
// it is asked.
type tokenRegistry struct {
	*remoteRegistry
	mu    sync.Mutex
	asked []string
	token string
	// broken answers 500 to everything.
	broken bool
	// slow holds back answers, as hold says.
	slow func(what string)
	// from are the connections that it is asked over.
	from map[string]bool
}

func newTokenRegistry(t *testing.T) *tokenRegistry {
	r := &tokenRegistry{remoteRegistry: newRegistry(t), token: "first", from: map[string]bool{}}
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	inner := r.Config.Handler
	r.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.asked = append(r.asked, request.Method+" "+request.URL.Path)
		r.from[request.RemoteAddr] = true
		token, broken, slow := r.token, r.broken, r.slow
		r.mu.Unlock()
		if slow != nil {
			slow(request.Method + " " + request.URL.Path)
		}
		_, password, _ := request.BasicAuth()
		switch {
		case broken:
			w.WriteHeader(http.StatusInternalServerError)
		case request.URL.Path == "/token" && password == "s3cret":
			_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
		case request.URL.Path == "/token":
			w.WriteHeader(http.StatusUnauthorized)
		case request.Header.Get("Authorization") != "Bearer "+token:
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="registry.test"`, r.URL))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			request.SetBasicAuth("flux", "s3cret")
			inner.ServeHTTP(w, request)
		}
	})
	return r
}

func (r *tokenRegistry) set(token string, broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token, r.broken = token, broken
}

// since returns what was asked since the last call.
func (r *tokenRegistry) since() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

// connections is how many it was ever asked over.
func (r *tokenRegistry) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.from)
}

func TestAPollIsOneRequest(t *testing.T) {
	g := NewWithT(t)
	r := newTokenRegistry(t)
	secrets := fake.NewClientBuilder().WithObjects(r.login("s3cret")).Build()
	f := &oci.Fetcher{Registries: registries.Opener{Secrets: secrets, Transport: access.NewTransport()}}
	obj := r.object()
	obj.Spec.CertSecretRef, obj.Spec.Insecure = nil, true
	const head = "HEAD /v2/team/app/manifests/latest"

	first := resolve(t, f, obj)
	g.Expect(r.since()).To(ContainElements("GET /v2/", "GET /token", head))
	g.Expect(resolve(t, f, obj)).To(Equal(first))
	g.Expect(r.since()).To(Equal([]string{head}))

	// A token that has run out is replaced.
	r.set("second", false)
	g.Expect(resolve(t, f, obj)).To(Equal(first))
	g.Expect(r.since()).To(Equal([]string{head, "GET /token", head}))

	// A registry that was broken is asked anew how to log in.
	r.set("second", true)
	_, err := f.Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring("the registry answered 500")))
	r.set("second", false)
	r.since()
	g.Expect(resolve(t, f, obj)).To(Equal(first))
	g.Expect(r.since()).To(ContainElements("GET /v2/", "GET /token", head))

	// Another login has no use of what the first one got.
	login := &corev1.Secret{}
	g.Expect(secrets.Get(t.Context(), client.ObjectKeyFromObject(r.login("")), login)).To(Succeed())
	login.Data = r.login("guessed").Data
	g.Expect(secrets.Update(t.Context(), login)).To(Succeed())
	_, err = f.Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring("401: the login of Secret team/login")))
}

// hold keeps the answers to such requests back until answer is called, and tells
// of the first.
func (r *tokenRegistry) hold(t *testing.T, held string) (asked <-chan struct{}, answer func()) {
	t.Helper()
	first, done := make(chan struct{}), make(chan struct{})
	tell := sync.OnceFunc(func() { close(first) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slow = func(what string) {
		if what == held {
			tell()
			<-done
		}
	}
	answer = sync.OnceFunc(func() { close(done) })
	t.Cleanup(answer)
	return first, answer
}

// within is the object with another timeout.
func within(obj *sourcev1.OCIRepository, timeout time.Duration) *sourcev1.OCIRepository {
	other := obj.DeepCopy()
	other.Spec.Timeout = &metav1.Duration{Duration: timeout}
	return other
}

// TestALoginIsWaitedForByEachForItself has objects of the same login, of which one
// has little time.
func TestALoginIsWaitedForByEachForItself(t *testing.T) {
	for name, first := range map[string]time.Duration{"the first has little": 500 * time.Millisecond, "the first has much": time.Hour} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newTokenRegistry(t)
			asked, answer := r.hold(t, "GET /v2/")
			f, obj := r.fetcher(), r.object()
			results := map[time.Duration]chan error{}
			start := func(timeout time.Duration) {
				result := make(chan error, 1)
				results[timeout] = result
				go func() {
					_, err := f.Resolve(t.Context(), within(obj, timeout))
					result <- err
				}()
			}
			start(first)
			<-asked
			for _, timeout := range []time.Duration{500 * time.Millisecond, time.Hour} {
				if timeout != first {
					start(timeout)
				}
			}
			g.Eventually(results[500*time.Millisecond]).WithTimeout(20 * time.Second).Should(Receive(MatchError(ContainSubstring("took longer than 500ms (spec.timeout)"))))
			answer()
			g.Eventually(results[time.Hour]).WithTimeout(20 * time.Second).Should(Receive(BeNil()))
			g.Expect(r.since()).To(ConsistOf("GET /v2/", "GET /token", "HEAD /v2/team/app/manifests/latest"))
		})
	}
}

// TestALoginOutlivesATimeout has an object whose time is up after the login.
func TestALoginOutlivesATimeout(t *testing.T) {
	g := NewWithT(t)
	r := newTokenRegistry(t)
	const head = "HEAD /v2/team/app/manifests/latest"
	f, obj := r.fetcher(), r.object()
	resolve(t, f, obj)
	_, answer := r.hold(t, head)
	_, err := f.Resolve(t.Context(), within(obj, 100*time.Millisecond))
	g.Expect(err).To(MatchError(ContainSubstring("took longer than 100ms (spec.timeout)")))
	answer()
	r.since()
	resolve(t, f, obj)
	g.Expect(r.since()).To(HaveEach(head))
}

// tunnels is a proxy that lets everything through, and counts the connections.
type tunnels struct {
	*httptest.Server
	opened, open atomic.Int64
}

func newTunnels(t *testing.T) *tunnels {
	proxy := &tunnels{}
	proxy.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		username, password, _ := (&http.Request{Header: http.Header{"Authorization": request.Header["Proxy-Authorization"]}}).BasicAuth()
		if request.Method != http.MethodConnect || username != "u" || password != "hunter2" {
			http.Error(w, "no", http.StatusProxyAuthRequired)
			return
		}
		proxy.opened.Add(1)
		proxy.open.Add(1)
		defer proxy.open.Add(-1)
		to, err := new(net.Dialer).DialContext(request.Context(), "tcp", request.Host)
		if err != nil {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		from, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		context.AfterFunc(t.Context(), func() { _ = from.Close(); _ = to.Close() })
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, buffered); _ = to.Close() }()
		_, _ = io.Copy(from, to)
		_ = from.Close()
	}))
	t.Cleanup(proxy.Close)
	return proxy
}

func (p *tunnels) secret(name string) *corev1.Secret {
	return newSecret(name, map[string]string{"address": p.URL, "username": "u", "password": "hunter2"})
}

// rewrite gives a Secret the contents of another.
func rewrite(t *testing.T, secrets client.Client, name string, as *corev1.Secret) {
	t.Helper()
	g := NewWithT(t)
	secret := &corev1.Secret{}
	g.Expect(secrets.Get(t.Context(), client.ObjectKey{Namespace: "team", Name: name}, secret)).To(Succeed())
	secret.Data = as.Data
	g.Expect(secrets.Update(t.Context(), secret)).To(Succeed())
}

// TestAPollIsOneRequestWithSettings is over TLS by a CA of a Secret, and through
// a proxy, which are followed when they change.
func TestAPollIsOneRequestWithSettings(t *testing.T) {
	const head = "HEAD /v2/team/app/manifests/latest"
	g := NewWithT(t)
	r, first, second := newTokenRegistry(t), newTunnels(t), newTunnels(t)
	secrets := fake.NewClientBuilder().WithObjects(r.login("s3cret"), r.ca(), first.secret("proxy")).Build()
	f := &oci.Fetcher{Registries: registries.Opener{Secrets: secrets, Transport: access.NewTransport()}}
	direct, proxied, lax := r.object(), r.object(), r.object()
	proxied.Spec.ProxySecretRef = &meta.LocalObjectReference{Name: "proxy"}
	lax.Spec.ProxySecretRef = proxied.Spec.ProxySecretRef
	lax.Spec.CertSecretRef, lax.Spec.Insecure = nil, true
	for _, obj := range []*sourcev1.OCIRepository{direct, proxied, lax} {
		rev := resolve(t, f, obj)
		g.Expect(r.since()).To(ContainElements("GET /v2/", "GET /token", head))
		connections := r.connections()
		for range 3 {
			g.Expect(resolve(t, f, obj)).To(Equal(rev))
			g.Expect(r.since()).To(Equal([]string{head}))
		}
		g.Expect(r.connections()).To(Equal(connections), "nor a connection")
	}
	g.Expect(first.opened.Load()).To(BeEquivalentTo(2), "one for each that has a proxy")

	// Another proxy is gone through at the next poll, and the connection through
	// the old one ends.
	rewrite(t, secrets, "proxy", second.secret("proxy"))
	resolve(t, f, proxied)
	resolve(t, f, lax)
	g.Expect(first.opened.Load()).To(BeEquivalentTo(2))
	g.Expect(second.opened.Load()).To(BeEquivalentTo(2))
	g.Eventually(first.open.Load).Should(BeZero())
	wrong := second.secret("proxy")
	wrong.Data["password"] = []byte("guessed")
	rewrite(t, secrets, "proxy", wrong)
	_, err := f.Resolve(t.Context(), proxied)
	g.Expect(err).To(MatchError(ContainSubstring("Proxy Authentication Required")))

	// Nor is a registry trusted any more by a CA that was taken away.
	stranger := newSecret("ca", map[string]string{"ca.crt": string(selfSigned(t, "stranger").certificate)})
	rewrite(t, secrets, "ca", stranger)
	_, err = f.Resolve(t.Context(), direct)
	g.Expect(err).To(MatchError(ContainSubstring("certificate")))
	rewrite(t, secrets, "ca", r.ca())
	r.since()
	resolve(t, f, direct)
	g.Expect(r.since()).To(ContainElement("GET /v2/"))
}

// TestConnectionsOfOthers has a registry that goes by clients' certificates: a
// tenant with the same login, and the same name of a Secret, has no use of what
// another's has opened.
func TestConnectionsOfOthers(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	strict := httptest.NewUnstartedServer(r.Config.Handler)
	strict.TLS = &tls.Config{Certificates: r.TLS.Certificates, ClientAuth: tls.RequestClientCert}
	strict.StartTLS()
	t.Cleanup(strict.Close)
	r.Server = strict
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	good, other := selfSigned(t, "good"), selfSigned(t, "other")
	var seen []string
	r.intercept = func(w http.ResponseWriter, request *http.Request) bool {
		who := "nobody"
		if peers := request.TLS.PeerCertificates; len(peers) > 0 {
			who = peers[0].Subject.CommonName
		}
		seen = append(seen, who)
		if who == "good" {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	object := func(namespace string) *sourcev1.OCIRepository {
		obj := r.object()
		obj.Namespace = namespace
		return obj
	}
	in := func(namespace string, secret *corev1.Secret, pair keyPair) client.Object {
		secret = secret.DeepCopy()
		secret.Namespace = namespace
		if pair.key != nil {
			secret.Data["tls.crt"], secret.Data["tls.key"] = pair.certificate, pair.key
		}
		return secret
	}
	secrets := fake.NewClientBuilder().WithObjects(
		in("team", r.login("s3cret"), keyPair{}), in("team", r.ca(), good),
		in("without", r.login("s3cret"), keyPair{}), in("without", r.ca(), keyPair{}),
		in("another", r.login("s3cret"), keyPair{}), in("another", r.ca(), other),
	).Build()
	f := &oci.Fetcher{Registries: registries.Opener{Secrets: secrets, Transport: access.NewTransport()}}
	for range 2 {
		seen = nil
		resolve(t, f, object("team"))
		g.Expect(seen).To(HaveEach("good"))
		for namespace, who := range map[string]string{"without": "nobody", "another": "other"} {
			seen = nil
			_, err := f.Resolve(t.Context(), object(namespace))
			g.Expect(err).To(MatchError(ContainSubstring("answered 403")), namespace)
			g.Expect(seen).To(HaveEach(who))
		}
		lax := object("without")
		lax.Spec.CertSecretRef, lax.Spec.Insecure = nil, true
		seen = nil
		_, err := f.Resolve(t.Context(), lax)
		g.Expect(err).To(MatchError(ContainSubstring("answered 403")))
		g.Expect(seen).To(HaveEach("nobody"))
	}

	// A certificate that is replaced is not shown again.
	rewrite(t, secrets, "ca", in("team", r.ca(), other).(*corev1.Secret))
	seen = nil
	_, err := f.Resolve(t.Context(), object("team"))
	g.Expect(err).To(MatchError(ContainSubstring("answered 403")))
	g.Expect(seen).To(HaveEach("other"))
}

// keyPair is a certificate and its key, as PEM.
type keyPair struct{ certificate, key []byte }

func selfSigned(t *testing.T, name string) keyPair {
	t.Helper()
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	g.Expect(err).NotTo(HaveOccurred())
	private, err := x509.MarshalECPrivateKey(key)
	g.Expect(err).NotTo(HaveOccurred())
	return keyPair{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}),
	}
}
