package helm_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/hub/registry/signature"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/helm"
	"github.com/headwater-dev/headwater/hub/source/helm/chart"
	"github.com/headwater-dev/headwater/hub/source/helm/index"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const manyBytes = 5 << 20

// repository is a Helm repository over HTTP that wants a login.
type repository struct {
	*httptest.Server
	mu       sync.Mutex
	password string
	files    map[string][]byte
	entries  map[string][]map[string]any
	sent     atomic.Int64
	// intercept answers in the repository's place when it returns true.
	intercept func(http.ResponseWriter, *http.Request) bool
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{password: "s3cret", files: map[string][]byte{}, entries: map[string][]map[string]any{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	r.publish(t)
	return r
}

func (r *repository) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if r.intercept != nil && r.intercept(w, request) {
		return
	}
	r.mu.Lock()
	password, content, ok := r.password, r.files[request.URL.Path], r.files[request.URL.Path] != nil
	r.mu.Unlock()
	if _, got, _ := request.BasicAuth(); got != password {
		http.Error(w, "leak", http.StatusUnauthorized)
		return
	}
	if !ok {
		http.Error(w, "leak", http.StatusNotFound)
		return
	}
	etag := fmt.Sprintf("%q", sumOf(content))
	w.Header().Set("ETag", etag)
	if request.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	r.sent.Add(1)
	_, _ = w.Write(content)
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func (r *repository) protect(password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.password = password
}

// publish writes the index anew.
func (r *repository) publish(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "entries": r.entries})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	r.files["/charts/index.yaml"] = text
}

// add packages a chart and puts it into the index; change may change its entry.
func (r *repository) add(t *testing.T, packed []byte, name, version string, change func(entry map[string]any)) {
	t.Helper()
	file := name + "-" + version + ".tgz"
	entry := map[string]any{"name": name, "version": version, "urls": []string{file}, "digest": sumOf(packed), "created": "2024-01-01T00:00:00Z"}
	if change != nil {
		change(entry)
	}
	r.mu.Lock()
	r.files["/charts/"+file] = packed
	r.entries[name] = append(r.entries[name], entry)
	r.mu.Unlock()
	r.publish(t)
}

func (r *repository) object() *sourcev1.HelmRepository {
	obj := &sourcev1.HelmRepository{}
	obj.Namespace, obj.Name, obj.UID, obj.Generation = "team", "repo", "repo", 1
	obj.Status.ObservedGeneration = 1
	obj.Spec.URL = r.URL + "/charts"
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
	return obj
}

func secret(name string, data map[string]string) *corev1.Secret {
	made := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}, Data: map[string][]byte{}}
	for key, value := range data {
		made.Data[key] = []byte(value)
	}
	return made
}

// newChart is a package of a chart with the files, and a Chart.yaml of its own.
func newChart(t *testing.T, name, version string, files map[string]string) []byte {
	t.Helper()
	g := NewWithT(t)
	content := map[string][]byte{"Chart.yaml": fmt.Appendf(nil, "apiVersion: v2\nname: %s\nversion: %s\n", name, version)}
	for path, text := range files {
		if path != "Chart.yaml" {
			content[path] = []byte(text)
		}
	}
	c, err := chart.New(content, manyBytes)
	g.Expect(err).NotTo(HaveOccurred())
	packed, err := c.PackBytes(manyBytes)
	g.Expect(err).NotTo(HaveOccurred())
	return packed
}

// filesOf reads a packaged chart.
func filesOf(t *testing.T, file string) map[string]string {
	t.Helper()
	g := NewWithT(t)
	content, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	packed, err := artifact.Files(bytes.NewReader(content), artifact.Limits{})
	g.Expect(err).NotTo(HaveOccurred())
	files := map[string]string{}
	for name, body := range packed {
		_, below, _ := strings.Cut(name, "/")
		files[below] = string(body)
	}
	return files
}

// world holds both kinds and what they read, without a cluster.
type world struct {
	t            *testing.T
	client       client.Client
	store        *artifact.Store
	dir          string
	indexes      *index.Cache
	events       *record.FakeRecorder
	repositories *source.Reconciler[*sourcev1.HelmRepository]
	charts       *source.Reconciler[*sourcev1.HelmChart]
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(sourcev1.AddToScheme(scheme)).To(Succeed())
	objects = append(objects, secret("login", map[string]string{"username": "flux", "password": "s3cret"}))
	const plenty = 100
	w := &world{
		t: t, dir: t.TempDir(), indexes: index.NewCache(1 << 20), events: record.NewFakeRecorder(plenty),
		client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&sourcev1.HelmRepository{}, &sourcev1.GitRepository{}).Build(),
	}
	var err error
	w.store, err = artifact.NewStore(artifact.StoreOptions{Dir: w.dir, AdvertisedAddr: "hub.test:9090"})
	g.Expect(err).NotTo(HaveOccurred())
	events := reconcile.NewRecorder(w.events, nil, "source-controller", "")
	transport := access.NewTransport()
	w.repositories = &source.Reconciler[*sourcev1.HelmRepository]{
		Store: w.store, Events: events, Stored: "stored artifact: revision '%s'",
		Fetcher: helm.NewRepositoryFetcher(helm.RepositoryFetcher{Secrets: w.client, Transport: transport, Indexes: w.indexes, Scratch: w.store.WorkDir}),
	}
	w.charts = &source.Reconciler[*sourcev1.HelmChart]{
		Store: w.store, Events: events,
		Fetcher: &helm.ChartFetcher{
			Sources: w.client, Secrets: w.client, Transport: transport, Strangers: transport,
			Registries: &registry.Opener{Secrets: w.client, Transport: transport, Clouds: &cloud.Logins{}}, Signatures: signature.Verifier{Secrets: w.client}, Indexes: w.indexes,
			Limits: helm.Limits{Index: 50 << 20, Chart: 10 << 20, File: manyBytes}, Store: w.store, Scratch: w.store.WorkDir,
		},
	}
	return w
}

