package remote

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// flood is a server of a tenant's own, that answers what it is asked at one path
// with more than anybody has use for.
type flood struct {
	path atomic.Pointer[string]
	// packed floods are small on their way.
	packed atomic.Bool
	status atomic.Int32
}

func newFlood(host string, behind http.Handler) *flood {
	f := &flood{}
	f.status.Store(http.StatusOK)
	internet.Host(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at := f.path.Load(); at == nil || !strings.HasSuffix(r.URL.Path, *at) {
			behind.ServeHTTP(w, r)
			return
		}
		begin, more := []byte(`{"a":"`), bytes.Repeat([]byte("x"), 1<<20)
		w.Header().Set("Content-Type", "application/json")
		if f.packed.Load() {
			w.Header().Set("Content-Encoding", "gzip")
			begin, more = zipped(begin), zipped(more)
		}
		w.WriteHeader(int(f.status.Load()))
		_, err := w.Write(begin)
		for range 2 * mostAnswer >> 20 {
			if err == nil {
				_, err = w.Write(more)
			}
		}
	}))
	return f
}

// zipped is content as gzip has it; what follows it in the same way unpacks behind it
// (RFC 1952, section 2.2).
func zipped(content []byte) []byte {
	var packed bytes.Buffer
	packer := gzip.NewWriter(&packed)
	_, _ = packer.Write(content) // a buffer takes all
	_ = packer.Close()
	return packed.Bytes()
}

func (f *fleet) leadTo(name, host string) {
	f.t.Helper()
	f.Expect(f.hub.Create(f.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name},
		Data:       map[string][]byte{"value": kubeconfigFor(f.t, "https://"+host, internet.CA, "token")},
	})).To(Succeed())
}

// A kubeconfig leads to a server that answers the probe with more than the agent has
// memory: the target is out of reach, and says why.
func TestAProbeIsAnsweredWithoutEnd(t *testing.T) {
	f := newFleet(t)
	server := newFlood("probe.example.com", http.NotFoundHandler())
	for name, path := range map[string]string{"readyz": "/readyz", "version": "/version"} {
		server.path.Store(&path)
		server.packed.Store(name == "version")
		f.leadTo(name, "probe.example.com")
		f.assign(name, "agent-a", 1)
		f.Eventually(func() string { return f.connected(name) }, "20s").Should(
			Equal("False TargetUnreachable the target's answer is longer than 2 MiB"))
	}
}

// A server says at length why it is not ready, and more than a condition takes.
func TestAProbeThatFailsAtLength(t *testing.T) {
	f := newFleet(t)
	internet.Host("long.example.com", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":500,"message":"no: %s"}`, strings.Repeat("because ", 10_000))
	}))
	f.leadTo("long", "long.example.com")
	f.assign("long", "agent-a", 1)
	f.Eventually(func() string { return f.connected("long") }, "20s").Should(HavePrefix("False TargetUnreachable no: because because"))
}

// patient lets a machine that has other work read an answer to its end.
func patient(c *Clusters) {
	c.Fence.Duration, c.Fence.Request, c.Fence.Idle = 150*time.Second, time.Minute, 2*time.Minute
}

func TestAnAnswerWithoutEnd(t *testing.T) {
	f := newFleet(t, patient)
	server := newFlood("flood.example.com", newFront(t, "token").Config.Handler)
	f.leadTo("flood", "flood.example.com")
	target := f.open(f.assign("flood", "agent-a", 1))
	defer target.Close()
	server.path.Store(new("/configmaps/one"))
	get := func() error {
		return target.Client.Get(t.Context(), client.ObjectKeyFromObject(f.configMap("one")), f.configMap("one"))
	}
	for _, packed := range []bool{false, true} {
		server.packed.Store(packed)
		for _, status := range []int32{http.StatusOK, http.StatusInternalServerError} {
			server.status.Store(status)
			f.Expect(get()).To(MatchError(ContainSubstring("the target's answer is longer than 96 MiB")), "%d %v", status, packed)
		}
	}
	f.Expect(target.Impersonate(f.namespace, "default")).To(Succeed())
	f.Expect(get()).To(MatchError(ContainSubstring("the target's answer is longer than 96 MiB")), "impersonating")
}

// A watch that has said as much is over, as those are that the server ends.
func TestAWatchThatSaysTooMuch(t *testing.T) {
	f := newFleet(t, patient)
	server := newFlood("watch.example.com", newFront(t, "token").Config.Handler)
	f.leadTo("watch", "watch.example.com")
	target := f.open(f.assign("watch", "agent-a", 1))
	defer target.Close()
	server.path.Store(new("/configmaps"))
	clientset, err := kubernetes.NewForConfig(target.Shared())
	f.Expect(err).NotTo(HaveOccurred())
	events, err := clientset.CoreV1().ConfigMaps(f.namespace).Watch(t.Context(), metav1.ListOptions{})
	f.Expect(err).NotTo(HaveOccurred())
	defer events.Stop()
	for event := range events.ResultChan() {
		f.Expect(event).To(BeNil())
	}
}
