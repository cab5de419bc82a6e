package view

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared = testenv.Shared{}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

var configMap = corev1.SchemeGroupVersion.WithKind("ConfigMap")

// asked notes what a view asks of its server, and lets a test change it.
type asked struct {
	next   http.RoundTripper
	change func(*http.Request)

	mu   sync.Mutex
	what []string
	// last is the answer to the last request.
	last *http.Response
}

func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	query, what := r.URL.Query(), "list"
	switch {
	case query.Get("sendInitialEvents") == "true":
		what = "stream"
	case query.Get("watch") == "true":
		what = "watch"
	}
	a.mu.Lock()
	a.what = append(a.what, what)
	a.mu.Unlock()
	a.change(r)
	answer, err := a.next.RoundTrip(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = answer
	return answer, err
}

// cut breaks the last answer off.
func (a *asked) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.last.Body.Close() // which is what is wanted
}

func (a *asked) requests() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.what, " ")
}

// site is a namespace with ConfigMaps and a view of them.
type site struct {
	*WithT
	t         *testing.T
	server    *kubernetes.Clientset
	namespace string
	asked     *asked
	clock     *clocktesting.FakeClock
	view      *View
	changes   chan string
}

// newSite has a view of a real server that streams, or is said to. All that is
// asked goes through change first.
func newSite(t *testing.T, change func(*http.Request)) *site {
	t.Helper()
	g := NewWithT(t)
	config := shared.ControlPlane(t).Config()
	server, err := kubernetes.NewForConfig(config)
	g.Expect(err).NotTo(HaveOccurred())
	namespace, err := server.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "view-"}}, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	client, err := rest.HTTPClientFor(config)
	g.Expect(err).NotTo(HaveOccurred())
	s := &site{
		WithT: g, t: t, server: server, namespace: namespace.Name, changes: make(chan string, 100),
		asked: &asked{next: client.Transport, change: change}, clock: clocktesting.NewFakeClock(time.Now()),
	}
	mapper := apimeta.NewDefaultRESTMapper(nil)
	mapper.Add(configMap, apimeta.RESTScopeNamespace)
	views := &Set{}
	t.Cleanup(views.Close)
	s.view = views.Get("test", config, &http.Client{Transport: s.asked}, mapper, Options{
		Selector: "of=" + s.namespace, Streams: true, Clock: s.clock,
		Print: func(metav1.Object) Print { return Print{} },
		Owner: func(obj metav1.Object) (types.NamespacedName, bool) {
			return types.NamespacedName{Name: obj.GetLabels()["of"]}, true
		},
		Changed: func(_ types.NamespacedName, _ schema.GroupKind, name types.NamespacedName) { s.changes <- name.Name },
	})
	return s
}

