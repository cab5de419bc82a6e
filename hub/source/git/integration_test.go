package git_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source/git"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const patience = 30 * time.Second

// controlPlane is what the tests with a manager share, one after the other.
var controlPlane = testenv.Shared{CRDs: true}

// namespaces are those of the tenants.
var namespaces = []string{"team", "other", "third"}

// hub is the GitRepository controller and the artifact server, run by a manager
// against a real API server.
type hub struct {
	client.Client
	dir    string
	events *record.FakeRecorder
}

func startHub(t *testing.T) *hub {
	t.Helper()
	return startHubAt(t, reconcile.Pace{MinRetryDelay: 50 * time.Millisecond, MaxRetryDelay: 200 * time.Millisecond})
}

func startHubAt(t *testing.T, pace reconcile.Pace) *hub {
	t.Helper()
	g := NewWithT(t)
	ctrl.SetLogger(logr.Discard())
	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(sourcev1.AddToScheme(scheme)).To(Succeed())
	mgr, err := ctrl.NewManager(controlPlane.ControlPlane(t).Config(), ctrl.Options{
		Scheme:     scheme,
		Metrics:    server.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)}, // one controller for each test of this process
	})
	g.Expect(err).NotTo(HaveOccurred())

	addr := freeAddr(t)
	h := &hub{dir: t.TempDir(), events: record.NewFakeRecorder(100)}
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: h.dir, AdvertisedAddr: addr})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect((&artifact.Server{Store: store, Addr: addr}).AddToManager(mgr)).To(Succeed())
	g.Expect((&git.Controller{
		Store:  store,
		Events: reconcile.NewRecorder(h.events, scheme, "source-controller", ""),
		Pace:   pace,
	}).AddToManager(mgr)).To(Succeed())

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // until what it made is clean
	stopped := make(chan error, 1)
	go func() { stopped <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		NewWithT(t).Eventually(stopped, patience).Should(Receive(BeNil()))
	})
	h.Client, err = controlPlane.ControlPlane(t).Client(scheme)
	g.Expect(err).NotTo(HaveOccurred())
	for _, namespace := range namespaces {
		err = h.Create(t.Context(), &corev1.Namespace{ObjectMeta: ctrl.ObjectMeta{Name: namespace}})
		g.Expect(client.IgnoreAlreadyExists(err)).To(Succeed())
	}
	t.Cleanup(func() { h.clean(t) })
	return h
}

// clean deletes what the test has made, while the manager still runs.
func (h *hub) clean(t *testing.T) {
	g, ctx := NewWithT(t), context.WithoutCancel(t.Context())
	for _, namespace := range namespaces {
		for _, kind := range []client.Object{&sourcev1.GitRepository{}, &corev1.Secret{}} {
			g.Expect(h.DeleteAllOf(ctx, kind, client.InNamespace(namespace))).To(Succeed())
		}
	}
	var left sourcev1.GitRepositoryList
	g.Eventually(func() ([]sourcev1.GitRepository, error) { return left.Items, h.List(ctx, &left) }, patience).Should(BeEmpty())
}

func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// ready reads the object and returns its Ready condition as one line; empty
// until the controller has seen the newest generation.
func (h *hub) ready(t *testing.T, obj *sourcev1.GitRepository) func() string {
	return func() string {
		if err := h.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err.Error()
		}
		c := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready")
		if c == nil || c.ObservedGeneration != obj.Generation {
			return ""
		}
		return string(c.Status) + " " + c.Reason + " " + c.Message
	}
}

func (h *hub) patch(t *testing.T, obj *sourcev1.GitRepository, change func()) {
	t.Helper()
	before := obj.DeepCopy()
	change()
	NewWithT(t).Expect(h.Patch(t.Context(), obj, client.MergeFrom(before))).To(Succeed())
}

