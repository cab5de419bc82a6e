package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared = testenv.Shared{CRDs: true}

// internet is all that is beyond loopback.
var internet *testenv.Internet

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "headwater-remote-*")
	utilruntime.Must(err)
	internet, err = testenv.StartInternet(context.Background()) //nolint:forbidigo // there is no test yet
	utilruntime.Must(err)
	utilruntime.Must(internet.Join(dir))
	code := shared.Run(m)
	internet.Stop()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// The times of the tests: D = 30 s, R = 10 s, so a write may begin within 10 s
// of a renewal, and a successor waits 40 s.
func times() FenceOptions {
	return FenceOptions{Duration: 30 * time.Second, Request: 10 * time.Second, Idle: 30 * time.Second}
}

func atWork() bool { return true }
func atRest() bool { return false }

// fencesOn makes the fences of one key in two processes, on a real API server
// that is hub and target at once. Their agent owns the key since epoch 1.
func fencesOn(t *testing.T) (a, b *fence, clock *clocktesting.FakeClock, target client.Client) {
	t.Helper()
	g := NewWithT(t)
	target = newHub(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "fence-"}}
	g.Expect(target.Create(t.Context(), namespace)).To(Succeed())
	record := types.NamespacedName{Namespace: namespace.Name, Name: "prod"}
	makeRecord(t, target, record)
	own(t, target, record, "agent", 1)
	clock = clocktesting.NewFakeClock(time.Now())
	made := func(identity string) *fence {
		return &fence{
			FenceOptions: times(), clock: clock, name: "headwater-fence-x", identity: identity, busy: atWork,
			ledger: &ledger{client: target, live: target, record: record, agent: "agent"},
			target: &place{kind: "Target", namespace: namespace.Name, leases: target},
		}
	}
	return made("agent-a_1"), made("agent-b_1"), clock, target
}

// newHub is a client of an API server that knows RemoteClusters.
func newHub(t *testing.T) client.Client {
	t.Helper()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(fleetv1.AddToScheme(scheme))
	config := shared.ControlPlane(t).Config()
	hub, err := client.New(config, client.Options{Scheme: scheme})
	g.Expect(err).NotTo(HaveOccurred())
	return hub
}

func makeRecord(t *testing.T, hub client.Client, name types.NamespacedName) {
	t.Helper()
	record := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	record.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: name.Name}}
	NewWithT(t).Expect(hub.Create(t.Context(), record)).To(Succeed())
}

// own writes the owner into the record.
func own(t *testing.T, hub client.Client, name types.NamespacedName, agent string, epoch int64) {
	t.Helper()
	g := NewWithT(t)
	record := &fleetv1.RemoteCluster{}
	g.Expect(hub.Get(t.Context(), name, record)).To(Succeed())
	before := record.DeepCopy()
	record.Status.Assignments = []fleetv1.Assignment{{Agent: agent, Epoch: epoch}}
	g.Expect(hub.Status().Patch(t.Context(), record, client.MergeFrom(before))).To(Succeed())
}

func leaseOf(t *testing.T, f *fence, target client.Client) *coordinationv1.Lease {
	t.Helper()
	lease := &coordinationv1.Lease{}
	NewWithT(t).Expect(target.Get(t.Context(), types.NamespacedName{Namespace: f.target.namespace, Name: f.name}, lease)).To(Succeed())
	return lease
}

func expectHeld(t *testing.T, err error, holder string) {
	t.Helper()
	g := NewWithT(t)
	var held *heldError
	g.Expect(errors.As(err, &held)).To(BeTrue(), "got %v", err)
	g.Expect(held.holder).To(Equal(holder))
	g.Expect(held.after).To(BeNumerically(">", 0))
}

// A process that was stopped for long may find the fence free again: whoever had
// it meanwhile has acted, and what was begun before is not to be continued.
func TestAFenceThatAnotherHadMeanwhileIsTakenAnew(t *testing.T) {
	g := NewWithT(t)
	a, b, clock, _ := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	before := a.tenure()
	clock.Step(31 * time.Second)
	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(a.tenure()).To(Equal(before), "nobody else had it")

	expectHeld(t, b.take(t.Context()), "agent-a_1")
	clock.Step(41 * time.Second)
	g.Expect(b.take(t.Context())).To(Succeed())
	g.Expect(b.release(t.Context())).To(Succeed())

	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(a.tenure()).To(Equal(before + 1))
}