// sync reconciles the repository and writes its status, as the loop does.
func (w *world) sync(obj *sourcev1.HelmRepository) {
	w.t.Helper()
	g := NewWithT(w.t)
	err := w.client.Create(w.t.Context(), obj.DeepCopy())
	g.Expect(client.IgnoreAlreadyExists(err)).To(Succeed())
	g.Expect(w.repositories.Reconcile(w.t.Context(), obj)).To(Succeed())
	var live sourcev1.HelmRepository
	g.Expect(w.client.Get(w.t.Context(), client.ObjectKeyFromObject(obj), &live)).To(Succeed())
	live.Status = *obj.Status.DeepCopy()
	g.Expect(w.client.Status().Update(w.t.Context(), &live)).To(Succeed())
}

// git stores files as the artifact of a GitRepository.
func (w *world) git(revision string, files map[string]string) {
	w.t.Helper()
	g := NewWithT(w.t)
	dir := w.t.TempDir()
	for path, content := range files {
		g.Expect(os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o750)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600)).To(Succeed())
	}
	var archive bytes.Buffer
	g.Expect(artifact.Archive(w.t.Context(), &archive, os.DirFS(dir), nil)).To(Succeed())
	stored, err := w.store.Publish(w.t.Context(), artifact.Ref{Kind: "GitRepository", Namespace: "team", Name: "repo"}, revision,
		sumOf([]byte(revision))+".tar.gz", func(out io.Writer) error { _, err := out.Write(archive.Bytes()); return err })
	g.Expect(err).NotTo(HaveOccurred())
	obj := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "repo"}}
	g.Expect(client.IgnoreAlreadyExists(w.client.Create(w.t.Context(), obj))).To(Succeed())
	g.Expect(w.client.Get(w.t.Context(), client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	obj.Status.Artifact = stored
	g.Expect(w.client.Status().Update(w.t.Context(), obj)).To(Succeed())
}

// build reconciles the chart as the loop does.
func (w *world) build(obj *sourcev1.HelmChart) error {
	w.t.Helper()
	err := w.charts.Reconcile(w.t.Context(), obj)
	ready := metav1.Condition{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Succeeded"}
	if err != nil {
		ready.Status, ready.Reason = metav1.ConditionFalse, "Failed"
	} else {
		obj.Status.ObservedGeneration = obj.Generation
	}
	apimeta.SetStatusCondition(&obj.Status.Conditions, ready)
	return err
}

func (w *world) files(obj source.Object) map[string]string {
	w.t.Helper()
	NewWithT(w.t).Expect(w.store.Verify(obj.GetArtifact())).To(Succeed())
	return filesOf(w.t, filepath.Join(w.dir, obj.GetArtifact().Path))
}

func chartObject(kind, name, version string) *sourcev1.HelmChart {
	obj := &sourcev1.HelmChart{}
	obj.Namespace, obj.Name, obj.Generation = "team", "app", 1
	obj.Status.ObservedGeneration = 1
	obj.Spec = sourcev1.HelmChartSpec{Chart: name, Version: version, Interval: metav1.Duration{Duration: time.Minute}, ReconcileStrategy: "ChartVersion"}
	obj.Spec.SourceRef = sourcev1.LocalHelmChartSourceReference{Kind: kind, Name: "repo"}
	return obj
}

func condition(obj reconcile.Object, kind string) string {
	c := apimeta.FindStatusCondition(obj.CommonStatus().Conditions, kind)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
}

// podinfo is a real chart, by its files.
func podinfo(t *testing.T) map[string]string {
	t.Helper()
	g := NewWithT(t)
	root, err := os.OpenRoot("testdata")
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = root.Close() }()
	c, err := chart.ReadDir(t.Context(), root, "podinfo", manyBytes)
	g.Expect(err).NotTo(HaveOccurred())
	files := map[string]string{}
	for name, content := range c.Files {
		files[name] = string(content)
	}
	return files
}

func with(files map[string]string, prefix string, more map[string]string) map[string]string {
	all := map[string]string{}
	for name, content := range files {
		all[prefix+name] = content
	}
	maps.Copy(all, more)
	return all
}