func (s *site) make(name string) *corev1.ConfigMap {
	s.t.Helper()
	made, err := s.server.CoreV1().ConfigMaps(s.namespace).Create(s.t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": s.namespace}}}, metav1.CreateOptions{})
	s.Expect(err).NotTo(HaveOccurred())
	return made
}

// follows expects the view to know a ConfigMap, and to hear of each change.
func (s *site) follows(known *corev1.ConfigMap) {
	s.t.Helper()
	seen, ok := s.view.Look(configMap.GroupKind(), types.NamespacedName{Namespace: s.namespace, Name: known.Name})
	s.Expect(ok).To(BeTrue())
	s.Expect(seen.Present).To(BeTrue())
	s.Expect(seen.Version).To(Equal(known.ResourceVersion))
	s.Eventually(s.changes, "20s").Should(Receive(Equal(known.Name)))

	known.Data = map[string]string{"a": "b"}
	_, err := s.server.CoreV1().ConfigMaps(s.namespace).Update(s.t.Context(), known, metav1.UpdateOptions{})
	s.Expect(err).NotTo(HaveOccurred())
	s.Eventually(s.changes, "20s").Should(Receive(Equal(known.Name)), "whatever the fingerprint says")
	s.make("later")
	s.Eventually(s.changes, "20s").Should(Receive(Equal("later")))
	s.Expect(s.server.CoreV1().ConfigMaps(s.namespace).Delete(s.t.Context(), known.Name, metav1.DeleteOptions{})).To(Succeed())
	s.Eventually(s.changes, "20s").Should(Receive(Equal(known.Name)))
	seen, ok = s.view.Look(configMap.GroupKind(), types.NamespacedName{Namespace: s.namespace, Name: known.Name})
	s.Expect(ok).To(BeTrue())
	s.Expect(seen.Present).To(BeFalse())
}

func TestOneRequestTellsWhatIsThereAndWhatChanges(t *testing.T) {
	s := newSite(t, func(*http.Request) {})
	known := s.make("known")
	s.view.Follow(t.Context(), []schema.GroupVersionKind{configMap}, 0, time.Minute)
	s.follows(known)
	s.Expect(s.asked.requests()).To(Equal("stream"))
}

// A server that has never heard of it begins a watch like any other, and does not
// say where what is there ends.
func TestAServerThatDoesNotStreamIsListed(t *testing.T) {
	s := newSite(t, func(r *http.Request) {
		query := r.URL.Query()
		if query.Has("sendInitialEvents") {
			query.Del("sendInitialEvents")
			query.Del("resourceVersionMatch")
			query.Del("allowWatchBookmarks")
		}
		r.URL.RawQuery = query.Encode()
	})
	known := s.make("known")
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		s.view.Follow(t.Context(), []schema.GroupVersionKind{configMap}, 0, time.Hour)
	}()
	s.Eventually(s.clock.Waiters, "20s").Should(Equal(2), "the one who follows, and the patience with the stream")
	s.clock.Step(streamTime)
	s.Eventually(followed, "20s").Should(BeClosed())
	s.follows(known)
	s.Expect(s.asked.requests()).To(Equal("stream list watch"))
}

// A server that refuses is listed at once.
func TestAServerThatRefusesToStreamIsListed(t *testing.T) {
	s := newSite(t, func(r *http.Request) {
		// As by a server with the feature off: an invalid combination.
		query := r.URL.Query()
		if query.Has("sendInitialEvents") {
			query.Set("resourceVersionMatch", "Exact")
			r.URL.RawQuery = query.Encode()
		}
	})
	known := s.make("known")
	s.view.Follow(t.Context(), []schema.GroupVersionKind{configMap}, 0, time.Minute)
	s.follows(known)
	s.Expect(s.asked.requests()).To(Equal("stream list watch"))
}

// A watch that breaks leaves nothing known, for nobody tells of changes any more, and
// is begun anew after a pause.
func TestAStreamThatBreaks(t *testing.T) {
	s := newSite(t, func(*http.Request) {})
	known := s.make("known")
	s.view.Follow(t.Context(), []schema.GroupVersionKind{configMap}, 0, time.Minute)
	looks := func() bool {
		_, ok := s.view.Look(configMap.GroupKind(), types.NamespacedName{Namespace: s.namespace, Name: known.Name})
		return ok
	}
	s.Expect(looks()).To(BeTrue())
	s.asked.cut()
	s.Eventually(looks, "20s").Should(BeFalse())
	s.Eventually(s.clock.HasWaiters, "20s").Should(BeTrue(), "it pauses")
	s.Expect(s.asked.requests()).To(Equal("stream"))
	s.clock.Step(time.Minute)
	s.Eventually(looks, "20s").Should(BeTrue())
	s.Expect(s.asked.requests()).To(Equal("stream stream"))
}

// A gateway that answers each watch with its end is not asked without end.
func TestWatchesThatEndAtOnce(t *testing.T) {
	s := newSite(t, func(r *http.Request) {
		query := r.URL.Query()
		query.Set("timeoutSeconds", "1")
		r.URL.RawQuery = query.Encode()
	})
	s.make("known")
	s.view.Follow(t.Context(), []schema.GroupVersionKind{configMap}, 0, time.Minute)
	s.Eventually(s.clock.HasWaiters, "20s").Should(BeTrue(), "it pauses")
	s.Expect(s.asked.requests()).To(Equal("stream watch"))
	s.clock.Step(time.Minute)
	s.Eventually(s.asked.requests, "20s").Should(Equal("stream watch stream watch"))
}