func TestASuccessorWaitsUntilTheHolderCanNoLongerWrite(t *testing.T) {
	g := NewWithT(t)
	a, b, clock, _ := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(a.valid()).To(BeTrue())
	expectHeld(t, b.take(t.Context()), "agent-a_1")

	clock.Step(11 * time.Second)
	g.Expect(a.valid()).To(BeFalse(), "past D - 2R after its last renewal")
	g.Expect(a.tend(t.Context())).To(Succeed())
	g.Expect(a.valid()).To(BeTrue(), "renewed")

	clock.Step(38 * time.Second)
	expectHeld(t, b.take(t.Context()), "agent-a_1") // the renewal was seen only now
	clock.Step(39 * time.Second)
	expectHeld(t, b.take(t.Context()), "agent-a_1")
	clock.Step(time.Second)
	g.Expect(b.take(t.Context())).To(Succeed())
	g.Expect(b.valid()).To(BeTrue())
	g.Expect(a.valid()).To(BeFalse())
	a.use()
	g.Expect(a.tend(t.Context())).NotTo(Succeed(), "its Lease was taken")
	expectHeld(t, a.take(t.Context()), "agent-b_1")
}

func TestAReleasedFenceIsTakenAtOnce(t *testing.T) {
	g := NewWithT(t)
	a, b, _, target := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(a.release(t.Context())).To(Succeed())
	g.Expect(a.valid()).To(BeFalse())
	g.Expect(*leaseOf(t, a, target).Spec.HolderIdentity).To(BeEmpty())
	g.Expect(b.take(t.Context())).To(Succeed())
}

func TestAFenceWithAnUnsettledWriteIsLeftToRunOut(t *testing.T) {
	g := NewWithT(t)
	a, b, _, target := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	a.unsettle()
	g.Expect(a.release(t.Context())).To(Succeed())
	g.Expect(a.valid()).To(BeFalse())
	g.Expect(*leaseOf(t, a, target).Spec.HolderIdentity).To(Equal("agent-a_1"))
	expectHeld(t, b.take(t.Context()), "agent-a_1")
}

func TestALostRenewalDoesNotSettleAWrite(t *testing.T) {
	g := NewWithT(t)
	a, b, clock, target := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	a.unsettle()
	// A renewal whose answer was lost: the Lease has moved on.
	lease := leaseOf(t, a, target)
	lease.Labels["touched"] = "true"
	g.Expect(target.Update(t.Context(), lease)).To(Succeed())
	g.Expect(a.tend(t.Context())).To(Succeed())
	g.Expect(a.valid()).To(BeTrue())
	g.Expect(a.release(t.Context())).To(Succeed())
	expectHeld(t, b.take(t.Context()), "agent-a_1")

	// Long after, it is settled.
	g.Expect(a.take(t.Context())).To(Succeed())
	for range 7 {
		clock.Step(5 * time.Second)
		a.use()
		g.Expect(a.tend(t.Context())).To(Succeed())
	}
	g.Expect(a.release(t.Context())).To(Succeed())
	g.Expect(b.take(t.Context())).To(Succeed())
}

func TestAFenceHoldsForOneClusterAlone(t *testing.T) {
	g := NewWithT(t)
	a, _, _, target := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	a.rebind(target, false)
	g.Expect(a.valid()).To(BeTrue(), "a new credential for the same cluster")
	before := a.tenure()
	a.rebind(target, true)
	g.Expect(a.valid()).To(BeFalse())
	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(a.tenure()).To(Equal(before + 1))
}

func TestTheWaitOfACreatorOutlastsItsIdleness(t *testing.T) {
	g := NewWithT(t)
	a, _, clock, target := fencesOn(t)
	a.busy = atRest
	own(t, target, a.ledger.record, "agent", 2)
	expectHeld(t, a.take(t.Context()), "a former owner whose Lease is gone")
	clock.Step(35 * time.Second) // idle for longer than 30 s, within D + R
	g.Expect(a.tend(t.Context())).To(Succeed())
	expectHeld(t, a.take(t.Context()), "a former owner whose Lease is gone")
}

func TestTimesThatDoNotFit(t *testing.T) {
	g := NewWithT(t)
	g.Expect(times().check()).To(Succeed())
	short := times()
	short.Request = 14 * time.Second
	g.Expect(short.check()).To(MatchError(ContainSubstring("--fence-duration")))
	hasty := times()
	hasty.Idle = 5 * time.Second
	g.Expect(hasty.check()).To(MatchError(ContainSubstring("--fence-idle")))
}

