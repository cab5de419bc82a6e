package image_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	kuberecord "k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/image"
	"github.com/headwater-dev/headwater/hub/image/policy"
	"github.com/headwater-dev/headwater/hub/image/repository"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

const within = 20 * time.Second

var shared = testenv.Shared{CRDs: true}

// services are the clouds' token services, and all of the Internet there is.
var services *clouds.Clouds

func TestMain(m *testing.M) {
	os.Exit(clouds.Run(&services, func() int { return shared.Run(m) }))
}

// world is a namespace on a real API server with both controllers, and a real
// registry.
type world struct {
	*WithT
	t *testing.T
	client.Client
	namespace string
	tags      string
	registry  *testenv.Registry
	clock     *clocktesting.FakePassiveClock // of the scans
}

func newWorld(t *testing.T) *world {
	t.Helper()
	g := NewWithT(t)
	rest := shared.ControlPlane(t).Config()
	kinds := runtime.NewScheme()
	g.Expect(scheme.AddToScheme(kinds)).To(Succeed())
	g.Expect(imagev1.AddToScheme(kinds)).To(Succeed())
	mgr, err := ctrl.NewManager(rest, ctrl.Options{
		Scheme:     kinds,
		Metrics:    server.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	g.Expect(err).NotTo(HaveOccurred())
	w := &world{WithT: g, t: t, Client: mgr.GetClient(), tags: t.TempDir(), registry: testenv.StartRegistry()}
	w.clock = clocktesting.NewFakePassiveClock(time.Now())
	t.Cleanup(w.registry.Stop)
	tags, err := image.OpenTags(w.tags)
	g.Expect(err).NotTo(HaveOccurred())
	events := &reconcile.Recorder{Kubernetes: kuberecord.NewFakeRecorder(1000), Scheme: kinds}
	g.Expect((&repository.Reconciler{Tags: tags, Events: events, Clock: w.clock}).AddToManager(mgr)).To(Succeed())
	g.Expect((&policy.Reconciler{Tags: tags, Events: events}).AddToManager(mgr)).To(Succeed())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	g.Expect(mgr.GetCache().WaitForCacheSync(t.Context())).To(BeTrue())
	w.namespace = w.newNamespace(nil)
	return w
}

func (w *world) newNamespace(labels map[string]string) string {
	w.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "image-", Labels: labels}}
	w.Expect(w.Create(w.t.Context(), namespace)).To(Succeed())
	return namespace.Name
}

func (w *world) push(tags ...string) {
	w.t.Helper()
	for _, tag := range tags {
		_, err := w.registry.Push("team/app", tag, map[string]string{"tag": tag})
		w.Expect(err).NotTo(HaveOccurred())
	}
}

// scan makes an ImageRepository of the image at the host.
func (w *world) scan(host string, change func(*imagev1.ImageRepositorySpec)) *imagev1.ImageRepository {
	w.t.Helper()
	obj := &imagev1.ImageRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "app-"}}
	obj.Spec.Image, obj.Spec.Insecure = host+"/team/app", true
	obj.Spec.Interval.Duration = time.Hour
	if change != nil {
		change(&obj.Spec)
	}
	w.Expect(w.Create(w.t.Context(), obj)).To(Succeed())
	return obj
}

// choose makes an ImagePolicy in the namespace.
func (w *world) choose(namespace string, from *imagev1.ImageRepository, change func(*imagev1.ImagePolicySpec)) *imagev1.ImagePolicy {
	w.t.Helper()
	obj := &imagev1.ImagePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "app-"}}
	obj.Spec.ImageRepositoryRef.Name, obj.Spec.ImageRepositoryRef.Namespace = from.Name, from.Namespace
	obj.Spec.Policy.SemVer = &imagev1.SemVerPolicy{Range: ">=1.0.0 <2.0.0"}
	if change != nil {
		change(&obj.Spec)
	}
	w.Expect(w.Create(w.t.Context(), obj)).To(Succeed())
	return obj
}

// ready waits for the Ready condition to say this, of the newest spec.
func (w *world) ready(obj reconcile.Object, status, reason, message string) {
	w.t.Helper()
	w.Eventually(func() (string, error) {
		if err := w.Get(w.t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return "", err
		}
		ready := apimeta.FindStatusCondition(obj.CommonStatus().Conditions, meta.ReadyCondition)
		if ready == nil || ready.ObservedGeneration != obj.GetGeneration() {
			return "not looked at", nil
		}
		return fmt.Sprintf("%s %s %s", ready.Status, ready.Reason, ready.Message), nil
	}, within, "50ms").Should(And(HavePrefix(status+" "+reason+" "), ContainSubstring(message)))
}