// A server that has always forgotten what it has just listed is not listed without end.
func TestWatchesThatAreAlwaysTooOld(t *testing.T) {
	g := NewWithT(t)
	var lists atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Has("watch") {
			w.WriteHeader(http.StatusGone)
			_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}`)
			return
		}
		lists.Add(1)
		_, _ = fmt.Fprint(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[]}`)
	}))
	t.Cleanup(server.Close)
	clock := clocktesting.NewFakeClock(time.Now())
	view := viewOf(t, server, clock)
	view.Follow(t.Context(), []schema.GroupVersionKind{configMap}, 0, time.Minute)
	g.Eventually(clock.HasWaiters, "20s").Should(BeTrue(), "it pauses")
	g.Expect(lists.Load()).To(BeEquivalentTo(1))
	_, ok := view.Look(configMap.GroupKind(), types.NamespacedName{Name: "a"})
	g.Expect(ok).To(BeFalse(), "nobody tells of changes meanwhile")
	clock.Step(time.Minute)
	g.Eventually(lists.Load, "20s").Should(BeEquivalentTo(2))
}

// What a kubeconfig may read decides how it is known: by a watch, by lists when a run needs
// them, or not at all.
func TestRightsThatAreNotAll(t *testing.T) {
	for name, c := range map[string]struct {
		verbs  []string
		polled bool
	}{
		"list and no watch":      {[]string{"get", "list"}, true},
		"neither list nor watch": {[]string{"get"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			admin := newSite(t, func(*http.Request) {})
			data, err := shared.ControlPlane(t).ServiceAccount(t.Context(), admin.namespace, "limited",
				[]rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: c.verbs}})
			g.Expect(err).NotTo(HaveOccurred())
			config, err := clientcmd.RESTConfigFromKubeConfig(data)
			g.Expect(err).NotTo(HaveOccurred())
			limited, err := rest.HTTPClientFor(config)
			g.Expect(err).NotTo(HaveOccurred())
			inForce, err := kubernetes.NewForConfig(config)
			g.Expect(err).NotTo(HaveOccurred())
			g.Eventually(func() error { // rights are in force a moment after they are there
				_, err := inForce.CoreV1().ConfigMaps(admin.namespace).Get(t.Context(), "none", metav1.GetOptions{})
				return client.IgnoreNotFound(err)
			}, "20s").Should(Succeed())
			mapper := apimeta.NewDefaultRESTMapper(nil)
			mapper.Add(configMap, apimeta.RESTScopeNamespace)
			views := &Set{}
			t.Cleanup(views.Close)
			clock := clocktesting.NewFakeClock(time.Now())
			view := views.Get("test", config, limited, mapper, Options{
				Selector: "of=" + admin.namespace, Streams: true, Clock: clock,
				Print: func(metav1.Object) Print { return Print{} },
				Owner: func(metav1.Object) (types.NamespacedName, bool) { return types.NamespacedName{}, true },
			})
			known := admin.make("known")
			look := func(name string) (Seen, bool) {
				view.Follow(t.Context(), []schema.GroupVersionKind{configMap}, 0, time.Minute)
				return view.Look(configMap.GroupKind(), types.NamespacedName{Namespace: admin.namespace, Name: name})
			}
			seen, ok := look("known")
			g.Expect(ok).To(Equal(c.polled))
			if c.polled {
				g.Eventually(func() bool { return view.Watches(configMap.GroupKind()) }, "20s").Should(BeFalse())
				g.Expect(seen.Version).To(Equal(known.ResourceVersion))
				admin.make("later")
				seen, _ = look("later")
				g.Expect(seen.Present).To(BeTrue(), "it is listed anew")
			}
		})
	}
}