func TestAnIdleFenceIsReleased(t *testing.T) {
	g := NewWithT(t)
	a, _, clock, target := fencesOn(t)
	a.busy = atRest
	g.Expect(a.take(t.Context())).To(Succeed())
	renewed := leaseOf(t, a, target).Spec.RenewTime
	clock.Step(31 * time.Second)
	g.Expect(a.tend(t.Context())).To(Succeed())
	lease := leaseOf(t, a, target)
	g.Expect(*lease.Spec.HolderIdentity).To(BeEmpty())
	g.Expect(lease.Spec.RenewTime).To(Equal(renewed))
	before := lease.ResourceVersion
	g.Expect(a.tend(t.Context())).To(Succeed())
	g.Expect(leaseOf(t, a, target).ResourceVersion).To(Equal(before), "nothing is renewed at rest")
}

// unread fails the test that reads by it.
type unread struct {
	client.Client
	t *testing.T
}

func (u *unread) Get(context.Context, types.NamespacedName, client.Object, ...client.GetOption) error {
	u.t.Error("read")
	return errors.New("read")
}

// A fence that nobody touched while it was released is taken back with one write,
// and what was known in its tenure still holds.
func TestAFenceReleasedAtRestGoesOn(t *testing.T) {
	g := NewWithT(t)
	a, b, clock, target := fencesOn(t)
	a.busy = atRest
	g.Expect(a.take(t.Context())).To(Succeed())
	before := a.tenure()
	rest := func() {
		clock.Step(31 * time.Second)
		g.Expect(a.tend(t.Context())).To(Succeed())
		g.Expect(a.valid()).To(BeFalse())
	}
	rest()
	a.target.leases = &unread{target, t}
	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(a.valid()).To(BeTrue())
	g.Expect(a.tenure()).To(Equal(before))
	g.Expect(*leaseOf(t, a, target).Spec.HolderIdentity).To(Equal("agent-a_1"))
	a.target.leases = target
	expectHeld(t, b.take(t.Context()), "agent-a_1")

	rest()
	g.Expect(b.take(t.Context())).To(Succeed())
	expectHeld(t, a.take(t.Context()), "agent-b_1")
	g.Expect(b.release(t.Context())).To(Succeed())
	clock.Step(2 * time.Second) // until it looks again
	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(a.tenure()).To(Equal(before+1), "another had it")

	rest()
	g.Expect(target.Delete(t.Context(), leaseOf(t, a, target))).To(Succeed())
	expectHeld(t, a.take(t.Context()), "a former owner whose Lease is gone")
	g.Expect(a.tenure()).To(Equal(before+2), "another may have had one")
}

// A fence is made when its target is connected for the first time, and kept free:
// the first write takes it with one request, and any process may.
func TestAFenceIsPreparedAndFree(t *testing.T) {
	g := NewWithT(t)
	a, b, _, target := fencesOn(t)
	g.Expect(a.prepare(t.Context())).To(Succeed())
	g.Expect(*leaseOf(t, a, target).Spec.HolderIdentity).To(BeEmpty())
	record := &fleetv1.RemoteCluster{}
	g.Expect(target.Get(t.Context(), a.ledger.record, record)).To(Succeed())
	g.Expect(record.Status.FencePlace(0)).To(BeEquivalentTo("Target"))
	g.Expect(a.valid()).To(BeFalse(), "it is not held")

	a.target.leases = &unread{target, t}
	g.Expect(a.prepare(t.Context())).To(Succeed(), "and asks for nothing the second time")
	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(a.valid()).To(BeTrue())
	g.Expect(a.tenure()).To(BeEquivalentTo(1))
	expectHeld(t, b.take(t.Context()), "agent-a_1")

	a, b, _, _ = fencesOn(t)
	g.Expect(a.prepare(t.Context())).To(Succeed())
	g.Expect(b.take(t.Context())).To(Succeed(), "one that was prepared is nobody's")
	g.Expect(b.valid()).To(BeTrue())
	expectHeld(t, a.take(t.Context()), "agent-b_1")
}

// refuses takes no new Lease for a while.
type refuses struct {
	client.Client
	creates int
}

func (r *refuses) Create(ctx context.Context, obj client.Object, options ...client.CreateOption) error {
	if r.creates--; r.creates >= 0 {
		return context.DeadlineExceeded
	}
	return r.Client.Create(ctx, obj, options...)
}

