package helm_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

func TestChartOfARepository(t *testing.T) {
	g := NewWithT(t)
	r, w := newRepository(t), newWorld(t)
	packed := newChart(t, "podinfo", "6.14.1", podinfo(t))
	r.add(t, packed, "podinfo", "6.14.1", nil)
	repo := r.object()
	w.sync(repo)
	g.Expect(repo.Status.Artifact.Path).To(MatchRegexp(`^helmrepository/team/repo/index-[0-9a-f]{64}\.yaml$`))
	g.Expect(repo.Status.Artifact.Revision).To(MatchRegexp(`^sha256:[0-9a-f]{64}$`))
	g.Expect(repo.Status.URL).To(Equal("http://hub.test:9090/helmrepository/team/repo/index.yaml"))
	g.Expect(condition(repo, "ArtifactInStorage")).To(HavePrefix("True Succeeded stored artifact: revision 'sha256:"))

	obj := chartObject("HelmRepository", "podinfo", ">=6.0.0")
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.Revision).To(Equal("6.14.1"))
	g.Expect(obj.Status.Artifact.Path).To(Equal("helmchart/team/app/podinfo-6.14.1.tgz"))
	g.Expect(obj.Status.URL).To(Equal("http://hub.test:9090/helmchart/team/app/latest.tar.gz"))
	g.Expect(obj.Status.Artifact.Digest).To(Equal("sha256:"+sumOf(packed)), "as it came")
	g.Expect(obj.Status.ObservedChartName).To(Equal("podinfo"))
	g.Expect(obj.Status.ObservedSourceArtifactRevision).To(Equal(repo.Status.Artifact.Revision))
	g.Expect(w.files(obj)).To(HaveKeyWithValue("values-prod.yaml", ContainSubstring("Production values")))

	obj.Spec.ValuesFiles, obj.Spec.ValuesFile, obj.Generation = []string{"values.yaml", "gone.yaml"}, "values-prod.yaml", 2
	g.Expect(w.build(obj)).To(MatchError(ContainSubstring(`spec.valuesFiles: "gone.yaml"`)))
	g.Expect(obj.Status.Artifact.Revision).To(Equal("6.14.1"), "the last good one")
	obj.Spec.IgnoreMissingValuesFiles, obj.Generation = true, 3
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.Revision).To(Equal("6.14.1+3"))
	g.Expect(condition(obj, "ArtifactInStorage")).To(Equal(
		"True ChartPackageSucceeded packaged 'podinfo' chart with version '6.14.1+3' and merged values files [values.yaml values-prod.yaml]"))
	g.Expect(obj.Status.ObservedValuesFiles).To(Equal([]string{"values.yaml", "values-prod.yaml"}))
	g.Expect(w.files(obj)).To(HaveKeyWithValue("Chart.yaml", ContainSubstring("version: 6.14.1+3\n")))
	g.Expect(w.files(obj)).To(HaveKeyWithValue("values.yaml", MatchRegexp(`redis:\n  enabled: true\n`)))
}

func TestChartOfAGitRepository(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	files := with(podinfo(t), "charts/podinfo/", map[string]string{"prod.yaml": "replicaCount: 7\nui: {color: null}\n"})
	obj := chartObject("GitRepository", "./charts/podinfo", "*")
	g.Expect(w.build(obj)).To(MatchError("GitRepository team/repo: it does not exist"))
	g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True SourceUnavailable"))

	w.git("main@sha1:1111111111111111", files)
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.Path).To(Equal("helmchart/team/app/podinfo-6.14.1.tgz"))
	g.Expect(condition(obj, "ArtifactInStorage")).To(Equal("True ChartPackageSucceeded packaged 'podinfo' chart with version '6.14.1'"))
	first := obj.Status.Artifact.DeepCopy()

	files["charts/podinfo/README.md"] = "new"
	w.git("main@sha1:2222222222222222", files)
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.Digest).To(Equal(first.Digest), "the version is the same")
	g.Expect(obj.Status.ObservedSourceArtifactRevision).To(Equal("main@sha1:2222222222222222"))

	obj.Spec.ReconcileStrategy, obj.Spec.ValuesFiles, obj.Generation = "Revision", []string{"charts/podinfo/values.yaml", "prod.yaml"}, 2
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.Revision).To(Equal("6.14.1+222222222222.2"))
	g.Expect(w.files(obj)).To(HaveKeyWithValue("values.yaml", And(ContainSubstring("replicaCount: 7\n"), ContainSubstring("color: null\n"), ContainSubstring("tag: 6.14.1\n"))))
	g.Expect(w.files(obj)).To(HaveKeyWithValue("README.md", "new"))

	obj.Spec.Chart, obj.Generation = "charts/gone", 3
	g.Expect(w.build(obj)).To(MatchError(`GitRepository team/repo: spec.chart "charts/gone": the source has no such path`))
	// The path appears with the version of the chart that is stored.
	w.git("main@sha1:3333", map[string]string{"charts/gone/Chart.yaml": "apiVersion: v2\nname: podinfo\nversion: 6.14.1\n"})
	obj.Spec.ValuesFiles, obj.Spec.ReconcileStrategy = nil, "ChartVersion"
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(w.files(obj)).To(HaveLen(1), "another chart of the same name and version")
}

