package helm

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/agent/build"
	"github.com/headwater-dev/headwater/agent/helm/action"
	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/remote"
	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared = testenv.Shared{CRDs: true}

func TestMain(m *testing.M) {
	build.ServeIfCalled()
	ctrl.SetLogger(logr.Discard())
	os.Exit(shared.Run(m))
}

// env is an agent that runs, with a namespace of its own, on a real API server
// that is hub and target at once. The test itself is the hub: it makes the
// charts that HelmCharts ask for.
type env struct {
	*WithT
	t         *testing.T
	hub       client.Client
	namespace string
	store     *artifact.Store
	events    *record.FakeRecorder
	scheme    *runtime.Scheme
	options   Options
	// identity of the agent's process.
	identity string
	// own selects the HelmReleases that the agent has; all when nil.
	own labels.Selector
	// also are more namespaces that the agent reads.
	also  []string
	fence remote.FenceOptions
	// clock of the agent; the real one when nil.
	clock clock.PassiveClock
	// sources is where the agent reads sources; its cache when nil.
	sources client.Reader
	agent   *Reconciler
}

func newEnv(t *testing.T) *env {
	t.Helper()
	return newEnvIn(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "helm-"}})
}

// newEnvIn makes one; the tests that have one run beside each other.
func newEnvIn(t *testing.T, namespace *corev1.Namespace) *env {
	t.Helper()
	t.Parallel()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, sourcev1.AddToScheme, helmv2.AddToScheme, fleetv1.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	config := shared.ControlPlane(t).Config()
	hub, err := client.New(config, client.Options{Scheme: scheme})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(hub.Create(t.Context(), namespace)).To(Succeed())
	e := &env{
		WithT: g, t: t, hub: hub, namespace: namespace.Name, events: record.NewFakeRecorder(1000), scheme: scheme, identity: "agent-0_1",
		fence: remote.FenceOptions{Namespace: namespace.Name, Duration: 30 * time.Second, Request: 10 * time.Second, Idle: 30 * time.Second},
	}
	e.store = e.startStore()
	e.assignHub()
	return e
}

// in is the same for a case of a test.
func (e *env) in(t *testing.T) *env {
	t.Helper()
	same := *e
	same.WithT, same.t = NewWithT(t), t
	return &same
}

// startStore serves artifacts over HTTP, as the hub does.
func (e *env) startStore() *artifact.Store {
	e.t.Helper()
	listener, err := new(net.ListenConfig).Listen(e.t.Context(), "tcp", "127.0.0.1:0")
	e.Expect(err).NotTo(HaveOccurred())
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: e.t.TempDir(), AdvertisedAddr: listener.Addr().String()})
	e.Expect(err).NotTo(HaveOccurred())
	server := &http.Server{Handler: store, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	e.t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return store
}

// assignHub gives the agent all partitions of the hub.
func (e *env) assignHub() {
	e.t.Helper()
	record := &fleetv1.RemoteCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "hub"},
		Spec:       fleetv1.RemoteClusterSpec{Mode: fleetv1.HubMode},
	}
	e.Expect(e.hub.Create(e.t.Context(), record)).To(Succeed())
	for partition := range int32(16) {
		record.Status.Assignments = append(record.Status.Assignments, fleetv1.Assignment{Partition: partition, Agent: "agent-0", Epoch: 1})
	}
	e.Expect(e.hub.Status().Update(e.t.Context(), record)).To(Succeed())
}

// start runs the agent until the test ends or the returned function is called.
func (e *env) start() (stop func()) {
	e.t.Helper()
	namespaces := map[string]cache.Config{e.namespace: {}}
	for _, more := range e.also {
		namespaces[more] = cache.Config{}
	}
	mgr, err := ctrl.NewManager(shared.ControlPlane(e.t).Config(), ctrl.Options{
		Scheme:  e.scheme,
		Metrics: server.Options{BindAddress: "0"},
		Cache: cache.Options{
			DefaultNamespaces: namespaces,
			ByObject:          map[client.Object]cache.ByObject{&helmv2.HelmRelease{}: {Label: e.own}},
		},
		// Each test runs managers of its own in one process.
		Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)},
	})
	e.Expect(err).NotTo(HaveOccurred())
	recorder := reconcile.NewRecorder(e.events, e.scheme, "headwater-agent", "")
	clusters := &remote.Clusters{
		HubUID: e.namespace, Agent: "agent-0", Identity: e.identity, Namespace: e.namespace, Events: recorder,
		Workers: 8, ProbeEvery: 200 * time.Millisecond, Drain: 5 * time.Second,
		Fence: e.fence,
	}
	e.Expect(clusters.AddToManager(mgr)).To(Succeed())
	artifacts, err := artifact.NewCache(artifact.CacheOptions{Dir: e.t.TempDir()})
	e.Expect(err).NotTo(HaveOccurred())
	e.agent = &Reconciler{Targets: clusters, Artifacts: artifacts, Events: recorder, Builder: build.New(2, 0), Options: e.options, Clock: e.clock, Sources: e.sources}
	e.Expect(e.agent.AddToManager(mgr)).To(Succeed())

	ctx, cancel := context.WithCancel(e.t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		e.Expect(<-done).To(Succeed())
	})
	e.t.Cleanup(stop)
	return stop
}

