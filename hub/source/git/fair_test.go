package git_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// silent is a server that takes connections and never answers.
type silent struct {
	url   string
	asked atomic.Int64
}

func startSilent(t *testing.T) *silent {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	s, ended := &silent{url: "http://" + listener.Addr().String() + "/fleet.git"}, make(chan struct{})
	t.Cleanup(func() { close(ended); _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.asked.Add(1)
			go func() { <-ended; _ = conn.Close() }()
		}
	}()
	return s
}

// A tenant's server hangs, and its repositories may wait for it for as long as
// they like.
func TestADeadServerDelaysNobodyElse(t *testing.T) {
	g := NewWithT(t)
	h := startHubAt(t, reconcile.Pace{Concurrent: 2})
	dead := startSilent(t)
	for i := range 50 {
		obj := newObject(dead.url)
		obj.Name = fmt.Sprintf("dead-%d", i)
		obj.Spec.Timeout = &metav1.Duration{Duration: 59 * time.Minute}
		g.Expect(h.Create(t.Context(), obj)).To(Succeed())
	}
	g.Eventually(dead.asked.Load, patience).Should(BeNumerically("==", 2))

	repository := newRepository(t)
	commit(t, repository, map[string]string{"a": "1"})
	obj := newObject(repository.URL)
	obj.Namespace = "other"
	g.Expect(h.Create(t.Context(), obj)).To(Succeed())
	g.Eventually(h.ready(t, obj), patience).Should(HavePrefix("True Succeeded"))
	g.Expect(dead.asked.Load()).To(BeNumerically("==", 2), "the share of a namespace")
}

// stalled stops in the middle of an answer.
type stalled struct {
	http.ResponseWriter
	request *http.Request
	left    int
	at      *atomic.Int64
}

func (s *stalled) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		s.at.Add(1)
		<-s.request.Context().Done()
		return 0, s.request.Context().Err()
	}
	return s.ResponseWriter.Write(p)
}

// Servers of two tenants stop in the middle of a packfile. To wait for the rest takes
// neither memory nor a processor.
func TestSlowDownloadsDelayNobodyElse(t *testing.T) {
	g := NewWithT(t)
	h := startHubAt(t, reconcile.Pace{Concurrent: 1})
	repository := newRepository(t)
	commit(t, repository, map[string]string{"big": random(100_000)})
	var halves atomic.Int64
	slow := newFront(t, repository, httptest.NewServer)
	through := slow.Config.Handler
	slow.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w = &stalled{w, r, 50_000, &halves}
		}
		through.ServeHTTP(w, r)
	})
	t.Cleanup(slow.CloseClientConnections)
	for _, namespace := range []string{"team", "other"} {
		obj := newObject(slow.URL + "/fleet.git")
		obj.Namespace = namespace
		obj.Spec.Timeout = &metav1.Duration{Duration: 59 * time.Minute}
		g.Expect(h.Create(t.Context(), obj)).To(Succeed())
	}
	g.Eventually(halves.Load, patience).Should(BeNumerically("==", 2))

	obj := newObject(repository.URL)
	obj.Namespace = "third"
	g.Expect(h.Create(t.Context(), obj)).To(Succeed())
	g.Eventually(h.ready(t, obj), patience).Should(HavePrefix("True Succeeded"))
}

func TestTheHubBoundsTheTimeout(t *testing.T) {
	g := NewWithT(t)
	h := startHubAt(t, reconcile.Pace{MaxTimeout: reconcile.MaxTimeout(200 * time.Millisecond)})
	obj := newObject(startSilent(t).url)
	obj.Spec.Timeout = &metav1.Duration{Duration: 59 * time.Minute}
	g.Expect(h.Create(t.Context(), obj)).To(Succeed())
	g.Eventually(h.ready(t, obj), patience).Should(And(HavePrefix("False GitOperationFailed"),
		ContainSubstring("listing the references: it took longer than 200ms (--max-source-timeout, whatever spec.timeout says)")))
}