func TestPackagesRepeat(t *testing.T) {
	g := NewWithT(t)
	var digests []string
	for range 2 {
		w := newWorld(t)
		w.git("main@sha1:1", with(podinfo(t), "c/", nil))
		obj := chartObject("GitRepository", "c", "*")
		g.Expect(w.build(obj)).To(Succeed())
		digests = append(digests, obj.Status.Artifact.Digest)
	}
	g.Expect(digests[0]).To(Equal(digests[1]))
}

func TestDependencies(t *testing.T) {
	g := NewWithT(t)
	r, w := newRepository(t), newWorld(t)
	r.add(t, newChart(t, "redis", "19.1.0", map[string]string{"values.yaml": "a: 1\n"}), "redis", "19.1.0", nil)
	repo := r.object()
	w.sync(repo)
	open := newRepository(t)
	open.protect("")
	open.add(t, newChart(t, "open", "1.0.0", nil), "open", "1.0.0", nil)
	chartWith := func(dependencies string) map[string]string {
		return map[string]string{
			"charts/app/Chart.yaml":              "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies:\n" + dependencies,
			"charts/app/charts/there/Chart.yaml": "apiVersion: v2\nname: there\nversion: 1.0.0\n",
			"charts/lib/Chart.yaml":              "apiVersion: v2\nname: lib\nversion: 0.3.0\n",
		}
	}
	w.git("main@sha1:1", chartWith(fmt.Sprintf(`
- {name: redis, version: 19.x, repository: "%s/charts/"}
- {name: open, version: "*", repository: "%s/charts"}
- {name: lib, version: ">=0.3.0", repository: "file://../lib"}
- {name: there, version: 1.0.0}
`, r.URL, open.URL)))
	obj := chartObject("GitRepository", "charts/app", "*")
	g.Expect(w.build(obj)).To(Succeed())
	files := w.files(obj)
	for _, want := range []string{"charts/redis-19.1.0/values.yaml", "charts/open-1.0.0/Chart.yaml", "charts/lib-0.3.0/Chart.yaml", "charts/there/Chart.yaml"} {
		g.Expect(files).To(HaveKey(want))
	}

	for i, c := range []struct{ dependency, want string }{
		{`{name: x, version: 1.0.0}`, "it is not in charts/, and has no repository"},
		{`{name: x, version: 1.0.0, repository: "file://../../../x"}`, "leads out of the source"},
		{`{name: x, version: 1.0.0, repository: "file://../x"}`, "the source has no such path"},
		{`{name: lib, version: 2.x, repository: "file://../lib"}`, `holds version 0.3.0, which does not match "2.x"`},
		{`{name: other, version: 0.x, repository: "file://../lib"}`, `holds the chart "lib"`},
		{`{name: redis, version: 20.x, repository: "` + r.URL + `/charts"}`, `no version matches "20.x"`},
		{`{name: x, version: 1.0.0, repository: "@stable"}`, "neither file://, https://, http:// nor oci://"},
	} {
		w.git(fmt.Sprintf("main@sha1:9%d", i), chartWith("- "+c.dependency+"\n"))
		obj.Generation++
		g.Expect(w.build(obj)).To(MatchError(ContainSubstring(c.want)))
		g.Expect(condition(obj, "BuildFailed")).To(HavePrefix("True DependencyBuildError GitRepository team/repo: dependency "))
		g.Expect(obj.Status.Artifact.Revision).To(Equal("1.0.0"))
	}
}

