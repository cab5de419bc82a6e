package kustomize

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
	"github.com/headwater-dev/headwater/agent/remote"
	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
	"github.com/headwater-dev/headwater/shard"
)

var shared = testenv.Shared{CRDs: true}

func TestMain(m *testing.M) {
	build.ServeIfCalled()
	ctrl.SetLogger(logr.Discard())
	os.Exit(shared.Run(m))
}

// env is an agent that runs, with a namespace of its own, on a real API server
// that is hub and target at once.
type env struct {
	*WithT
	t         *testing.T
	hub       client.Client
	namespace string
	store     *artifact.Store
	events    *record.FakeRecorder
	// wrap, if set, stands between the agent and its targets.
	wrap  func(client.Client) client.Client
	drift DriftOptions
	// clock, if set, is the agent's.
	clock  clock.PassiveClock
	scheme *runtime.Scheme
	// hubAccount is the ServiceAccount that acts at the hub.
	hubAccount string
	// options and builds are the administrator's.
	options Options
	builds  BuildOptions
	// agent is the one that was started last.
	agent *Reconciler
}

// newEnv makes one; the tests that have one run beside each other.
func newEnv(t *testing.T) *env {
	t.Helper()
	t.Parallel()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, sourcev1.AddToScheme, kustomizev1.AddToScheme, fleetv1.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	config := shared.ControlPlane(t).Config()
	hub, err := client.New(config, client.Options{Scheme: scheme})
	g.Expect(err).NotTo(HaveOccurred())
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kustomize-"}}
	g.Expect(hub.Create(t.Context(), namespace)).To(Succeed())
	e := &env{WithT: g, t: t, hub: hub, namespace: namespace.Name, events: record.NewFakeRecorder(1000), scheme: scheme}
	e.store = e.startStore()
	e.assignHub()
	return e
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

// targets are the real ones, with what a test puts in between.
type targets struct {
	*remote.Clusters
	wrap func(client.Client) client.Client
}

func (t targets) Open(ctx context.Context, key shard.Key) (*remote.Target, error) {
	target, err := t.Clusters.Open(ctx, key)
	if err == nil && t.wrap != nil {
		target.Client = t.wrap(target.Client)
	}
	return target, err
}

// start runs the agent until the test ends or the returned function is called.
func (e *env) start() (stop func()) {
	e.t.Helper()
	mgr, err := ctrl.NewManager(shared.ControlPlane(e.t).Config(), ctrl.Options{
		Scheme:  e.scheme,
		Metrics: server.Options{BindAddress: "0"},
		Cache:   cache.Options{DefaultNamespaces: map[string]cache.Config{e.namespace: {}}},
		// Each test runs managers of its own in one process.
		Controller: ctrlconfig.Controller{SkipNameValidation: ptr.To(true)},
	})
	e.Expect(err).NotTo(HaveOccurred())
	recorder := reconcile.NewRecorder(e.events, e.scheme, "headwater-agent", "")
	clusters := &remote.Clusters{
		HubUID: e.namespace, Agent: "agent-0", Identity: "agent-0_1", Namespace: e.namespace, Events: recorder,
		Workers: 8, HubAccount: e.hubAccount,
		Fence: remote.FenceOptions{Namespace: e.namespace, Duration: 30 * time.Second, Request: 10 * time.Second, Idle: 30 * time.Second},
	}
	e.Expect(clusters.AddToManager(mgr)).To(Succeed())
	artifacts, err := artifact.NewCache(artifact.CacheOptions{Dir: e.t.TempDir()})
	e.Expect(err).NotTo(HaveOccurred())
	e.agent = &Reconciler{
		Targets: targets{clusters, e.wrap}, Artifacts: artifacts, Events: recorder, Clock: e.clock, Options: e.options, Builds: e.builds, Drift: e.drift,
	}
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

// push publishes a revision of the source repo: pairs of path and content. Objects
// get the namespace of the test where they say NS.
func (e *env) push(revision string, pairs ...string) {
	e.t.Helper()
	dir := e.t.TempDir()
	for i := 0; i < len(pairs); i += 2 {
		path := filepath.Join(dir, pairs[i])
		e.Expect(os.MkdirAll(filepath.Dir(path), 0o750)).To(Succeed())
		e.Expect(os.WriteFile(path, []byte(strings.ReplaceAll(pairs[i+1], "NS", e.namespace)), 0o600)).To(Succeed())
	}
	published, err := e.store.Publish(e.t.Context(), artifact.Ref{Kind: "GitRepository", Namespace: e.namespace, Name: "repo"},
		"main@sha1:"+revision, revision+".tar.gz",
		func(w io.Writer) error { return artifact.Archive(e.t.Context(), w, os.DirFS(dir), nil) })
	e.Expect(err).NotTo(HaveOccurred())
	repository := &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "repo"},
		Spec:       sourcev1.GitRepositorySpec{URL: "https://example.com/repo", Interval: metav1.Duration{Duration: time.Hour}},
	}
	if err := e.hub.Create(e.t.Context(), repository); apierrors.IsAlreadyExists(err) {
		e.Expect(e.hub.Get(e.t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	} else {
		e.Expect(err).NotTo(HaveOccurred())
	}
	before := repository.DeepCopy()
	repository.Status.Artifact = published
	e.Expect(e.hub.Status().Patch(e.t.Context(), repository, client.MergeFrom(before))).To(Succeed())
}

// kustomization creates one that prunes, applies the source of its name and
// retries after a second.
func (e *env) kustomization(name string, change ...func(*kustomizev1.Kustomization)) {
	e.t.Helper()
	obj := &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: name},
		Spec: kustomizev1.KustomizationSpec{
			Interval:      metav1.Duration{Duration: time.Hour},
			RetryInterval: &metav1.Duration{Duration: time.Second},
			Prune:         true,
			SourceRef:     kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "repo"},
		},
	}
	for _, change := range change {
		change(obj)
	}
	e.Expect(e.hub.Create(e.t.Context(), obj)).To(Succeed())
}

