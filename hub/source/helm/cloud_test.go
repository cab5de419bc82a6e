package helm_test

import (
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/testenv"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

// services are the clouds' token services, and all of the Internet there is.
var services *clouds.Clouds

// controlPlane is for the tests with a manager.
var controlPlane = testenv.Shared{CRDs: true}

func TestMain(m *testing.M) {
	os.Exit(clouds.Run(&services, func() int { return controlPlane.Run(m) }))
}

func TestChartOfARegistryOfACloud(t *testing.T) {
	g := NewWithT(t)
	charts, err := url.Parse(strings.Replace(ociCharts(t, "6.14.1"), "oci://", "http://", 1))
	g.Expect(err).NotTo(HaveOccurred())
	services.GoogleRegistry("europe-docker.pkg.dev", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: charts.Scheme, Host: charts.Host})
		r.Out.SetBasicAuth("flux", "s3cret")
	}})
	file := filepath.Join(t.TempDir(), "key.json")
	g.Expect(os.WriteFile(file, []byte(clouds.GoogleKey()), 0o600)).To(Succeed())
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	repo := (&repository{Server: &httptest.Server{}}).object()
	repo.Spec.URL, repo.Spec.Type, repo.Spec.Provider, repo.Spec.SecretRef = "oci://europe-docker.pkg.dev/charts", "oci", "gcp", nil
	w := newWorld(t, repo)
	obj := chartObject("HelmRepository", "podinfo", "6.x")
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.Path).To(Equal("helmchart/team/app/podinfo-6.14.1.tgz"))

	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "gone.json"))
	obj.Spec.Version, obj.Generation = "*", 2
	g.Expect(w.build(obj)).To(MatchError(HavePrefix("HelmRepository team/repo: spec.provider: provider gcp: ")))
}
