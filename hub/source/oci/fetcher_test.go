package oci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	registries "github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/oci"
	"github.com/headwater-dev/headwater/hub/source/sourcetest"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const fluxLayer = "application/vnd.cncf.flux.content.v1.tar+gzip"

// remoteRegistry is a registry that wants a login, over TLS.
type remoteRegistry struct {
	*httptest.Server
	password atomic.Pointer[string]
	blobs    atomic.Int64
	// intercept answers in the registry's place when it returns true.
	intercept func(http.ResponseWriter, *http.Request) bool
}

// kinds are the registries that what differs between registries is tested with.
var kinds = map[string]func(*testing.T) http.Handler{
	"without referrers": plain,
	"with referrers": func(*testing.T) http.Handler {
		return registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	},
	"Distribution": distribution,
}

// plain is go-containerregistry's own registry.
func plain(*testing.T) http.Handler { return registry.New(registry.Logger(log.New(io.Discard, "", 0))) }

// distribution is the registry that most others are made of, behind a proxy.
func distribution(t *testing.T) http.Handler {
	t.Helper()
	at := &url.URL{Scheme: "http", Host: testenv.StartDockerRegistry(t, "").Addr}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(at)
		r.Out.Host = r.In.Host
		r.Out.Header.Del("Authorization") // it was checked in front
		r.SetXForwarded()
	}}
}

func newRegistry(t *testing.T) *remoteRegistry {
	t.Helper()
	return newRegistryOf(t, plain)
}

func newRegistryOf(t *testing.T, kind func(*testing.T) http.Handler) *remoteRegistry {
	t.Helper()
	r := &remoteRegistry{}
	r.protect("s3cret")
	inner := kind(t)
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if _, password, _ := request.BasicAuth(); password != *r.password.Load() {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "leak", http.StatusUnauthorized)
			return
		}
		if r.intercept != nil && r.intercept(w, request) {
			return
		}
		if request.Method == http.MethodGet && strings.Contains(request.URL.Path, "/blobs/") {
			r.blobs.Add(1)
		}
		inner.ServeHTTP(w, request)
	}))
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(r.Close)
	return r
}

func (r *remoteRegistry) protect(password string) { r.password.Store(&password) }

func (r *remoteRegistry) host() string { return strings.TrimPrefix(r.URL, "https://") }

func (r *remoteRegistry) push(t *testing.T, tag string, image v1.Image) string {
	t.Helper()
	g := NewWithT(t)
	ref, err := name.ParseReference(r.host() + "/team/app:" + tag)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(remote.Write(ref, image, remote.WithTransport(r.Client().Transport),
		remote.WithAuth(&authn.Basic{Username: "flux", Password: *r.password.Load()}))).To(Succeed())
	digest, err := image.Digest()
	g.Expect(err).NotTo(HaveOccurred())
	return digest.String()
}

// login is the Secret with a login for the host.
func (r *remoteRegistry) login(password string) *corev1.Secret {
	auth := base64.StdEncoding.EncodeToString([]byte("flux:" + password))
	return newSecret("login", map[string]string{".dockerconfigjson": fmt.Sprintf(`{"auths":{"https://%s":{"auth":%q}}}`, r.host(), auth)})
}

func (r *remoteRegistry) ca() *corev1.Secret {
	return newSecret("ca", map[string]string{"ca.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}))})
}

func (r *remoteRegistry) object() *sourcev1.OCIRepository {
	obj := &sourcev1.OCIRepository{}
	obj.Namespace, obj.Name = "team", "app"
	obj.Spec.URL = "oci://" + r.host() + "/team/app"
	obj.Spec.Interval.Duration = time.Minute
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
	obj.Spec.CertSecretRef = &meta.LocalObjectReference{Name: "ca"}
	return obj
}

func newSecret(name string, data map[string]string) *corev1.Secret {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}, Data: map[string][]byte{}}
	for key, value := range data {
		secret.Data[key] = []byte(value)
	}
	return secret
}

func (r *remoteRegistry) fetcher(more ...client.Object) *oci.Fetcher {
	return &oci.Fetcher{
		Registries: registries.Opener{Secrets: fake.NewClientBuilder().WithObjects(append(more, r.login("s3cret"), r.ca())...).Build(),
			Transport: access.NewTransport()},
	}
}

func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	tw := tar.NewWriter(gz)
	g := NewWithT(t)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		g.Expect(tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))})).To(Succeed())
		_, err := io.WriteString(tw, files[name])
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(tw.Close()).To(Succeed())
	g.Expect(gz.Close()).To(Succeed())
	return b.Bytes()
}