// viewOf is a view of a server that is none of Kubernetes'.
func viewOf(t *testing.T, server *httptest.Server, clock clock.Clock) *View {
	t.Helper()
	mapper := apimeta.NewDefaultRESTMapper(nil)
	mapper.Add(configMap, apimeta.RESTScopeNamespace)
	views := &Set{}
	t.Cleanup(views.Close)
	return views.Get("test", &rest.Config{Host: server.URL}, server.Client(), mapper, Options{
		Clock: clock,
		Print: func(metav1.Object) Print { return Print{} },
		Owner: func(metav1.Object) (types.NamespacedName, bool) { return types.NamespacedName{}, true },
	})
}

// A server of a tenant's own has another page for ever, or objects of names that no
// other server takes.
func TestAServerThatSaysTooMuch(t *testing.T) {
	for what, name := range map[string]string{"objects": "", "names": strings.Repeat("x", mostName)} {
		t.Run(what, func(t *testing.T) {
			g := NewWithT(t)
			var objects atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Query().Has("watch") {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				_, _ = fmt.Fprint(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1","continue":"more"},"items":[`)
				for range 9999 {
					_, _ = fmt.Fprintf(w, `{"metadata":{"name":"%s%d"}},`, name, objects.Add(1))
				}
				_, _ = fmt.Fprint(w, `{"metadata":{"name":"last"}}]}`)
			}))
			t.Cleanup(server.Close)
			clock := clocktesting.NewFakeClock(time.Now())
			view := viewOf(t, server, clock)
			view.Follow(t.Context(), []schema.GroupVersionKind{configMap}, 0, time.Minute)
			g.Eventually(clock.HasWaiters, "20s").Should(BeTrue(), "it pauses")
			_, ok := view.Look(configMap.GroupKind(), types.NamespacedName{Name: "last"})
			g.Expect(ok).To(BeFalse())
			g.Expect(objects.Load()).To(BeNumerically("<=", mostObjects+20_000))
		})
	}
}

// Views of namespaces see their own one alone; where there are many, one of all
// namespaces takes their place.
func TestViewsOfNamespaces(t *testing.T) {
	s := newSite(t, func(*http.Request) {})
	config := shared.ControlPlane(t).Config()
	mapper := apimeta.NewDefaultRESTMapper(nil)
	mapper.Add(configMap, apimeta.RESTScopeNamespace)
	client, err := rest.HTTPClientFor(config)
	s.Expect(err).NotTo(HaveOccurred())
	var views Set
	t.Cleanup(views.Close)
	viewOf := func(namespace string) *View {
		return views.Get("test", config, client, mapper, Options{
			Namespace: namespace, Selector: "of=" + s.namespace, Streams: true,
			Print: func(metav1.Object) Print { return Print{} },
			Owner: func(metav1.Object) (types.NamespacedName, bool) { return types.NamespacedName{}, true },
		})
	}
	made := s.make("one")
	sees := func(view *View, namespace string) (there, known bool) {
		view.Follow(t.Context(), []schema.GroupVersionKind{configMap}, 0, time.Minute)
		seen, known := view.Look(configMap.GroupKind(), types.NamespacedName{Namespace: namespace, Name: made.Name})
		return seen.Present, known
	}
	there, known := sees(viewOf(s.namespace), s.namespace)
	s.Expect(there && known).To(BeTrue())
	there, known = sees(viewOf("elsewhere"), "elsewhere")
	s.Expect(known && !there).To(BeTrue())
	_, known = sees(viewOf("elsewhere"), s.namespace)
	s.Expect(known).To(BeFalse(), "it is of another namespace")

	for i := range 20 {
		viewOf(fmt.Sprint("more-", i))
	}
	s.Expect(views.views).To(HaveLen(mostNamespaces + 1))
	s.Expect(viewOf("more-1")).NotTo(BeIdenticalTo(viewOf("more-2")))
	s.Expect(viewOf("more-18")).To(BeIdenticalTo(viewOf("more-19")))
	there, known = sees(viewOf("more-19"), s.namespace)
	s.Expect(there && known).To(BeTrue(), "it is of all namespaces")
}