// ociCharts is a registry with one chart that wants a login.
func ociCharts(t *testing.T, versions ...string) (url string) {
	t.Helper()
	g := NewWithT(t)
	inner := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if _, password, _ := request.BasicAuth(); password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	login := func(request *http.Request) (*http.Response, error) {
		request.SetBasicAuth("flux", "s3cret")
		return http.DefaultTransport.RoundTrip(request)
	}
	for _, version := range versions {
		layer := static.NewLayer(newChart(t, "podinfo", version, podinfo(t)), "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
		image, err := mutate.AppendLayers(mutate.ConfigMediaType(empty.Image, "application/vnd.cncf.helm.config.v1+json"), layer)
		g.Expect(err).NotTo(HaveOccurred())
		ref, err := name.NewTag(host + "/charts/podinfo:" + strings.ReplaceAll(version, "+", "_"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(remote.Write(ref, image, remote.WithTransport(roundTripper(login)))).To(Succeed())
	}
	return "oci://" + host + "/charts"
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func TestChartOfARegistry(t *testing.T) {
	g := NewWithT(t)
	repo := (&repository{Server: &httptest.Server{}}).object()
	repo.Spec.URL, repo.Spec.Type, repo.Spec.Insecure = ociCharts(t, "6.14.1", "6.13.0+a.1"), "oci", true
	w := newWorld(t, repo)
	obj := chartObject("HelmRepository", "podinfo", "6.x")
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.Path).To(Equal("helmchart/team/app/podinfo-6.14.1.tgz"))
	g.Expect(w.files(obj)).To(HaveKey("templates/deployment.yaml"))

	obj.Spec.Version, obj.Generation = "6.13.0+a.1", 2
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.Revision).To(Equal("6.13.0+a.1"))

	obj.Spec.Version, obj.Generation = "7.0.0", 3
	g.Expect(w.build(obj)).To(MatchError(And(HavePrefix("HelmRepository team/repo: spec.url oci://"), ContainSubstring("does not have it"))))
	g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True ChartPullError"))

	repo.Spec.SecretRef = &meta.LocalObjectReference{Name: "gone"}
	g.Expect(w.client.Update(t.Context(), repo)).To(Succeed())
	g.Expect(w.build(obj)).To(MatchError("HelmRepository team/repo: spec.secretRef: Secret team/gone: it does not exist"))
}

func TestWhatIsFetchedIsWhatWasAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		packed func(t *testing.T) []byte
		change func(entry map[string]any)
		want   string
	}{
		"another digest": {
			packed: func(t *testing.T) []byte { return newChart(t, "app", "1.0.0", nil) },
			change: func(entry map[string]any) { entry["digest"] = strings.Repeat("0", 64) },
			want:   "the index says",
		},
		"another name": {
			packed: func(t *testing.T) []byte { return newChart(t, "other", "1.0.0", nil) },
			want:   `what was fetched for it is "other" in version 1.0.0`,
		},
		"another version": {
			packed: func(t *testing.T) []byte { return newChart(t, "app", "1.0.1", nil) },
			want:   `what was fetched for it is "app" in version 1.0.1`,
		},
		"no chart":      {packed: func(*testing.T) []byte { return []byte("hello") }, want: "not a gzipped archive"},
		"a path out":    {packed: hostile(&tar.Header{Name: "app/../../x"}), want: "leads out of the archive"},
		"absolute":      {packed: hostile(&tar.Header{Name: "/app/x"}), want: "leads out of the archive"},
		"a link":        {packed: hostile(&tar.Header{Name: "app/Chart.yaml", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), want: "there is no Chart.yaml"},
		"two charts":    {packed: hostile(&tar.Header{Name: "app/x"}, &tar.Header{Name: "other/x"}), want: "more than one directory"},
		"no URL":        {packed: func(t *testing.T) []byte { return newChart(t, "app", "1.0.0", nil) }, change: func(e map[string]any) { e["urls"] = []string{} }, want: "no usable URL"},
		"a file:// URL": {packed: func(t *testing.T) []byte { return newChart(t, "app", "1.0.0", nil) }, change: func(e map[string]any) { e["urls"] = []string{"file:///etc/passwd"} }, want: `of scheme "file"`},
		"a bomb":        {packed: bomb, want: `"app/bomb": the archive is too large`},
		"tiny files":    {packed: hostile(tinyFiles()...), want: "more than 10000 entries"},
		"too large":     {packed: func(*testing.T) []byte { return make([]byte, 11<<20) }, want: "larger than 10485760 bytes (--helm-chart-max-size)"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, w := newRepository(t), newWorld(t)
			r.add(t, c.packed(t), "app", "1.0.0", c.change)
			w.sync(r.object())
			obj := chartObject("HelmRepository", "app", "*")
			g.Expect(w.build(obj)).To(MatchError(ContainSubstring(c.want)))
			g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True ChartPullError HelmRepository team/repo: "))
			g.Expect(obj.Status.Artifact).To(BeNil())
		})
	}
}

