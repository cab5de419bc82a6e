package remote

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	coordinationv1 "k8s.io/api/coordination/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// outOfReach is a client of a server that is not there.
func outOfReach(t *testing.T, like client.Client) client.Client {
	t.Helper()
	c, err := client.New(&rest.Config{Host: "https://127.0.0.1:1"}, client.Options{Scheme: like.Scheme(), Mapper: like.RESTMapper()})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return c
}

func TestAClaimEndsATenureThatTheHubCannotConfirm(t *testing.T) {
	g := NewWithT(t)
	a, b, clock, target := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	a.ledger.live = outOfReach(t, target)
	for range 3 {
		clock.Step(5 * time.Second)
		a.use()
		g.Expect(a.tend(t.Context())).To(Succeed())
	}
	g.Expect(a.valid()).To(BeTrue(), "nobody claims it: work goes on without the hub")

	expectHeld(t, b.take(t.Context()), "agent-a_1")
	g.Expect(leaseOf(t, a, target).Annotations).To(HaveKeyWithValue("fleet.headwater.dev/claim", "agent-b_1"))
	clock.Step(5 * time.Second)
	a.use()
	g.Expect(a.tend(t.Context())).To(Succeed())
	g.Expect(a.valid()).To(BeFalse())
	g.Expect(b.take(t.Context())).To(Succeed(), "at once")
	g.Expect(leaseOf(t, a, target).Annotations).NotTo(HaveKey("fleet.headwater.dev/claim"))

	// Even when the successor has let it go, it is not taken back unasked.
	g.Expect(b.release(t.Context())).To(Succeed())
	expectHeld(t, a.take(t.Context()), "agent-b_1, who claimed it while the hub is out of reach")
	a.ledger.live = target
	g.Expect(a.take(t.Context())).To(Succeed(), "the hub confirms it")
}

// A claim that came while nobody needed the fence is answered by the next one who does.
func TestAClaimOnAFenceAtRest(t *testing.T) {
	g := NewWithT(t)
	a, b, clock, target := fencesOn(t)
	a.busy = atRest
	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(a.tend(t.Context())).To(Succeed())
	expectHeld(t, b.take(t.Context()), "agent-a_1")
	a.ledger.live = outOfReach(t, target)
	clock.Step(5 * time.Second)
	expectHeld(t, a.take(t.Context()), "agent-b_1, who claimed it while the hub is out of reach")
	g.Expect(a.valid()).To(BeFalse())
	g.Expect(b.take(t.Context())).To(Succeed(), "at once")
}

func TestAClaimWaitsForWritesInFlight(t *testing.T) {
	g := NewWithT(t)
	a, b, clock, target := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	a.ledger.live = outOfReach(t, target)
	_, ok := a.enter()
	g.Expect(ok).To(BeTrue())
	expectHeld(t, b.take(t.Context()), "agent-a_1")
	done := make(chan error, 1)
	go func() { done <- a.tend(t.Context()) }()
	g.Eventually(a.valid).Should(BeFalse(), "no write begins any more")
	g.Expect(*leaseOf(t, a, target).Spec.HolderIdentity).To(Equal("agent-a_1"), "one is under way")
	clock.Step(2 * time.Second)
	a.leave()
	g.Eventually(done).Should(Receive(Succeed()))
	g.Expect(*leaseOf(t, a, target).Spec.HolderIdentity).To(BeEmpty())
}

func TestAClaimOnATenureThatTheHubConfirms(t *testing.T) {
	g := NewWithT(t)
	a, b, clock, target := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	expectHeld(t, b.take(t.Context()), "agent-a_1")
	clock.Step(5 * time.Second)
	g.Expect(a.tend(t.Context())).To(Succeed())
	g.Expect(a.valid()).To(BeTrue())
	g.Expect(leaseOf(t, a, target).Annotations).NotTo(HaveKey("fleet.headwater.dev/claim"), "answered")

	// The record has moved on, and this agent has not heard of it yet: it hands
	// over in order.
	told := false
	a.disowned = func() { told = true }
	own(t, target, a.ledger.record, "another", 2)
	expectHeld(t, b.take(t.Context()), "agent-a_1")
	clock.Step(5 * time.Second)
	g.Expect(a.tend(t.Context())).To(Succeed())
	g.Expect(told).To(BeTrue())
	g.Expect(a.valid()).To(BeTrue(), "what is in flight may end")
}