// artifactOf is what `flux push artifact` makes, with the layers given.
func artifactOf(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.cncf.flux.config.v1+json")
	image = mutate.Annotations(image, map[string]string{
		"org.opencontainers.image.source":   "https://git.test/app",
		"org.opencontainers.image.revision": "main@sha1:abc",
	}).(v1.Image)
	image, err := mutate.AppendLayers(image, layers...)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return image
}

func filesLayer(t *testing.T, files map[string]string) v1.Layer {
	return static.NewLayer(tarball(t, files), fluxLayer)
}

func TestFetcherKeepsTheContract(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) { keepsTheContract(t, kind) })
	}
}

func keepsTheContract(t *testing.T, kind func(*testing.T) http.Handler) {
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Subject[*sourcev1.OCIRepository] {
		r := newRegistryOf(t, kind)
		obj, all := r.object(), map[string]string{}
		return &sourcetest.Subject[*sourcev1.OCIRepository]{
			Fetcher: r.fetcher(),
			Object:  obj,
			Commit: func(t *testing.T, files map[string]string) {
				maps.Copy(all, files)
				r.push(t, "latest", artifactOf(t, filesLayer(t, all)))
			},
			Downloads: func() int { return int(r.blobs.Load()) },
			WrongReference: func(*testing.T) []string {
				obj.Spec.Reference = &sourcev1.OCIRepositoryRef{Tag: "nope"}
				return []string{`tag "nope"`, obj.Spec.URL}
			},
			WrongCredentials: func(*testing.T) (want, secrets []string) {
				r.protect("changed")
				return []string{"Secret team/login", "spec.secretRef", obj.Spec.URL}, []string{"s3cret", "changed", "leak"}
			},
		}
	})
}

// fetch resolves and fetches into a fresh directory.
func fetch(t *testing.T, f *oci.Fetcher, obj *sourcev1.OCIRepository) (revision, summary, dir, file string) {
	t.Helper()
	g := NewWithT(t)
	rev, err := f.Resolve(t.Context(), obj)
	g.Expect(err).NotTo(HaveOccurred())
	dir = filepath.Join(t.TempDir(), "tree")
	g.Expect(os.Mkdir(dir, 0o700)).To(Succeed())
	content, err := f.Fetch(t.Context(), obj, rev, dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(content.Metadata).To(HaveKeyWithValue("org.opencontainers.image.revision", "main@sha1:abc"))
	return rev.Name, content.Summary, dir, content.File
}

func TestReferences(t *testing.T) {
	r := newRegistry(t)
	digests := map[string]string{}
	for _, tag := range []string{"latest", "v1.2.0", "1.10.0", "2.0.0-rc.1", "1.11.0-dev", "nightly"} {
		digests[tag] = r.push(t, tag, artifactOf(t, filesLayer(t, map[string]string{"tag": tag})))
	}
	for name, c := range map[string]struct {
		ref *sourcev1.OCIRepositoryRef
		tag string
	}{
		"default":          {nil, "latest"},
		"tag":              {&sourcev1.OCIRepositoryRef{Tag: "nightly"}, "nightly"},
		"range":            {&sourcev1.OCIRepositoryRef{SemVer: "1.x", Tag: "nightly"}, "1.10.0"},
		"range with v":     {&sourcev1.OCIRepositoryRef{SemVer: "~1.2"}, "v1.2.0"},
		"pre-releases":     {&sourcev1.OCIRepositoryRef{SemVer: ">=1.0.0-0"}, "2.0.0-rc.1"},
		"range and filter": {&sourcev1.OCIRepositoryRef{SemVer: ">=1.0.0-0", SemverFilter: ".*-dev$"}, "1.11.0-dev"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			obj := r.object()
			obj.Spec.Reference = c.ref
			revision, summary, dir, _ := fetch(t, r.fetcher(), obj)
			g.Expect(revision).To(Equal(c.tag + "@" + digests[c.tag]))
			g.Expect(summary).To(Equal("with revision '" + revision + "' from '" + obj.Spec.URL +
				"', origin source 'https://git.test/app', origin revision 'main@sha1:abc'"))
			g.Expect(os.ReadFile(filepath.Join(dir, "tag"))).To(BeEquivalentTo(c.tag))
		})
	}
	g, obj := NewWithT(t), r.object()
	obj.Spec.Reference = &sourcev1.OCIRepositoryRef{Digest: digests["nightly"], SemVer: "1.x", Tag: "latest"}
	revision, _, dir, _ := fetch(t, r.fetcher(), obj)
	g.Expect(revision).To(Equal(digests["nightly"]))
	g.Expect(os.ReadFile(filepath.Join(dir, "tag"))).To(BeEquivalentTo("nightly"))
}

