package oci_test

import (
	"net/http"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

// services are the clouds' token services, and all of the Internet there is.
var services *clouds.Clouds

func TestMain(m *testing.M) { os.Exit(clouds.Run(&services, m.Run)) }

// amazonObject is an artifact in a registry of Amazon's, whose content is that of
// the registry, and a hub that has an identity there.
func amazonObject(t *testing.T, r *remoteRegistry) *sourcev1.OCIRepository {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", clouds.OwnID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", clouds.OwnKey)
	services.Registry(clouds.AmazonRegistry, clouds.AmazonUser, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		request.SetBasicAuth("flux", *r.password.Load())
		r.Config.Handler.ServeHTTP(w, request)
	}))
	obj := r.object()
	obj.Spec.URL = "oci://" + clouds.AmazonRegistry + "/team/app"
	obj.Spec.Provider, obj.Spec.SecretRef, obj.Spec.CertSecretRef = "aws", nil, nil
	return obj
}

func TestProvider(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	digest := r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	obj, f := amazonObject(t, r), r.fetcher()
	f.Registries.Clouds = &cloud.Logins{CacheSize: 10, CacheFor: time.Hour}
	rev := resolve(t, f, obj)
	g.Expect(rev.Name).To(Equal("latest@" + digest))
	_, err := f.Fetch(t.Context(), obj, rev, t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(services.Asked("ecr")).To(Equal(1), "the login is kept")

	services.Withdraw()
	_, err = f.Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(And(HavePrefix("spec.url oci://"+clouds.AmazonRegistry), HaveSuffix("401: the hub's own identity at aws (spec.provider) may not do this there"))))
	resolve(t, f, obj)
	g.Expect(services.Asked("ecr")).To(Equal(2), "what was refused is not kept")
}

func TestSecretBeforeProvider(t *testing.T) {
	r := newRegistry(t)
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	obj := r.object()
	obj.Spec.Provider = "azure"
	resolve(t, r.fetcher(), obj)
}

func TestOwnIdentityStaysWithTheCloud(t *testing.T) {
	r := newRegistry(t)
	for name, set := range map[string]func(*sourcev1.OCIRepositorySpec){
		"an authority of the tenant's": func(s *sourcev1.OCIRepositorySpec) { s.CertSecretRef = &meta.LocalObjectReference{Name: "ca"} },
		"without TLS":                  func(s *sourcev1.OCIRepositorySpec) { s.Insecure = true },
		"a registry of the tenant's":   func(s *sourcev1.OCIRepositorySpec) { s.URL = "oci://" + r.host() + "/team/app" },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			obj, f, before := amazonObject(t, r), r.fetcher(), services.Asked("ecr")
			f.Registries.Clouds = &cloud.Logins{}
			set(&obj.Spec)
			_, err := f.Resolve(t.Context(), obj)
			g.Expect(err).To(MatchError(HavePrefix("spec.provider")))
			g.Expect(services.Asked("ecr")).To(Equal(before))
		})
	}
}
