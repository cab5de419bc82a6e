package automation

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

func TestPushesGoAsAGitHubApp(t *testing.T) {
	w := newWorld(t)
	const token = "ghs_0123456789"
	behind, err := url.Parse(w.repository.URL)
	w.Expect(err).NotTo(HaveOccurred())
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/app/installations/42/access_tokens", func(out http.ResponseWriter, _ *http.Request) {
		out.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(out).Encode(map[string]any{"token": token, "expires_at": time.Now().Add(time.Hour)})
	})
	repository := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: behind.Scheme, Host: behind.Host})
		r.Out.Header.Del("Authorization")
	}}
	mux.HandleFunc("/", func(out http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "x-access-token" || password != token {
			out.WriteHeader(http.StatusUnauthorized)
			return
		}
		repository.ServeHTTP(out, r)
	})
	host := httptest.NewServer(mux)
	t.Cleanup(host.Close)
	_, key := clouds.RSAKey()
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}, StringData: map[string]string{
		"githubAppID": "7", "githubAppInstallationID": "42", "githubAppPrivateKey": key, "githubAppBaseURL": host.URL + "/api",
	}})
	w.source.Spec.URL, w.source.Spec.Provider = host.URL+behind.Path, "github"
	w.source.Spec.SecretRef = &meta.LocalObjectReference{Name: "app"}
	w.Expect(w.Update(t.Context(), w.source)).To(Succeed())
	before := w.head("main")
	w.ready(w.automate(nil), "True", "Succeeded", "repository up-to-date")
	w.Expect(w.head("main")).NotTo(Equal(before))
}