// A fence that was noted, and could not be made at once, is waited for by nobody: this
// process knows that there was none before.
func TestAFenceThatCouldNotBeMadeAtOnce(t *testing.T) {
	g := NewWithT(t)
	a, _, _, target := fencesOn(t)
	a.target.leases = &refuses{target, 2}
	g.Expect(a.prepare(t.Context())).To(MatchError(context.DeadlineExceeded))
	g.Expect(a.take(t.Context())).To(MatchError(context.DeadlineExceeded))
	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(a.valid()).To(BeTrue())
	g.Expect(target.Delete(t.Context(), leaseOf(t, a, target))).To(Succeed())
	a.drop()
	expectHeld(t, a.take(t.Context()), "a former owner whose Lease is gone")
}

// Nothing is prepared where somebody may have had a fence: its being gone tells
// that one has to be waited for.
func TestAFenceThatMayHaveBeenIsNotPrepared(t *testing.T) {
	g := NewWithT(t)
	a, _, _, target := fencesOn(t)
	own(t, target, a.ledger.record, "agent", 2)
	g.Expect(a.prepare(t.Context())).To(Succeed())
	expectHeld(t, a.take(t.Context()), "a former owner whose Lease is gone")

	a, b, _, target := fencesOn(t)
	g.Expect(a.prepare(t.Context())).To(Succeed())
	g.Expect(target.Delete(t.Context(), leaseOf(t, a, target))).To(Succeed())
	expectHeld(t, a.take(t.Context()), "a former owner whose Lease is gone")
	g.Expect(b.prepare(t.Context())).To(Succeed())
	expectHeld(t, b.take(t.Context()), "agent-a_1")
}

// A renewal that does not come through ends nothing before its time.
func TestAFenceHoldsWhileItCannotBeRenewed(t *testing.T) {
	g := NewWithT(t)
	a, _, clock, target := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	a.target.leases = outOfReach(t, target)
	clock.Step(9 * time.Second)
	g.Expect(a.tend(t.Context())).NotTo(Succeed())
	g.Expect(a.take(t.Context())).To(Succeed(), "within D - 2R of the last renewal")
	clock.Step(2 * time.Second)
	g.Expect(a.take(t.Context())).NotTo(Succeed())
	a.target.leases = target
	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(a.tenure()).To(BeEquivalentTo(1))
}

// remembers is a cache that has not heard of anything since.
type remembers struct {
	client.Client
	record *fleetv1.RemoteCluster
}

func (r *remembers) Get(_ context.Context, _ types.NamespacedName, obj client.Object, _ ...client.GetOption) error {
	r.record.DeepCopyInto(obj.(*fleetv1.RemoteCluster))
	return nil
}

// A fence is noted in the record as the cache has it, or in none.
func TestAFenceIsNotedInTheRecordThatWasRead(t *testing.T) {
	g := NewWithT(t)
	a, _, _, target := fencesOn(t)
	record := &fleetv1.RemoteCluster{}
	g.Expect(target.Get(t.Context(), a.ledger.record, record)).To(Succeed())
	a.ledger.client = &remembers{target, record.DeepCopy()}
	a.ledger.live = &unread{target, t}
	g.Expect(a.take(t.Context())).To(Succeed(), "and the cache is as good as the API server")
	g.Expect(target.Get(t.Context(), a.ledger.record, record)).To(Succeed())
	g.Expect(record.Status.FencePlace(0)).To(BeEquivalentTo("Target"))

	c, _, _, target := fencesOn(t)
	g.Expect(target.Get(t.Context(), c.ledger.record, record)).To(Succeed())
	c.ledger.client = &remembers{target, record.DeepCopy()}
	own(t, target, c.ledger.record, "other", 2)
	g.Expect(c.take(t.Context())).To(MatchError(reconcile.ErrNotOwner), "the cache has the past")
	g.Expect(target.Get(t.Context(), c.ledger.record, record)).To(Succeed())
	g.Expect(record.Status.FencePlace(0)).To(BeEmpty())
}