// files of a chart by their paths.
type files map[string]string

// appChart is a chart named app of that version, with more files, or others.
func appChart(version string, more files) files {
	all := files{
		"Chart.yaml":         "apiVersion: v2\nname: app\nversion: " + version + "\nappVersion: a" + version + "\n",
		"values.yaml":        "value: default\n",
		"templates/one.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {value: {{ .Values.value | quote }}}\n",
	}
	for path, content := range more {
		all[path] = content
		if content == "" {
			delete(all, path)
		}
	}
	return all
}

// pack makes a package of the chart.
func (e *env) pack(all files) []byte {
	e.t.Helper()
	var buffered []*loader.BufferedFile
	for path, content := range all {
		buffered = append(buffered, &loader.BufferedFile{Name: path, Data: []byte(strings.ReplaceAll(content, "NS", e.namespace))})
	}
	loaded, err := loader.LoadFiles(buffered)
	e.Expect(err).NotTo(HaveOccurred())
	return e.save(loaded)
}

func (e *env) save(loaded *helmchart.Chart) []byte {
	e.t.Helper()
	path, err := chartutil.Save(loaded, e.t.TempDir())
	e.Expect(err).NotTo(HaveOccurred())
	packed, err := os.ReadFile(path)
	e.Expect(err).NotTo(HaveOccurred())
	return packed
}

// push publishes the chart that the HelmRelease's HelmChart asks for, once there
// is one.
func (e *env) push(release string, all files) {
	e.t.Helper()
	e.pushPacked(release, version(all), e.pack(all))
}

func version(all files) string {
	var head struct{ Version string }
	utilruntime.Must(yaml.Unmarshal([]byte(all["Chart.yaml"]), &head))
	return head.Version
}

func (e *env) pushPacked(name, version string, packed []byte) {
	e.t.Helper()
	obj := &sourcev1.HelmChart{}
	e.Eventually(func() error {
		return e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: e.namespace + "-" + name}, obj)
	}, "2m", "20ms").Should(Succeed())
	before := obj.DeepCopy()
	obj.Status.Artifact = e.publish(sourcev1.HelmChartKind, obj.Name, version, packed)
	obj.Status.ObservedGeneration = obj.Generation
	e.Expect(e.hub.Status().Patch(e.t.Context(), obj, client.MergeFrom(before))).To(Succeed())
}

func (e *env) publish(kind, name, revision string, packed []byte) *meta.Artifact {
	e.t.Helper()
	file := strings.NewReplacer("/", "-", ":", "-", "@", "-").Replace(revision) + ".tgz"
	published, err := e.store.Publish(e.t.Context(), artifact.Ref{Kind: kind, Namespace: e.namespace, Name: name},
		revision, file, func(w io.Writer) error {
			_, err := io.Copy(w, bytes.NewReader(packed))
			return err
		})
	e.Expect(err).NotTo(HaveOccurred())
	return published
}

// release creates a HelmRelease of a chart in a repository.
func (e *env) release(name string, change ...func(*helmv2.HelmRelease)) {
	e.t.Helper()
	obj := &helmv2.HelmRelease{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: name},
		Spec: helmv2.HelmReleaseSpec{
			Interval: metav1.Duration{Duration: time.Hour},
			Chart: &helmv2.HelmChartTemplate{Spec: helmv2.HelmChartTemplateSpec{
				Chart: "app", SourceRef: helmv2.CrossNamespaceObjectReference{Kind: "HelmRepository", Name: "repo"},
			}},
		},
	}
	for _, change := range change {
		change(obj)
	}
	e.Expect(e.hub.Create(e.t.Context(), obj)).To(Succeed())
}