func TestLayers(t *testing.T) {
	r := newRegistry(t)
	chart := tarball(t, map[string]string{"app/Chart.yaml": "name: app"})
	r.push(t, "latest", artifactOf(t,
		filesLayer(t, map[string]string{"first": "1"}),
		static.NewLayer(chart, "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
	))
	g, obj := NewWithT(t), r.object()
	obj.Spec.LayerSelector = &sourcev1.OCILayerSelector{MediaType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip"}
	_, _, dir, file := fetch(t, r.fetcher(), obj)
	g.Expect(file).To(BeEmpty())
	g.Expect(os.ReadFile(filepath.Join(dir, "app", "Chart.yaml"))).To(BeEquivalentTo("name: app"))

	obj.Spec.LayerSelector.Operation = "copy"
	f := r.fetcher()
	_, _, _, file = fetch(t, f, obj)
	g.Expect(os.ReadFile(file)).To(Equal(chart))
	g.Expect(f.Observed(obj)).To(BeFalse())
	f.Observe(obj, source.Revision{})
	g.Expect(f.Observed(obj)).To(BeTrue())

	obj.Spec.LayerSelector.MediaType = "application/none"
	_, err := f.Fetch(t.Context(), obj, resolve(t, f, obj), t.TempDir())
	g.Expect(err).To(MatchError(ContainSubstring(`no layer has the media type "application/none" (spec.layerSelector.mediaType)`)))
}

// TestManyAnnotations are more than a status could hold.
func TestManyAnnotations(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	notes := map[string]string{}
	for i := range 100 {
		notes[fmt.Sprintf("note-%d", i)] = strings.Repeat("x", 1000)
	}
	r.push(t, "latest", mutate.Annotations(artifactOf(t, filesLayer(t, map[string]string{"a": "1"})), notes).(v1.Image))
	f, obj := r.fetcher(), r.object()
	_, err := f.Fetch(t.Context(), obj, resolve(t, f, obj), filepath.Join(t.TempDir(), "tree"))
	g.Expect(err).To(MatchError(And(ContainSubstring(obj.Spec.URL), MatchRegexp("the manifest's annotations have [0-9]+ bytes, more than 65536"))))
	g.Expect(r.blobs.Load()).To(BeZero(), "the layer is not asked for")
}

func TestBadLayers(t *testing.T) {
	r := newRegistry(t)
	outside := filepath.Join(t.TempDir(), "outside")
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"escape":   {map[string]string{"../../x": "1"}, "leads out of the archive"},
		"absolute": {map[string]string{outside: "1"}, "leads out of the archive"},
		"bomb":     {map[string]string{"bomb": strings.Repeat("x", 40<<20)}, `"bomb": the archive is too large: it unpacks to more than 500 times its size`},
	} {
		t.Run(name, func(t *testing.T) {
			r.push(t, "latest", artifactOf(t, filesLayer(t, c.files)))
			f, obj := r.fetcher(), r.object()
			_, err := f.Fetch(t.Context(), obj, resolve(t, f, obj), t.TempDir())
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.want)))
		})
	}
	g := NewWithT(t)
	g.Expect(outside).NotTo(BeAnExistingFile())
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	r.intercept = func(w http.ResponseWriter, request *http.Request) bool {
		if request.Method != http.MethodGet || !strings.Contains(request.URL.Path, "/blobs/") {
			return false
		}
		_, _ = w.Write(tarball(t, map[string]string{"b": "2"}))
		return true
	}
	f, obj := r.fetcher(), r.object()
	_, err := f.Fetch(t.Context(), obj, resolve(t, f, obj), t.TempDir())
	g.Expect(err).To(HaveOccurred(), "the layer is not what its digest names")
}

func TestALayerByDrops(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	r.intercept = func(w http.ResponseWriter, request *http.Request) bool {
		if !strings.Contains(request.URL.Path, "/blobs/") {
			return false
		}
		_, _ = w.Write([]byte{0x1f})
		_ = http.NewResponseController(w).Flush()
		<-request.Context().Done()
		return true
	}
	f, obj := r.fetcher(), r.object()
	rev := resolve(t, f, obj)
	obj.Spec.Timeout = &metav1.Duration{Duration: 200 * time.Millisecond}
	_, err := f.Fetch(t.Context(), obj, rev, t.TempDir())
	g.Expect(err).To(MatchError(ContainSubstring("took longer than 200ms (spec.timeout)")))
}