func download(t *testing.T, url string) map[string][]byte {
	t.Helper()
	g := NewWithT(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	g.Expect(err).NotTo(HaveOccurred())
	response, err := http.DefaultClient.Do(request)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	files, err := artifact.Files(bytes.NewReader(body), artifact.Limits{})
	g.Expect(err).NotTo(HaveOccurred())
	return files
}

func TestControllerFromCommitToArtifact(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	repository.Protect("flux", "s3cret")
	first := commit(t, repository, map[string]string{"app.yaml": "a: 1\n"})
	h := startHub(t)
	obj := newObject(repository.URL)
	obj.Spec.Interval.Duration = time.Hour
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
	g.Expect(h.Create(t.Context(), obj)).To(Succeed())

	g.Eventually(h.ready(t, obj), patience).Should(Equal("False AuthenticationFailed spec.secretRef: Secret team/login: it does not exist"))
	g.Expect(h.Create(t.Context(), newSecret("login", map[string]string{"username": "flux", "password": "s3cret"}))).To(Succeed())
	g.Eventually(h.ready(t, obj), patience).Should(Equal("True Succeeded stored artifact for revision 'main@sha1:" + first + "'"))
	g.Expect(obj.Status.ObservedGeneration).To(Equal(obj.Generation))
	g.Expect(obj.Finalizers).To(Equal([]string{"finalizers.fluxcd.io"}))
	g.Expect(download(t, obj.Status.Artifact.URL)).To(HaveKeyWithValue("app.yaml", []byte("a: 1\n")))

	second := commit(t, repository, map[string]string{"app.yaml": "a: 2\n"})
	h.patch(t, obj, func() { obj.Annotations = map[string]string{"reconcile.fluxcd.io/requestedAt": "now"} })
	g.Eventually(h.ready(t, obj), patience).Should(HaveSuffix(second + "'"))
	g.Expect(obj.Status.LastHandledReconcileAt).To(Equal("now"))
	g.Expect(download(t, obj.Status.Artifact.URL)).To(HaveKeyWithValue("app.yaml", []byte("a: 2\n")))

	h.patch(t, obj, func() { obj.Spec.Reference.Branch = "nope" })
	g.Eventually(h.ready(t, obj), patience).Should(Equal(`False GitOperationFailed spec.ref.branch "nope" does not exist in ` + repository.URL))
	g.Expect(download(t, obj.Status.Artifact.URL)).To(HaveKeyWithValue("app.yaml", []byte("a: 2\n")), "the last artifact stays served")

	h.patch(t, obj, func() { obj.Spec.Provider = "github" })
	g.Eventually(h.ready(t, obj), patience).Should(HavePrefix("False InvalidProviderConfiguration spec.secretRef: Secret team/login: its key githubAppID"))

	files := filepath.Join(h.dir, "gitrepository", "team", "fleet")
	g.Expect(files).To(BeADirectory())
	g.Expect(h.Delete(t.Context(), obj)).To(Succeed())
	g.Eventually(func() bool {
		return apierrors.IsNotFound(h.Get(t.Context(), client.ObjectKeyFromObject(obj), obj))
	}, patience).Should(BeTrue())
	g.Expect(files).NotTo(BeADirectory())
	close(h.events.Events)
	var events []string
	for event := range h.events.Events {
		events = append(events, event)
	}
	g.Expect(events).To(ContainElements(
		HavePrefix("Warning AuthenticationFailed spec.secretRef: Secret team/login"),
		HavePrefix("Normal NewArtifact stored artifact for commit 'Change files'"),
		HavePrefix("Warning GitOperationFailed spec.ref.branch"),
	))
	g.Expect(events).NotTo(ContainElement(HavePrefix("Normal Succeeded")), "what is new is told of once, also after a failure")
}

func TestControllerIsSilentWhenNothingChanges(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"app.yaml": "a: 1\n"})
	h := startHub(t)
	obj := newObject(repository.URL)
	obj.Spec.Interval.Duration = 100 * time.Millisecond
	g.Expect(h.Create(t.Context(), obj)).To(Succeed())
	g.Eventually(h.ready(t, obj), patience).Should(HavePrefix("True "))
	version := obj.ResourceVersion
	looks := repository.Requests().InfoRefs
	g.Eventually(func() int { return repository.Requests().InfoRefs }, patience).Should(BeNumerically(">", looks+5))
	g.Expect(repository.Requests().UploadPack).To(Equal(1))
	g.Expect(h.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	g.Expect(obj.ResourceVersion).To(Equal(version))
}

// TestControllerIsWoken changes what objects with a long interval depend on.
func TestControllerIsWoken(t *testing.T) {
	g := NewWithT(t)
	main, shared := newRepository(t), newRepository(t)
	commit(t, main, map[string]string{"app.yaml": "a: 1\n"})
	commit(t, shared, map[string]string{"base.yaml": "b: 1\n"})
	main.Protect("flux", "s3cret")
	h := startHub(t)
	other := newObject(shared.URL)
	other.Name = "shared"
	other.Spec.Interval.Duration = time.Hour
	obj := newObject(main.URL)
	obj.Spec.Interval.Duration = time.Hour
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
	obj.Spec.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: "shared"}}}
	login := newSecret("login", map[string]string{"username": "flux", "password": "s3cret"})
	login.Labels = map[string]string{"reconcile.fluxcd.io/watch": "Enabled"}
	for _, o := range []client.Object{login, other, obj} {
		g.Expect(h.Create(t.Context(), o)).To(Succeed())
	}
	included := func() string {
		if h.ready(t, obj)() == "" || obj.Status.Artifact == nil {
			return ""
		}
		return string(download(t, obj.Status.Artifact.URL)["shared/base.yaml"])
	}
	// The first artifact of what is included wakes sooner than the 30 s after
	// which a missing one is looked for again.
	g.Eventually(included, patience/2).Should(Equal("b: 1\n"))

	commit(t, shared, map[string]string{"base.yaml": "b: 2\n"})
	h.patch(t, other, func() { other.Annotations = map[string]string{"reconcile.fluxcd.io/requestedAt": "now"} })
	g.Eventually(included, patience).Should(Equal("b: 2\n"), "what is included has another artifact")

	login.Data["password"] = []byte("old")
	g.Expect(h.Update(t.Context(), login)).To(Succeed())
	g.Eventually(h.ready(t, obj), patience).Should(HavePrefix("False AuthenticationFailed"), "the Secret has the watch label")
}