// ask asks for a reconcile and waits until it is done.
func (w *world) ask(obj reconcile.Object) {
	w.t.Helper()
	request := fmt.Sprint(time.Now().UnixNano())
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, request)
	w.Expect(w.Patch(w.t.Context(), obj, client.RawPatch("application/merge-patch+json", []byte(patch)))).To(Succeed())
	w.Eventually(func() (string, error) {
		err := w.Get(w.t.Context(), client.ObjectKeyFromObject(obj), obj)
		return obj.CommonStatus().LastHandledReconcileAt, err
	}, within, "50ms").Should(Equal(request))
}

func TestANewTagBecomesTheChoice(t *testing.T) {
	w := newWorld(t)
	w.push("1.0.0", "1.2.0", "2.0.0", "sha256-0123.sig")
	scanned := w.scan(w.registry.Host, nil)
	chosen := w.choose(w.namespace, scanned, nil)
	w.ready(scanned, "True", "Succeeded", "successful scan: found 3 tags with checksum sha256:")
	w.Expect(scanned.Status.CanonicalImageName).To(Equal(w.registry.Host + "/team/app"))
	w.Expect(scanned.Status.LastScanResult.LatestTags).To(Equal([]string{"2.0.0", "1.2.0", "1.0.0"}))
	w.Expect(scanned.Status.ObservedExclusionList).To(Equal([]string{`^.*\.sig$`}))
	w.ready(chosen, "True", "Succeeded", "Latest image tag for "+scanned.Spec.Image+" resolved to 1.2.0")
	w.Expect(chosen.Status.LatestRef.String()).To(Equal(scanned.Spec.Image + ":1.2.0"))

	w.push("1.3.0")
	w.ask(scanned)
	w.ready(chosen, "True", "Succeeded", "resolved to 1.3.0 (previously "+scanned.Spec.Image+":1.2.0)")

	before := scanned.ResourceVersion
	status := scanned.Status.LastScanResult.DeepCopy()
	w.ask(scanned)
	w.Expect(scanned.Status.LastScanResult).To(Equal(status), "nothing is new: from %s to %s the request alone was noted", before, scanned.ResourceVersion)
}

// A choice is a tag of the image that it names, also right after that has changed.
func TestTagsOfAnotherImageAreNotChosen(t *testing.T) {
	w := newWorld(t)
	w.push("1.0.0", "1.2.0")
	scanned := w.scan(w.registry.Host, nil)
	chosen := w.choose(w.namespace, scanned, nil)
	w.ready(chosen, "True", "Succeeded", "resolved to 1.2.0")
	before := *chosen.Status.LatestRef

	w.ready(scanned, "True", "Succeeded", "")
	scanned.Spec.Image = w.registry.Host + "/team/other"
	w.Expect(w.Update(w.t.Context(), scanned)).To(Succeed())
	w.ready(scanned, "False", "ReadOperationFailed", "listing the tags")
	w.ready(chosen, "False", "DependencyNotReady", "was not scanned since its spec.image is "+scanned.Spec.Image)
	w.Expect(*chosen.Status.LatestRef).To(Equal(before))

	_, err := w.registry.Push("team/other", "1.1.0", map[string]string{"tag": "1.1.0"})
	w.Expect(err).NotTo(HaveOccurred())
	w.ask(scanned)
	w.ready(chosen, "True", "Succeeded", "Latest image tag for "+scanned.Spec.Image+" resolved to 1.1.0")
}

func TestTagsThatAreLostComeBack(t *testing.T) {
	w := newWorld(t)
	w.push("1.0.0")
	scanned := w.scan(w.registry.Host, nil)
	w.ready(scanned, "True", "Succeeded", "found 1 tags")
	files, err := os.ReadDir(w.tags)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(files).To(HaveLen(1))
	w.Expect(os.Remove(filepath.Join(w.tags, files[0].Name()))).To(Succeed())

	chosen := w.choose(w.namespace, scanned, nil)
	w.ready(chosen, "False", "DependencyNotReady", "its tags are not there")
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	w.ask(scanned)
	w.ready(chosen, "True", "Succeeded", "resolved to 1.0.0")

	w.Expect(w.Delete(w.t.Context(), scanned)).To(Succeed())
	w.Eventually(func() ([]os.DirEntry, error) { return os.ReadDir(w.tags) }, within, "50ms").Should(BeEmpty(), "a repository that leaves takes its tags along")
}