// What nobody needs is not renewed: the next one who does renews it, and answers
// whoever has claimed it meanwhile.
func TestAFenceThatNobodyNeedsIsNotRenewed(t *testing.T) {
	g := NewWithT(t)
	a, b, clock, target := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	before := a.tenure()
	a.busy = atRest
	for range 4 {
		written := leaseOf(t, a, target).ResourceVersion
		for range 3 {
			clock.Step(5 * time.Second)
			g.Expect(a.tend(t.Context())).To(Succeed())
		}
		g.Expect(leaseOf(t, a, target).ResourceVersion).To(Equal(written))
		expectHeld(t, b.take(t.Context()), "agent-a_1")
		a.target.leases = &unread{target, t}
		if leaseOf(t, a, target).Annotations[claimAnnotation] != "" {
			a.target.leases = target
		}
		g.Expect(a.take(t.Context())).To(Succeed())
		a.target.leases = target
		g.Expect(a.valid()).To(BeTrue())
	}
	g.Expect(a.tenure()).To(Equal(before), "nobody else had it")
}

// Work that begins just before a renewal would be due is not overtaken by the end of
// the fence: what has begun is renewed, or has renewed it itself.
func TestWorkThatBeginsLateIsCovered(t *testing.T) {
	g := NewWithT(t)
	a, _, clock, _ := fencesOn(t)
	for _, late := range []time.Duration{0, time.Second, 4 * time.Second, 5*time.Second - 1} {
		a.busy = atRest
		g.Expect(a.take(t.Context())).To(Succeed())
		clock.Step(5 * time.Second)
		g.Expect(a.tend(t.Context())).To(Succeed())
		clock.Step(late)
		g.Expect(a.take(t.Context())).To(Succeed())
		a.busy = atWork
		for range 3 {
			clock.Step(5*time.Second - late)
			g.Expect(a.valid()).To(BeTrue(), "%s after the last one", late)
			g.Expect(a.tend(t.Context())).To(Succeed())
			late = 0
		}
	}
}

func TestARenewalKeepsNoIdleFenceAlive(t *testing.T) {
	g := NewWithT(t)
	a, _, clock, target := fencesOn(t)
	a.busy = atRest
	g.Expect(a.take(t.Context())).To(Succeed())
	for range 7 {
		clock.Step(5 * time.Second)
		g.Expect(a.tend(t.Context())).To(Succeed())
	}
	g.Expect(*leaseOf(t, a, target).Spec.HolderIdentity).To(BeEmpty(), "35 s after the last write")
}

func TestADeletedLeaseIsLostAtOnceAndMadeAnewWithAWait(t *testing.T) {
	g := NewWithT(t)
	a, b, clock, target := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(target.Delete(t.Context(), leaseOf(t, a, target))).To(Succeed())

	err := b.take(t.Context())
	expectHeld(t, err, "a former owner whose Lease is gone")
	g.Expect(b.valid()).To(BeFalse())
	g.Expect(a.tend(t.Context())).NotTo(Succeed())
	g.Expect(a.valid()).To(BeFalse())
	for range 8 {
		clock.Step(5 * time.Second)
		b.use()
		g.Expect(b.tend(t.Context())).To(Succeed())
	}
	g.Expect(b.valid()).To(BeTrue(), "after D + R")
}

// deaf does as it is told, and does not hear of it.
type deaf struct {
	client.Client
	creates, updates int
}

func (d *deaf) Create(ctx context.Context, obj client.Object, options ...client.CreateOption) error {
	err := d.Client.Create(ctx, obj, options...)
	if d.creates--; d.creates >= 0 && err == nil {
		return context.DeadlineExceeded
	}
	return err
}

func (d *deaf) Update(ctx context.Context, obj client.Object, options ...client.UpdateOption) error {
	err := d.Client.Update(ctx, obj, options...)
	if d.updates--; d.updates >= 0 && err == nil {
		return context.DeadlineExceeded
	}
	return err
}

// The Lease that a process has made, and has not heard of, names that process. It
// says nothing of the one who may still write because of the Lease before.
func TestTheWaitForAFormerOwnerIsNotForgotten(t *testing.T) {
	for name, lose := range map[string]func(*WithT, *fence, client.Client){
		"the answer to its making is lost": func(g *WithT, f *fence, target client.Client) {
			f.target.leases = &deaf{Client: target, creates: 1}
			g.Expect(f.take(t.Context())).To(MatchError(context.DeadlineExceeded))
		},
		"a claim, and a renewal whose answer is lost": func(g *WithT, f *fence, target client.Client) {
			expectHeld(t, f.take(t.Context()), "a former owner whose Lease is gone")
			lease := leaseOf(t, f, target)
			lease.Annotations = map[string]string{claimAnnotation: "agent-a_1"}
			g.Expect(target.Update(t.Context(), lease)).To(Succeed())
			f.target.leases = &deaf{Client: target, updates: 2} // the first one conflicts
			g.Expect(f.tend(t.Context())).NotTo(Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			a, b, clock, target := fencesOn(t)
			g.Expect(a.take(t.Context())).To(Succeed())
			g.Expect(target.Delete(t.Context(), leaseOf(t, a, target))).To(Succeed())
			lose(g, b, target)
			expectHeld(t, b.take(t.Context()), "a former owner whose Lease is gone")
			g.Expect(b.valid()).To(BeFalse())
			clock.Step(41 * time.Second)
			g.Expect(b.take(t.Context())).To(Succeed())
			g.Expect(b.valid()).To(BeTrue(), "after D + R")
		})
	}
}