func TestALeaseOfTheSameNameIsNotOurs(t *testing.T) {
	g := NewWithT(t)
	a, _, _, target := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	lease := leaseOf(t, a, target)
	g.Expect(target.Delete(t.Context(), lease)).To(Succeed())
	forged := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: lease.Namespace, Name: lease.Name}, Spec: lease.Spec}
	g.Expect(target.Create(t.Context(), forged)).To(Succeed())
	expectHeld(t, a.tend(t.Context()), "agent-a_1")
	g.Expect(a.valid()).To(BeFalse(), "lost at once")
}

func TestALeaseDeletedByHandIsNotMadeAtOnce(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, a *fence, target client.Client){
		"in the first tenure": func(*testing.T, *fence, client.Client) {},
		"with a record made anew, of objects that were applied": func(t *testing.T, a *fence, target client.Client) {
			record := &fleetv1.RemoteCluster{}
			NewWithT(t).Expect(target.Get(t.Context(), a.ledger.record, record)).To(Succeed())
			NewWithT(t).Expect(target.Delete(t.Context(), record)).To(Succeed())
			makeRecord(t, target, a.ledger.record)
			own(t, target, a.ledger.record, "agent", 2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			a, b, clock, target := fencesOn(t)
			g.Expect(a.take(t.Context())).To(Succeed(), "nobody had it before")
			before(t, a, target)
			g.Expect(target.Delete(t.Context(), leaseOf(t, a, target))).To(Succeed())
			expectHeld(t, b.take(t.Context()), "a former owner whose Lease is gone")
			clock.Step(9 * time.Second)
			g.Expect(a.valid()).To(BeTrue(), "it has not heard of it")
			g.Expect(b.valid()).To(BeFalse())
		})
	}
}

func TestOnlyTheOwnerMakesAFence(t *testing.T) {
	g := NewWithT(t)
	a, _, _, target := fencesOn(t)
	own(t, target, a.ledger.record, "another", 2)
	g.Expect(a.take(t.Context())).To(MatchError(reconcile.ErrNotOwner))
}

// poorClient is a client that may touch ConfigMaps, and what else the rules say.
func poorClient(t *testing.T, namespace string, rules []rbacv1.PolicyRule) client.Client {
	t.Helper()
	g := NewWithT(t)
	data, err := shared.ControlPlane(t).ServiceAccount(t.Context(), namespace, "poor", append(rules,
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}}))
	g.Expect(err).NotTo(HaveOccurred())
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	g.Expect(err).NotTo(HaveOccurred())
	c, err := client.New(config, client.Options{Scheme: clientgoscheme.Scheme, Mapper: leaseMapper()})
	g.Expect(err).NotTo(HaveOccurred())
	return c
}

func TestAFenceInTheHubWhereTheTargetForbidsLeases(t *testing.T) {
	g := NewWithT(t)
	a, b, clock, target := fencesOn(t)
	forbidden := poorClient(t, a.target.namespace, nil)
	for _, f := range []*fence{a, b} {
		f.target = &place{kind: "Target", namespace: "kube-system", leases: forbidden}
		f.hub = &place{kind: "Hub", namespace: a.ledger.record.Namespace, leases: target}
	}
	g.Expect(a.take(t.Context())).To(Succeed(), "nobody had it before")
	expectHeld(t, b.take(t.Context()), "agent-a_1")
	record := &fleetv1.RemoteCluster{}
	g.Expect(target.Get(t.Context(), a.ledger.record, record)).To(Succeed())
	g.Expect(record.Status.Fences).To(Equal([]fleetv1.Fence{{Partition: 0, Place: "Hub"}}))

	// The rights change: all stay where the record says, or else there would be
	// two fences.
	b.target.leases = target
	clock.Step(5 * time.Second)
	g.Expect(a.tend(t.Context())).To(Succeed())
	expectHeld(t, b.take(t.Context()), "agent-a_1")
	g.Expect(a.release(t.Context())).To(Succeed())
	clock.Step(time.Second)
	g.Expect(b.take(t.Context())).To(Succeed())
}