// A scan keeps what it found before the status says so.
func TestAPolicyChoosesWhileAScanEnds(t *testing.T) {
	w := newWorld(t)
	w.push("1.0.0")
	scanned := w.scan(w.registry.Host, nil)
	chosen := w.choose(w.namespace, scanned, nil)
	w.ready(chosen, "True", "Succeeded", "resolved to 1.0.0")
	w.ready(scanned, "True", "Succeeded", "")
	tags, err := image.OpenTags(w.tags)
	w.Expect(err).NotTo(HaveOccurred())
	found := []string{"1.0.0", "1.1.0"}
	w.Expect(tags.Put(client.ObjectKeyFromObject(scanned), found)).To(Succeed())
	w.ask(chosen)
	w.ready(chosen, "True", "Succeeded", "resolved to 1.0.0")
	w.push("1.1.0")
	w.ask(scanned)
	w.ready(chosen, "True", "Succeeded", "resolved to 1.1.0")
}

func TestDigestsAreLookedUpAsAsked(t *testing.T) {
	w := newWorld(t)
	w.push("1.0.0")
	scanned := w.scan(w.registry.Host, nil)
	w.ready(scanned, "True", "Succeeded", "")
	once := w.choose(w.namespace, scanned, func(spec *imagev1.ImagePolicySpec) { spec.DigestReflectionPolicy = imagev1.ReflectIfNotPresent })
	always := w.choose(w.namespace, scanned, func(spec *imagev1.ImagePolicySpec) {
		spec.DigestReflectionPolicy, spec.Interval = imagev1.ReflectAlways, &metav1.Duration{Duration: time.Hour}
	})
	w.ready(once, "True", "Succeeded", "with digest sha256:")
	w.ready(always, "True", "Succeeded", "with digest sha256:")
	first := once.Status.LatestRef.Digest
	w.Expect(always.Status.LatestRef.Digest).To(Equal(first))

	moved, err := w.registry.Push("team/app", "1.0.0", map[string]string{"tag": "moved"})
	w.Expect(err).NotTo(HaveOccurred())
	w.ask(once)
	w.ask(always)
	w.Expect(once.Status.LatestRef.Digest).To(Equal(first))
	w.Expect(always.Status.LatestRef.Digest).To(Equal(moved))
	w.Expect(always.Status.ObservedPreviousRef.Digest).To(Equal(first))
}

// TestAPolicySaysWhoseFieldIsWrong: secretRef is one of the ImageRepository's.
func TestAPolicySaysWhoseFieldIsWrong(t *testing.T) {
	w := newWorld(t)
	w.push("1.0.0")
	scanned := w.scan(w.registry.Host, nil)
	w.ready(scanned, "True", "Succeeded", "")
	scanned.Spec.SecretRef = &meta.LocalObjectReference{Name: "nope"}
	w.Expect(w.Update(t.Context(), scanned)).To(Succeed())
	w.ready(scanned, "False", "AuthenticationFailed", "spec.secretRef")
	w.ready(w.choose(w.namespace, scanned, func(spec *imagev1.ImagePolicySpec) { spec.DigestReflectionPolicy = imagev1.ReflectIfNotPresent }),
		"False", "AuthenticationFailed", "ImageRepository "+w.namespace+"/"+scanned.Name+": spec.secretRef")
}

// A run whose status could not be written is made again.
func TestADigestThatWasNotWrittenIsLookedUpAgain(t *testing.T) {
	w := newWorld(t)
	w.push("1.0.0")
	scanned := w.scan(w.registry.Host, nil)
	w.ready(scanned, "True", "Succeeded", "")
	tags, err := image.OpenTags(w.tags)
	w.Expect(err).NotTo(HaveOccurred())
	r := &policy.Reconciler{
		Tags: tags, Client: w.Client, Live: w.Client, Clock: w.clock,
		Registry: &registry.Opener{Secrets: w.Client, Transport: &http.Transport{}},
	}
	obj := &imagev1.ImagePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}}
	obj.Spec.ImageRepositoryRef.Name = scanned.Name
	obj.Spec.Policy.SemVer = &imagev1.SemVerPolicy{Range: "*"}
	obj.Spec.DigestReflectionPolicy, obj.Spec.Interval = imagev1.ReflectAlways, &metav1.Duration{Duration: time.Hour}
	w.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	old := obj.Status.LatestRef.Digest

	w.clock.SetTime(w.clock.Now().Add(time.Hour))
	_, err = w.registry.Push("team/app", "1.0.0", map[string]string{"tag": "moved"})
	w.Expect(err).NotTo(HaveOccurred())
	lost := obj.DeepCopy()
	w.Expect(r.Reconcile(t.Context(), lost)).To(Succeed())
	w.Expect(lost.Status.LatestRef.Digest).NotTo(Equal(old))
	w.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	w.Expect(obj.Status.LatestRef.Digest).To(Equal(lost.Status.LatestRef.Digest))
}