func TestAWallClockThatJumpsEndsTheFence(t *testing.T) {
	g := NewWithT(t)
	a, _, clock, _ := fencesOn(t)
	g.Expect(a.take(t.Context())).To(Succeed())
	// A time without a monotonic part is what the clock of a machine that was
	// suspended for an hour shows.
	clock.SetTime(clock.Now().Round(0).Add(time.Hour))
	g.Expect(a.valid()).To(BeFalse())
}

// sent records what passes the gate, and answers with the code, or 200.
type sent struct {
	requests []*http.Request
	code     int
}

func (s *sent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.requests = append(s.requests, r)
	return &http.Response{StatusCode: max(s.code, http.StatusOK), Body: http.NoBody, Request: r}, nil
}

func request(t *testing.T, method, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return r
}

func TestTheGate(t *testing.T) {
	g := NewWithT(t)
	a, _, clock, _ := fencesOn(t)
	closed, cut := context.WithCancel(t.Context())
	defer cut()
	var passed sent
	gate := &gate{next: &passed, fence: a, closed: closed}
	try := func(method, url string) error {
		response, err := gate.RoundTrip(request(t, method, url))
		if err == nil {
			g.Expect(response.Body.Close()).To(Succeed())
		}
		return err
	}
	const pods = "https://target/api/v1/namespaces/x/pods"

	g.Expect(try(http.MethodPost, pods)).To(MatchError(errFenceInvalid))
	g.Expect(try(http.MethodDelete, pods+"/y")).To(MatchError(errFenceInvalid))
	g.Expect(passed.requests).To(BeEmpty())
	reason, _ := reconcile.ReasonOf(reconcile.Fail(meta.ReconciliationFailedReason, fmt.Errorf("apply: %w", try(http.MethodPost, pods))))
	g.Expect(reason).To(Equal(meta.FenceHeldReason), "nothing has failed: the run is repeated soon")
	g.Expect(try(http.MethodGet, pods)).To(Succeed())
	_, limited := passed.requests[0].Context().Deadline()
	g.Expect(limited).To(BeTrue(), "a target that hangs holds nobody for ever")
	g.Expect(try(http.MethodGet, pods+"?watch=true")).To(Succeed())
	_, limited = passed.requests[1].Context().Deadline()
	g.Expect(limited).To(BeFalse(), "a watch lasts")
	g.Expect(try(http.MethodPatch, pods+"/y?dryRun=All")).To(Succeed())
	g.Expect(try(http.MethodPost, "https://target/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")).To(Succeed())

	g.Expect(a.take(t.Context())).To(Succeed())
	g.Expect(try(http.MethodPatch, pods+"/y?fieldManager=k")).To(Succeed())
	last := passed.requests[len(passed.requests)-1]
	g.Expect(last.URL.Query().Get("timeout")).To(Equal("10s"), "the server is told to give up")
	deadline, ok := last.Context().Deadline()
	g.Expect(ok).To(BeTrue())
	g.Expect(time.Until(deadline)).To(BeNumerically("<=", 10*time.Second))

	g.Expect(a.unsettled).To(BeZero())
	passed.code = http.StatusGatewayTimeout
	g.Expect(try(http.MethodPatch, pods+"/y")).To(Succeed())
	g.Expect(a.unsettled).NotTo(BeZero(), "nobody knows what became of it")

	clock.Step(11 * time.Second)
	g.Expect(try(http.MethodPatch, pods+"/y")).To(MatchError(errFenceInvalid))

	cut()
	g.Expect(try(http.MethodGet, pods)).To(MatchError(reconcile.ErrNotOwner), "after the hand-over nothing passes")
}
