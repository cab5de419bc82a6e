package oci_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

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
}

func newTokenRegistry(t *testing.T) *tokenRegistry {
	r := &tokenRegistry{remoteRegistry: newRegistry(t), token: "first"}
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	inner := r.Config.Handler
	r.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.asked = append(r.asked, request.Method+" "+request.URL.Path)
		token, broken := r.token, r.broken
		r.mu.Unlock()
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