func TestOtherNamespacesNeedToBeAllowed(t *testing.T) {
	w := newWorld(t)
	w.push("1.0.0")
	scanned := w.scan(w.registry.Host, func(spec *imagev1.ImageRepositorySpec) {
		spec.AccessFrom = &meta.AccessFrom{NamespaceSelectors: []meta.NamespaceSelector{{MatchLabels: map[string]string{"team": "green"}}}}
	})
	w.ready(scanned, "True", "Succeeded", "")
	green := w.choose(w.newNamespace(map[string]string{"team": "green"}), scanned, nil)
	red := w.choose(w.newNamespace(map[string]string{"team": "red"}), scanned, nil)
	w.ready(green, "True", "Succeeded", "resolved to 1.0.0")
	w.ready(red, "False", "AccessDenied", "spec.accessFrom")
	w.Expect(red.Status.LatestRef).To(BeNil())

	tags, err := image.OpenTags(w.tags)
	w.Expect(err).NotTo(HaveOccurred())
	r := &policy.Reconciler{Tags: tags, Client: w.Client, Live: w.Client, Clock: w.clock, NoCrossNamespaceRefs: true}
	green.Status = imagev1.ImagePolicyStatus{}
	err = r.Reconcile(t.Context(), green)
	w.Expect(err).To(MatchError(And(ContainSubstring("ImageRepository "+w.namespace), ContainSubstring("which --no-cross-namespace-refs forbids"))))
	w.Expect(green.Status.LatestRef).To(BeNil())
	own := w.choose(w.namespace, scanned, nil)
	w.Expect(r.Reconcile(t.Context(), own)).To(Succeed())
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	w := newWorld(t)
	w.push("1.0.0", "latest")
	for _, tc := range []struct {
		name, reason, message string
		change                func(*imagev1.ImageRepositorySpec)
	}{
		{"a scheme", "ImageURLInvalid", "spec.image", func(spec *imagev1.ImageRepositorySpec) { spec.Image = "https://" + spec.Image }},
		{"a tag", "ImageURLInvalid", "spec.image", func(spec *imagev1.ImageRepositorySpec) { spec.Image += ":1.0.0" }},
		{"an exclusion that does not compile", "ReadOperationFailed", "spec.exclusionList[0]", func(spec *imagev1.ImageRepositorySpec) { spec.ExclusionList = []string{"("} }},
		{"a Secret that is not there", "AuthenticationFailed", "spec.secretRef", func(spec *imagev1.ImageRepositorySpec) {
			spec.SecretRef = &meta.LocalObjectReference{Name: "nope"}
		}},
		{"an image that is not there", "ReadOperationFailed", "does not have it", func(spec *imagev1.ImageRepositorySpec) { spec.Image += "-2" }},
	} {
		obj := w.scan(w.registry.Host, tc.change)
		w.ready(obj, "False", tc.reason, tc.message)
	}

	scanned := w.scan(w.registry.Host, nil)
	w.ready(scanned, "True", "Succeeded", "")
	for _, tc := range []struct {
		name, reason, message string
		change                func(*imagev1.ImagePolicySpec)
	}{
		{"no order", "InvalidPolicy", "spec.policy", func(spec *imagev1.ImagePolicySpec) { spec.Policy = imagev1.ImagePolicyChoice{} }},
		{"no version in range", "Failure", "9.x", func(spec *imagev1.ImagePolicySpec) { spec.Policy.SemVer.Range = "9.x" }},
		{"a tag that is no number", "Failure", "spec.filterTags", func(spec *imagev1.ImagePolicySpec) {
			spec.Policy = imagev1.ImagePolicyChoice{Numerical: &imagev1.NumericalPolicy{}}
		}},
		{"a repository that is not there", "DependencyNotReady", "no ImageRepository", func(spec *imagev1.ImagePolicySpec) { spec.ImageRepositoryRef.Name = "nope" }},
	} {
		obj := w.choose(w.namespace, scanned, tc.change)
		w.ready(obj, "False", tc.reason, tc.message)
	}
}