// Whoever holds the fence in the target may be cut off from the hub and go on: a
// kubeconfig that allows no Leases, or only to read them, moves it nowhere.
func TestAFenceInTheTargetStaysThere(t *testing.T) {
	for name, rules := range map[string][]rbacv1.PolicyRule{
		"no rights on Leases": nil,
		"they can be read":    {{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get"}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			a, b, clock, target := fencesOn(t)
			g.Expect(a.take(t.Context())).To(Succeed())
			b.target = &place{kind: "Target", namespace: a.target.namespace, leases: poorClient(t, a.target.namespace, rules)}
			b.hub = &place{kind: "Hub", namespace: "kube-system", leases: target}
			for range 20 {
				g.Expect(b.take(t.Context())).NotTo(Succeed())
				clock.Step(4 * time.Second)
				g.Expect(a.tend(t.Context())).To(Succeed())
				a.use()
				g.Expect(a.valid()).To(BeTrue())
				g.Expect(b.valid()).To(BeFalse())
			}
			g.Expect(apierrors.IsNotFound(target.Get(t.Context(), client.ObjectKey{Namespace: "kube-system", Name: b.name}, &coordinationv1.Lease{}))).To(BeTrue())
			record := &fleetv1.RemoteCluster{}
			g.Expect(target.Get(t.Context(), a.ledger.record, record)).To(Succeed())
			g.Expect(record.Status.Fences).To(Equal([]fleetv1.Fence{{Partition: 0, Place: "Target"}}))

			g.Expect(a.release(t.Context())).To(Succeed())
			clock.Step(time.Minute)
			g.Expect(b.take(t.Context())).To(MatchError(ContainSubstring("where the fence was made: grant that, or delete RemoteCluster " + a.ledger.record.String())))
		})
	}
}

func TestAProcessThatWasStoppedSendsNothingMore(t *testing.T) {
	g := NewWithT(t)
	a, _, clock, _ := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	conn := &guardedConn{Conn: ours, fence: a}
	_, ok := a.enter()
	g.Expect(ok).To(BeTrue())
	clock.Step(21 * time.Second) // stopped in the middle of it, for longer than D - R
	_, err := conn.Write([]byte("PATCH /"))
	g.Expect(err).To(MatchError(errFenceInvalid))
	_, err = theirs.Read(make([]byte, 1))
	g.Expect(err).To(HaveOccurred(), "nothing has arrived, and the connection is closed")
	a.leave()
	g.Expect(a.overdue()).To(BeFalse())
}

// What shares a connection with a write that came too late ends with it, and has not
// failed: it is repeated soon.
func TestWhatSharesAConnectionWithALateWrite(t *testing.T) {
	g := NewWithT(t)
	a, _, clock, _ := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	arrived, hang := make(chan string, 3), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- r.Method
		<-hang
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hang) })
	way := server.Client().Transport.(*http.Transport).Clone()
	gate := &gate{fence: a, closed: t.Context()}
	way.DialContext = gate.dial(&net.Dialer{})
	gate.next = way
	t.Cleanup(way.CloseIdleConnections)
	ask := func(method string) <-chan error {
		ended := make(chan error, 1)
		go func() {
			answer, err := gate.RoundTrip(request(t, method, server.URL))
			if err == nil {
				_ = answer.Body.Close()
			}
			ended <- err
		}()
		return ended
	}
	read := ask(http.MethodGet)
	g.Eventually(arrived, "1m").Should(Receive(Equal(http.MethodGet)))
	write := ask(http.MethodPatch)
	g.Eventually(arrived, "1m").Should(Receive(Equal(http.MethodPatch)))
	clock.Step(21 * time.Second)
	third := ask(http.MethodGet)
	for _, ended := range []<-chan error{read, write, third} {
		var err error
		g.Eventually(ended, "1m").Should(Receive(&err))
		reason, _ := reconcile.ReasonOf(err)
		g.Expect(reason).To(Equal(meta.FenceHeldReason), "%v", err)
	}
}
