package remote

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// front stands before the API server and takes its own tokens.
type front struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string
	// refused counts the requests with another one, lists those that list.
	refused, lists atomic.Int32
	// version, if set, is what the server says that it is.
	version atomic.Pointer[string]
	// nameless servers do not say which cluster they are.
	nameless atomic.Bool
}

func newFront(t *testing.T, token string) *front {
	t.Helper()
	g := NewWithT(t)
	config := shared.ControlPlane(t).Config()
	to, err := url.Parse(config.Host)
	g.Expect(err).NotTo(HaveOccurred())
	transport, err := rest.TransportFor(config)
	g.Expect(err).NotTo(HaveOccurred())
	f := &front{tokens: []string{token}}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Header.Del("Authorization")
		},
	}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		tokens := f.tokens
		f.mu.Unlock()
		if token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !slices.Contains(tokens, token) {
			f.refused.Add(1)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}`)
			return
		}
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/configmaps") && r.URL.Query().Get("watch") == "" {
			f.lists.Add(1)
		}
		if f.nameless.Load() && strings.HasSuffix(r.URL.Path, "/namespaces/kube-system") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if version := f.version.Load(); version != nil && r.URL.Path == "/version" {
			_, _ = fmt.Fprintf(w, `{"gitVersion":%q}`, *version)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	f.EnableHTTP2 = true
	f.StartTLS()
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// takes makes these tokens the only ones.
func (f *front) takes(tokens ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = tokens
}

func (f *front) kubeconfig(t *testing.T, token string) []byte {
	t.Helper()
	return kubeconfigFor(t, f.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), token)
}

func kubeconfigFor(t *testing.T, server string, ca []byte, token string) []byte {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["x"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos["x"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "x", AuthInfo: "x"}
	config.CurrentContext = "x"
	data, err := clientcmd.Write(*config)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return data
}

// A fleet is often reached through a proxy that the environment names.
func TestATargetBehindAProxy(t *testing.T) {
	f := newFleet(t)
	internet.Host("prod.example.com", newFront(t, "token").Config.Handler)
	f.Expect(f.hub.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "prod"},
		Data:       map[string][]byte{"value": kubeconfigFor(t, "https://prod.example.com", internet.CA, "token")},
	})).To(Succeed())
	target := f.open(f.assign("prod", "agent-a", 1))
	defer target.Close()
	f.Expect(target.Client.Get(t.Context(), client.ObjectKey{Name: f.namespace}, &corev1.Namespace{})).To(Succeed())
}

// A Secret is deleted, and made anew for another server. Where nobody may read which
// cluster that is, the fence of the old one does not count there.
func TestAnotherServerIsAnotherCluster(t *testing.T) {
	f := newFleet(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "prod"}}
	leadTo := func() {
		server := newFront(t, "token")
		server.nameless.Store(true)
		secret.ResourceVersion, secret.Data = "", map[string][]byte{"value": server.kubeconfig(t, "token")}
		f.Expect(f.hub.Create(t.Context(), secret)).To(Succeed())
	}
	leadTo()
	key := f.assign("prod", "agent-a", 1)
	target := f.open(key)
	before, err := target.Fence(t.Context())
	f.Expect(err).NotTo(HaveOccurred())
	target.Close()

	f.Expect(f.hub.Delete(t.Context(), secret)).To(Succeed())
	f.Eventually(func() error {
		target, err := f.clusters.Open(t.Context(), key)
		if err == nil {
			target.Close()
		}
		return err
	}, "20s").Should(HaveOccurred())
	leadTo()
	target = f.open(key)
	defer target.Close()
	f.Expect(target.Fence(t.Context())).NotTo(Equal(before), "another may have acted there")
}

// A server is upgraded behind a connection that holds: what was found out about its
// objects has to be looked at again.
func TestAServerThatIsUpgraded(t *testing.T) {
	f := newFleet(t)
	server := newFront(t, "token")
	f.Expect(f.hub.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "prod"},
		Data:       map[string][]byte{"value": server.kubeconfig(t, "token")},
	})).To(Succeed())
	target := f.open(f.assign("prod", "agent-a", 1))
	defer target.Close()
	before := target.Identity()
	server.version.Store(ptr.To("v1.99.0"))
	f.Eventually(target.Identity, "20s").ShouldNot(Equal(before))
	f.Eventually(func() string {
		var record fleetv1.RemoteCluster
		f.Expect(f.hub.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: "prod"}, &record)).To(Succeed())
		return record.Status.Version
	}, "20s").Should(Equal("v1.99.0"))
}

// What a hand-over cuts off has not failed: whoever was at it has nothing to say.
func TestWhatAHandOverCutsOffHasNotFailed(t *testing.T) {
	f := newFleet(t)
	f.clusters.Drain = 50 * time.Millisecond
	behind, arrived := newFront(t, "token").Config.Handler, make(chan string, 2)
	internet.Host("slow.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/configmaps") || strings.HasSuffix(r.URL.Path, "/configmaps/slow") {
			_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice who leaves
			arrived <- r.Method
			<-r.Context().Done()
			return
		}
		behind.ServeHTTP(w, r)
	}))
	f.Expect(f.hub.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "slow"},
		Data:       map[string][]byte{"value": kubeconfigFor(t, "https://slow.example.com", internet.CA, "token")},
	})).To(Succeed())
	target := f.open(f.assign("slow", "agent-a", 1))
	_, err := target.Fence(t.Context())
	f.Expect(err).NotTo(HaveOccurred())
	cut := make(chan error, 2)
	go func() { cut <- target.Client.Create(t.Context(), f.configMap("slow")) }()
	f.Eventually(arrived, "20s").Should(Receive(Equal(http.MethodPost)))
	go func() {
		cut <- target.Client.Get(t.Context(), client.ObjectKeyFromObject(f.configMap("slow")), f.configMap("slow"))
	}()
	f.Eventually(arrived, "20s").Should(Receive(Equal(http.MethodGet)))

	f.assign("slow", "agent-b", 2)
	for range 2 {
		f.Eventually(cut, "20s").Should(Receive(MatchError(reconcile.ErrNotOwner)))
	}
	target.Close()
}

// The Secret gets a new token and the old one is revoked, again and again; then
// the server moves. No request fails, the watch goes on, nothing is listed anew.
func TestCredentialsAreReplacedUnderWork(t *testing.T) {
	f := newFleet(t)
	first := newFront(t, "token-0")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "prod"}}
	secret.Data = map[string][]byte{"value": first.kubeconfig(t, "token-0")}
	f.Expect(f.hub.Create(t.Context(), secret)).To(Succeed())
	key := f.assign("prod", "agent-a", 1)
	target := f.open(key)
	defer target.Close()
	before := f.clusters.find(key).current()
	_, err := target.Fence(t.Context())
	f.Expect(err).NotTo(HaveOccurred())
	watching, err := kubernetes.NewForConfig(target.Config)
	f.Expect(err).NotTo(HaveOccurred())
	seen, err := watching.CoreV1().ConfigMaps(f.namespace).Watch(t.Context(), metav1.ListOptions{LabelSelector: "rotation=x"})
	f.Expect(err).NotTo(HaveOccurred())
	defer seen.Stop()
	put := func(name string) {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name, Labels: map[string]string{"rotation": "x"}}}
		f.Expect(target.Client.Create(t.Context(), object)).To(Succeed())
		var event watch.Event
		f.Eventually(seen.ResultChan()).Should(Receive(&event))
		f.Expect(event.Object.(*corev1.ConfigMap).Name).To(Equal(name))
	}
	for i := range 5 {
		token := fmt.Sprintf("token-%d", i+1)
		// The pause between two looks at the Secret after a refusal has passed.
		f.Eventually(func() bool {
			before.renewing.Lock()
			defer before.renewing.Unlock()
			return f.clusters.Clock.Since(before.renewed) > renewPause
		}, "5s").Should(BeTrue())
		secret.Data["value"] = first.kubeconfig(t, token)
		first.takes(token, fmt.Sprintf("token-%d", i))
		f.Expect(f.hub.Update(t.Context(), secret)).To(Succeed())
		first.takes(token)
		put(token)
	}
	second := newFront(t, "token-x")
	secret.Data["value"] = second.kubeconfig(t, "token-x")
	f.Expect(f.hub.Update(t.Context(), secret)).To(Succeed())
	f.Eventually(func() string {
		if now := f.clusters.find(key).current(); now != nil {
			return now.current.Load().server.Host
		}
		return ""
	}, "20s").Should(Equal(strings.TrimPrefix(second.URL, "https://")))
	f.Expect(f.clusters.find(key).current()).To(BeIdenticalTo(before), "one session all the time")
	put("moved")
	f.Expect(first.lists.Load() + second.lists.Load()).To(BeZero())
	f.Expect(f.connected("prod")).To(Equal("True Connected connected"))

	// Credentials that are refused for good are said to be so.
	second.takes("another")
	f.Eventually(func() string { return f.connected("prod") }, "20s").Should(ContainSubstring("the target refuses the credentials of the kubeconfig (401)"))
}