func TestARegistryOfACloud(t *testing.T) {
	w := newWorld(t)
	w.push("1.0.0", "1.1.0")
	const host = "team.azurecr.io"
	services.Registry(host, clouds.MicrosoftUser(), &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: w.registry.Host})
		r.Out.Header.Del("Authorization")
	}})
	services.Hub, services.Subject = w.Client, "system:serviceaccount:"+w.namespace+":scanner"
	for _, name := range []string{"scanner", "stranger"} {
		w.Expect(w.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: name, Annotations: map[string]string{
				"azure.workload.identity/tenant-id": clouds.Tenant, "azure.workload.identity/client-id": clouds.Client,
			},
		}})).To(Succeed())
	}
	by := func(account string) *imagev1.ImageRepository {
		return w.scan(host, func(spec *imagev1.ImageRepositorySpec) {
			spec.Provider, spec.ServiceAccountName, spec.Insecure = "azure", account, false
		})
	}
	scanned := by("scanner")
	w.ready(scanned, "True", "Succeeded", "found 2 tags")
	chosen := w.choose(w.namespace, scanned, func(spec *imagev1.ImagePolicySpec) { spec.DigestReflectionPolicy = imagev1.ReflectIfNotPresent })
	w.ready(chosen, "True", "Succeeded", "resolved to 1.1.0 with digest sha256:")
	w.ready(by("stranger"), "False", "AuthenticationFailed", "spec.provider: provider azure: ")
}

func TestAChoiceOutlivesALaterFailure(t *testing.T) {
	w := newWorld(t)
	w.push("1.0.0")
	scanned := w.scan(w.registry.Host, nil)
	chosen := w.choose(w.namespace, scanned, nil)
	w.ready(chosen, "True", "Succeeded", "resolved to 1.0.0")
	chosen.Spec.Policy.SemVer.Range = "9.x"
	w.Expect(w.Update(w.t.Context(), chosen)).To(Succeed())
	w.ready(chosen, "False", "Failure", "9.x")
	w.Expect(chosen.Status.LatestRef.Tag).To(Equal("1.0.0"))
}

// server answers a list of tags by the given function.
func (w *world) server(answer func(w http.ResponseWriter, r *http.Request)) string {
	s := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		answer(out, r)
	}))
	w.t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestOddRegistries(t *testing.T) {
	w := newWorld(t)
	send := func(out http.ResponseWriter, tags ...string) {
		_ = json.NewEncoder(out).Encode(map[string]any{"name": "team/app", "tags": tags})
	}
	pages := w.server(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("last") == "" {
			out.Header().Set("Link", `</v2/team/app/tags/list?last=1.0.0&n=1>; rel="next"`)
			send(out, "1.0.0")
			return
		}
		send(out, "1.1.0")
	})
	w.ready(w.scan(pages, nil), "True", "Succeeded", "found 2 tags")

	circle := w.server(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Link", `</v2/team/app/tags/list?last=x>; rel="next"`)
		send(out, "1.0.0")
	})
	w.ready(w.scan(circle, nil), "False", "ReadOperationFailed", "without an end")

	elsewhere := w.server(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Link", `<http://127.0.0.1:1/v2/team/app/tags/list?last=x>; rel="next"`)
		send(out, "1.0.0")
	})
	w.ready(w.scan(elsewhere, nil), "False", "ReadOperationFailed", "does not match registry host")

	long := w.server(func(out http.ResponseWriter, _ *http.Request) {
		send(out, "1.0.0", strings.Repeat("x", 1<<20), "a b", "a\nb", "")
	})
	w.ready(w.scan(long, nil), "True", "Succeeded", "found 1 tags")

	var busy atomic.Bool
	busy.Store(true)
	slow := w.server(func(out http.ResponseWriter, _ *http.Request) {
		if busy.Load() {
			out.Header().Set("Retry-After", "1")
			http.Error(out, "slow down", http.StatusTooManyRequests)
			return
		}
		send(out, "1.0.0")
	})
	throttled := w.scan(slow, nil)
	w.ready(throttled, "False", "ReadOperationFailed", "429")
	busy.Store(false)
	w.ready(throttled, "True", "Succeeded", "found 1 tags")

	broken := w.server(func(out http.ResponseWriter, _ *http.Request) {
		http.Error(out, "hunter2", http.StatusInternalServerError)
	})
	failing := w.scan(broken, nil)
	w.ready(failing, "False", "ReadOperationFailed", "500")
	ready := apimeta.FindStatusCondition(failing.Status.Conditions, meta.ReadyCondition)
	w.Expect(errors.New(ready.Message)).NotTo(MatchError(ContainSubstring("hunter2")))
}