func (e *env) get(name string) *kustomizev1.Kustomization {
	e.t.Helper()
	obj := &kustomizev1.Kustomization{}
	e.Expect(e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: name}, obj)).To(Succeed())
	return obj
}

func (e *env) edit(name string, change func(*kustomizev1.Kustomization)) {
	e.t.Helper()
	obj := e.get(name)
	before := obj.DeepCopy()
	change(obj)
	e.Expect(e.hub.Patch(e.t.Context(), obj, client.MergeFrom(before))).To(Succeed())
}

// ready is the Ready condition as "status reason: message"; empty while it is of an older
// generation.
func (e *env) ready(name string) string { return e.condition(name, "Ready") }

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
// API server: a fence whose making was not answered in time takes 40 s alone.
const within = "3m"

// becomes waits until Ready says that.
func (e *env) becomes(name, want string) {
	e.t.Helper()
	e.EventuallyWithOffset(1, func() string { return e.ready(name) }, within, "50ms").Should(HavePrefix(want))
}

// inventory is the ids of the inventory of the Kustomization web.
func (e *env) inventory() []string {
	e.t.Helper()
	ids := []string{}
	inventory := e.get("web").Status.Inventory
	if inventory == nil {
		return nil
	}
	for _, entry := range inventory.Entries {
		ids = append(ids, strings.ReplaceAll(entry.ID, e.namespace, "NS"))
	}
	return ids
}

// object reads an object of the target; nil when there is none.
func (e *env) object(apiVersion, kind, name string) *unstructured.Unstructured {
	e.t.Helper()
	obj := &unstructured.Unstructured{}
	obj.SetAPIVersion(apiVersion)
	obj.SetKind(kind)
	err := e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: name}, obj)
	if apierrors.IsNotFound(err) {
		return nil
	}
	e.Expect(err).NotTo(HaveOccurred())
	return obj
}

// create makes an object of YAML.
func (e *env) create(text string) {
	e.t.Helper()
	e.Expect(e.hub.Create(e.t.Context(), parsed(e, text))).To(Succeed())
}

// parsed is the object that YAML stands for, in the namespace of the test where
// it says NS.
func parsed(e *env, text string) *unstructured.Unstructured {
	e.t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(strings.ReplaceAll(text, "NS", e.namespace)))
	e.Expect(err).NotTo(HaveOccurred())
	obj := &unstructured.Unstructured{}
	e.Expect(obj.UnmarshalJSON(raw)).To(Succeed())
	return obj
}

func (e *env) repository() *sourcev1.GitRepository {
	e.t.Helper()
	obj := &sourcev1.GitRepository{}
	e.Expect(e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "repo"}, obj)).To(Succeed())
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
	}, within, "10ms").Should(ContainSubstring(part))
	return strings.ReplaceAll(found, e.namespace, "NS")
}

// request asks for a reconcile.
func (e *env) request(name, value string) {
	e.t.Helper()
	e.edit(name, func(obj *kustomizev1.Kustomization) {
		metav1.SetMetaDataAnnotation(&obj.ObjectMeta, meta.ReconcileRequestAnnotation, value)
	})
	e.EventuallyWithOffset(1, func() string { return e.get(name).Status.LastHandledReconcileAt }, within, "20ms").Should(Equal(value))
}

// configMap is the YAML of a ConfigMap.
func configMap(name, namespace, value string) string {
	raw, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": name, "namespace": namespace},
		"data":     map[string]any{"value": value},
	})
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// one is a manifest of which nothing matters.
const one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: a}\n"