// TestAPackageThatDoesNotCome has a repository whose index is well.
func TestAPackageThatDoesNotCome(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		want   string
	}{
		"busy": {func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Retry-After", "17")
			http.Error(out, "leak", http.StatusTooManyRequests)
		}, "429, too many requests: trying again in 17s"},
		"by drops": {func(out http.ResponseWriter, request *http.Request) {
			_, _ = out.Write([]byte{0x1f})
			_ = http.NewResponseController(out).Flush()
			<-request.Context().Done()
		}, "took longer than 200ms (spec.timeout)"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, w := newRepository(t), newWorld(t)
			r.add(t, newChart(t, "app", "1.0.0", nil), "app", "1.0.0", nil)
			repo := r.object()
			w.sync(repo)
			if name == "by drops" {
				g.Expect(w.client.Get(t.Context(), keyOf(repo), repo)).To(Succeed())
				repo.Spec.Timeout = &metav1.Duration{Duration: 200 * time.Millisecond}
				g.Expect(w.client.Update(t.Context(), repo)).To(Succeed())
			}
			r.intercept = func(out http.ResponseWriter, request *http.Request) bool { c.answer(out, request); return true }
			obj := chartObject("HelmRepository", "app", "*")
			err := w.build(obj)
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			g.Expect(err.Error()).NotTo(Or(ContainSubstring("leak"), ContainSubstring("s3cret"), ContainSubstring("\n")))
			g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True ChartPullError HelmRepository team/repo: "))
		})
	}
}

// TestAliasesInAChart are those of a long text, of which the YAML library counts
// the number and not the length.
func TestAliasesInAChart(t *testing.T) {
	const head = "apiVersion: v1\nname: podinfo\nversion: 6.14.1\n"
	many := "x: &a " + strings.Repeat("x", 50_000) + "\ny: [" + strings.Repeat("*a, ", 200) + "]\n"
	for file, content := range map[string]string{
		"Chart.yaml":        head + many,
		"requirements.yaml": many,
		"requirements.lock": many,
		"values-prod.yaml":  many,
	} {
		t.Run(file, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			files := map[string]string{"c/Chart.yaml": head, "c/values-prod.yaml": "size: &size 2\nreplicas: *size\n"}
			w.git("main@sha1:1", files)
			obj := chartObject("GitRepository", "c", "*")
			obj.Spec.ReconcileStrategy, obj.Spec.ValuesFiles = "Revision", []string{"c/values-prod.yaml"}
			g.Expect(w.build(obj)).To(Succeed())
			g.Expect(w.files(obj)).To(HaveKeyWithValue("values.yaml", "replicas: 2\nsize: 2\n"))

			files["c/"+file] = content
			w.git("main@sha1:2", files)
			g.Expect(w.build(obj)).To(MatchError(ContainSubstring("its aliases add up to more than 4194304 bytes")))
		})
	}
}

// bomb is an archive that says it holds a file of 10 GB.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	zipper := gzip.NewWriter(&b)
	NewWithT(t).Expect(tar.NewWriter(zipper).WriteHeader(&tar.Header{Name: "app/bomb", Size: 10 << 30})).To(Succeed())
	NewWithT(t).Expect(zipper.Close()).To(Succeed())
	return b.Bytes()
}

// tinyFiles are more than a chart may have.
func tinyFiles() []*tar.Header {
	var all []*tar.Header
	for i := range 10_001 {
		all = append(all, &tar.Header{Name: fmt.Sprintf("app/%d", i)})
	}
	return all
}

