package member

import (
	"context"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared testenv.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// world is a namespace of agents on a real API server, and the time there.
type world struct {
	*WithT
	t         *testing.T
	admin     client.Client
	namespace string
	clock     *clocktesting.FakeClock
}

func newWorld(t *testing.T) *world {
	t.Helper()
	g := NewWithT(t)
	admin, err := shared.ControlPlane(t).Client(nil)
	g.Expect(err).NotTo(HaveOccurred())
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "member-"}}
	g.Expect(admin.Create(t.Context(), namespace)).To(Succeed())
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	return &world{WithT: g, t: t, admin: admin, namespace: namespace.Name, clock: clocktesting.NewFakeClock(now)}
}

// member is a process of agent-0.
func (w *world) member(process string) *Member {
	return &Member{
		Client: w.admin, Live: w.admin, Clock: w.clock,
		Namespace: w.namespace, Name: "agent-0", ID: "agent-0_" + process,
		Duration: 15 * time.Second, RenewEvery: 5 * time.Second,
	}
}

func (w *world) lease() *coordinationv1.Lease {
	w.t.Helper()
	var lease coordinationv1.Lease
	w.Expect(w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "headwater-agent-agent-0"}, &lease)).To(Succeed())
	return &lease
}

func (w *world) renew(m *Member) {
	w.t.Helper()
	w.Expect(m.renew(w.t.Context())).To(Succeed())
}

func TestMemberJoinsRenewsAndLeaves(t *testing.T) {
	w := newWorld(t)
	m := w.member("one")
	m.Labels = map[string]string{"zone": "eu"}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- m.Start(ctx) }()

	w.Eventually(w.clock.HasWaiters).Should(BeTrue())
	lease := w.lease()
	w.Expect(lease.Labels).To(Equal(map[string]string{"zone": "eu", "fleet.headwater.dev/member": "true"}))
	w.Expect(*lease.Spec.HolderIdentity).To(Equal("agent-0_one"))
	w.Expect(*lease.Spec.LeaseDurationSeconds).To(BeEquivalentTo(15))
	joined := lease.Spec.RenewTime.Time

	w.clock.Step(5 * time.Second)
	w.Eventually(w.clock.HasWaiters).Should(BeTrue())
	w.Expect(w.lease().Spec.RenewTime.Sub(joined)).To(Equal(5 * time.Second))

	stop()
	w.Expect(<-stopped).To(Succeed())
	w.Expect(w.lease().Spec.HolderIdentity).To(BeNil())
}

func TestMemberTakesOverFromAProcessThatWasKilled(t *testing.T) {
	w := newWorld(t)
	w.renew(w.member("killed"))
	w.clock.Step(time.Second)
	w.renew(w.member("next"))
	w.Expect(*w.lease().Spec.HolderIdentity).To(Equal("agent-0_next"))
}

func TestMembersOfOneNameDoNotFight(t *testing.T) {
	w := newWorld(t)
	old, successor := w.member("old"), w.member("successor")
	w.renew(old)
	w.renew(successor)
	for range 10 {
		w.clock.Step(5 * time.Second)
		w.renew(old)
		w.renew(successor)
		w.Expect(*w.lease().Spec.HolderIdentity).To(Equal("agent-0_successor"))
	}
	w.Expect(old.leave(t.Context())).To(Succeed())
	w.Expect(*w.lease().Spec.HolderIdentity).To(Equal("agent-0_successor"), "a process releases its own Lease alone")

	w.Expect(successor.leave(t.Context())).To(Succeed())
	w.renew(old)
	w.Expect(*w.lease().Spec.HolderIdentity).To(Equal("agent-0_old"))
}

func TestMemberTakesOverFromASuccessorThatDied(t *testing.T) {
	w := newWorld(t)
	old, successor := w.member("old"), w.member("successor")
	w.renew(old)
	w.renew(successor)
	w.renew(old) // sees that it was replaced
	w.clock.Step(14 * time.Second)
	w.renew(old)
	w.Expect(*w.lease().Spec.HolderIdentity).To(Equal("agent-0_successor"))
	w.clock.Step(time.Second)
	w.renew(old)
	w.Expect(*w.lease().Spec.HolderIdentity).To(Equal("agent-0_old"))
}

func TestMemberSurvivesHandsOnItsLease(t *testing.T) {
	w := newWorld(t)
	m := w.member("one")
	w.renew(m)

	edited := w.lease()
	edited.Labels = nil
	w.Expect(w.admin.Update(t.Context(), edited)).To(Succeed())
	w.renew(m)
	w.Expect(w.lease().Labels).To(HaveKey("fleet.headwater.dev/member"))

	w.Expect(w.admin.Delete(t.Context(), w.lease())).To(Succeed())
	w.renew(m)
	w.Expect(*w.lease().Spec.HolderIdentity).To(Equal("agent-0_one"))
}