func values(text string) *apiextensionsv1.JSON {
	raw, err := yaml.YAMLToJSON([]byte(text))
	utilruntime.Must(err)
	return &apiextensionsv1.JSON{Raw: raw}
}

func (e *env) get(name string) *helmv2.HelmRelease {
	e.t.Helper()
	obj := &helmv2.HelmRelease{}
	e.Expect(e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: name}, obj)).To(Succeed())
	return obj
}

func (e *env) edit(name string, change func(*helmv2.HelmRelease)) {
	e.t.Helper()
	obj := e.get(name)
	before := obj.DeepCopy()
	change(obj)
	e.Expect(e.hub.Patch(e.t.Context(), obj, client.MergeFrom(before))).To(Succeed())
}

// ready is the Ready condition as "status reason: message", of the newest
// generation; empty while that has none.
func (e *env) ready(name string) string {
	e.t.Helper()
	return e.condition(name, meta.ReadyCondition)
}

func (e *env) condition(name, kind string) string {
	e.t.Helper()
	obj := e.get(name)
	condition := apimeta.FindStatusCondition(obj.Status.Conditions, kind)
	if condition == nil || condition.ObservedGeneration != obj.Generation {
		return ""
	}
	return string(condition.Status) + " " + condition.Reason + ": " + strings.ReplaceAll(condition.Message, e.namespace, "NS")
}

// within is how long something may take while all tests of the package run on one
// busy machine. It says nothing of how long it takes.
const within = "3m"

// becomes waits until Ready says that.
func (e *env) becomes(name, want string) {
	e.t.Helper()
	e.EventuallyWithOffset(1, func() string { return e.ready(name) }, within, "50ms").Should(HavePrefix(want))
}

// value is what a ConfigMap of the release says; empty when there is none.
func (e *env) value(name string) string {
	e.t.Helper()
	var found corev1.ConfigMap
	err := e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: name}, &found)
	if apierrors.IsNotFound(err) {
		return ""
	}
	e.Expect(err).NotTo(HaveOccurred())
	return found.Data["value"]
}

// records of the release in Helm's storage, the newest first, as version and
// status.
func (e *env) records(name string) []string {
	e.t.Helper()
	found, _, err := action.Records(e.t.Context(), e.hub, release.Target{Name: name, Namespace: e.namespace, StorageNamespace: e.namespace})
	e.Expect(err).NotTo(HaveOccurred())
	said := []string{}
	for _, record := range found {
		said = append(said, "v"+string(rune('0'+record.Version))+" "+record.Status.String())
	}
	return said
}

// history of the status, as version, status and action.
func (e *env) history(name string) []string {
	e.t.Helper()
	said := []string{}
	for _, snapshot := range e.get(name).Status.History {
		said = append(said, "v"+string(rune('0'+snapshot.Version))+" "+snapshot.Status+" by "+snapshot.Action)
	}
	return said
}

// create makes an object of YAML.
func (e *env) create(text string) *unstructured.Unstructured {
	e.t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(strings.ReplaceAll(text, "NS", e.namespace)))
	e.Expect(err).NotTo(HaveOccurred())
	obj := &unstructured.Unstructured{}
	e.Expect(obj.UnmarshalJSON(raw)).To(Succeed())
	e.Expect(e.hub.Create(e.t.Context(), obj)).To(Succeed())
	return obj
}

// published waits for an event and returns it; those before it are passed over.
func (e *env) published(part string) string {
	e.t.Helper()
	var found string
	e.EventuallyWithOffset(1, func() string {
		select {
		case found = <-e.events.Events:
		default:
		}
		return found
	}, "2m", "10ms").Should(ContainSubstring(part))
	return strings.ReplaceAll(found, e.namespace, "NS")
}

// request asks for a reconcile of the HelmRelease web, and for more by further
// annotations.
func (e *env) request(value string, more ...string) {
	e.t.Helper()
	e.requestOf("web", value, more...)
}

func (e *env) requestOf(name, value string, more ...string) {
	e.t.Helper()
	e.edit(name, func(obj *helmv2.HelmRelease) {
		metav1.SetMetaDataAnnotation(&obj.ObjectMeta, meta.ReconcileRequestAnnotation, value)
		for _, annotation := range more {
			metav1.SetMetaDataAnnotation(&obj.ObjectMeta, annotation, value)
		}
	})
	e.EventuallyWithOffset(1, func() string { return e.get(name).Status.LastHandledReconcileAt }, "2m", "20ms").Should(Equal(value))
}