// hostile is an archive of the entries, all empty.
func hostile(headers ...*tar.Header) func(*testing.T) []byte {
	return func(t *testing.T) []byte {
		t.Helper()
		var b bytes.Buffer
		zipper := gzip.NewWriter(&b)
		tarrer := tar.NewWriter(zipper)
		for _, header := range headers {
			NewWithT(t).Expect(tarrer.WriteHeader(header)).To(Succeed())
		}
		NewWithT(t).Expect(tarrer.Close()).To(Succeed())
		NewWithT(t).Expect(zipper.Close()).To(Succeed())
		return b.Bytes()
	}
}

func TestStalls(t *testing.T) {
	w := newWorld(t)
	for want, set := range map[string]func(*sourcev1.HelmChartSpec){
		"spec.verify is for charts from": func(s *sourcev1.HelmChartSpec) {
			s.SourceRef.Kind, s.Verify = "GitRepository", &sourcev1.HelmChartVerification{Provider: "cosign"}
		},
		"spec.sourceRef.apiVersion: example.com/v1 has no sources": func(s *sourcev1.HelmChartSpec) { s.SourceRef.APIVersion = "example.com/v1" },
		`spec.sourceRef.kind "OCIRepository"`:                      func(s *sourcev1.HelmChartSpec) { s.SourceRef.Kind = "OCIRepository" },
	} {
		obj := chartObject("HelmRepository", "app", "*")
		set(&obj.Spec)
		NewWithT(t).Expect(w.build(obj)).To(MatchError(ContainSubstring(want)))
	}
}

func TestCredentialsStayWithTheRepository(t *testing.T) {
	g := NewWithT(t)
	r, w := newRepository(t), newWorld(t)
	packed := newChart(t, "app", "1.0.0", nil)
	var seen atomic.Pointer[string]
	elsewhere := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, request *http.Request) {
		header := request.Header.Get("Authorization")
		seen.Store(&header)
		_, _ = out.Write(packed)
	}))
	t.Cleanup(elsewhere.Close)
	r.add(t, packed, "app", "1.0.0", func(entry map[string]any) { entry["urls"] = []string{elsewhere.URL + "/app.tgz"} })
	repo := r.object()
	w.sync(repo)
	obj := chartObject("HelmRepository", "app", "*")
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(*seen.Load()).To(BeEmpty(), "the index names another host")

	g.Expect(w.client.Get(t.Context(), keyOf(repo), repo)).To(Succeed())
	repo.Spec.PassCredentials = true
	g.Expect(w.client.Update(t.Context(), repo)).To(Succeed())
	obj.Generation++
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(*seen.Load()).To(HavePrefix("Basic "))

	r.intercept = func(out http.ResponseWriter, request *http.Request) bool {
		http.Redirect(out, request, elsewhere.URL, http.StatusFound)
		return true
	}
	g.Expect(w.repositories.Reconcile(t.Context(), repo)).NotTo(Succeed(), "a package is no index")
	g.Expect(*seen.Load()).To(BeEmpty(), "a redirect leads to another host")
}

// TestTheQueryStaysWithTheRepository has a spec.url whose query is what lets one in,
// as those of storage accounts are.
func TestTheQueryStaysWithTheRepository(t *testing.T) {
	g := NewWithT(t)
	r, w := newRepository(t), newWorld(t)
	packed := newChart(t, "app", "1.0.0", nil)
	var seen atomic.Pointer[string]
	elsewhere := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, request *http.Request) {
		seen.Store(&request.URL.RawQuery)
		_, _ = out.Write(packed)
	}))
	t.Cleanup(elsewhere.Close)
	var own atomic.Pointer[string]
	r.intercept = func(_ http.ResponseWriter, request *http.Request) bool {
		own.Store(&request.URL.RawQuery)
		return false
	}
	r.add(t, packed, "app", "1.0.0", nil)
	r.add(t, packed, "app", "1.0.0+elsewhere", func(entry map[string]any) {
		entry["urls"] = []string{strings.TrimPrefix(elsewhere.URL, "http:") + "/app-1.0.0.tgz"}
	})
	repo := r.object()
	repo.Spec.URL += "?sig=hunter2"
	w.sync(repo)
	obj := chartObject("HelmRepository", "app", "1.0.0")
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(*own.Load()).To(Equal("sig=hunter2"))

	obj.Spec.Version, obj.Generation = "1.0.0+elsewhere", 2
	_ = w.build(obj) // the package says that it is another version
	g.Expect(seen.Load()).To(HaveValue(BeEmpty()), "the index names another host, without a scheme")
}
