package reconcile_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared = testenv.Shared{CRDs: true}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// script is a kind whose phases are given by the test.
type script struct {
	reconcile, finalize func(context.Context, *kustomizev1.Kustomization) error
}

func (s *script) Reconcile(ctx context.Context, obj *kustomizev1.Kustomization) error {
	if s.reconcile == nil {
		return nil
	}
	return s.reconcile(ctx, obj)
}

func (s *script) Finalize(ctx context.Context, obj *kustomizev1.Kustomization) error {
	if s.finalize == nil {
		return nil
	}
	return s.finalize(ctx, obj)
}

func (s *script) Ready(obj *kustomizev1.Kustomization) (reason, message string) {
	return "ReconciliationSucceeded", "Applied revision: " + obj.Status.LastAppliedRevision
}

// bench is a loop on a real API server.
type bench struct {
	*WithT
	t    *testing.T
	kind *script
	loop *reconcile.Loop[*kustomizev1.Kustomization]
	hub  client.WithWatch
	obj  *kustomizev1.Kustomization
	// events that were published
	events chan string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(kustomizev1.AddToScheme(scheme))
	config := shared.ControlPlane(t).Config()
	hub, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	g.Expect(err).NotTo(HaveOccurred())
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "loop-"}}
	g.Expect(hub.Create(t.Context(), namespace)).To(Succeed())
	obj := &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "web"},
		Spec: kustomizev1.KustomizationSpec{
			Interval:  metav1.Duration{Duration: time.Hour},
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "web"},
		},
	}
	g.Expect(hub.Create(t.Context(), obj)).To(Succeed())
	recorder := record.NewFakeRecorder(20)
	status := &reconcile.Status{Client: hub, Live: hub, FieldOwner: "gotk-kustomize-controller"}
	kind := &script{}
	return &bench{WithT: g, t: t, kind: kind, hub: hub, obj: obj, events: recorder.Events,
		loop: &reconcile.Loop[*kustomizev1.Kustomization]{
			Client: hub, Status: status, Kind: kind,
			Events: reconcile.NewRecorder(recorder, scheme, "headwater-agent", ""),
		}}
}

func (b *bench) run() (ctrl.Result, error) {
	return b.loop.Reconcile(b.t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(b.obj)})
}

func (b *bench) live() *kustomizev1.Kustomization {
	b.t.Helper()
	obj := &kustomizev1.Kustomization{}
	b.Expect(b.hub.Get(b.t.Context(), client.ObjectKeyFromObject(b.obj), obj)).To(Succeed())
	return obj
}

func (b *bench) change(change func(*kustomizev1.Kustomization)) {
	b.t.Helper()
	obj := b.live()
	before := obj.DeepCopy()
	change(obj)
	b.Expect(b.hub.Patch(b.t.Context(), obj, client.MergeFrom(before))).To(Succeed())
}

func reasonOf(obj *kustomizev1.Kustomization, kind string) string {
	condition := apimeta.FindStatusCondition(obj.Status.Conditions, kind)
	if condition == nil {
		return ""
	}
	return string(condition.Status) + " " + condition.Reason
}

func TestARunThatChangesNothingWritesNothing(t *testing.T) {
	b := newBench(t)
	b.kind.reconcile = func(_ context.Context, obj *kustomizev1.Kustomization) error {
		obj.Status.LastAppliedRevision = "main@sha1:1"
		return nil
	}
	result, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(result.RequeueAfter).To(BeNumerically("~", time.Hour, 3*time.Minute))
	first := b.live()
	b.Expect(first.Finalizers).To(ConsistOf("finalizers.fluxcd.io"))
	b.Expect(reasonOf(first, "Ready")).To(Equal("True ReconciliationSucceeded"))
	b.Expect(first.Status.ObservedGeneration).To(Equal(int64(1)))
	b.Expect(b.events).To(Receive(ContainSubstring("Normal ReconciliationSucceeded Applied revision: main@sha1:1")))

	_, err = b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(b.live().ResourceVersion).To(Equal(first.ResourceVersion))
	b.Expect(b.events).NotTo(Receive())
}

func TestSuspensionTouchesNoOtherCondition(t *testing.T) {
	b := newBench(t)
	_, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	ready := apimeta.FindStatusCondition(b.live().Status.Conditions, "Ready")
	b.change(func(obj *kustomizev1.Kustomization) { obj.Spec.Suspend = true })
	b.kind.reconcile = func(context.Context, *kustomizev1.Kustomization) error { return errors.New("ran while suspended") }

	_, err = b.run()
	b.Expect(err).NotTo(HaveOccurred())
	suspended := b.live()
	b.Expect(reasonOf(suspended, "Suspended")).To(Equal("True Suspended"))
	b.Expect(apimeta.FindStatusCondition(suspended.Status.Conditions, "Ready")).To(Equal(ready))
	b.Expect(suspended.Status.ObservedGeneration).To(Equal(int64(1)))
	_, err = b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(b.live().ResourceVersion).To(Equal(suspended.ResourceVersion))

	b.change(func(obj *kustomizev1.Kustomization) { obj.Spec.Suspend = false })
	b.kind.reconcile = nil
	_, err = b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(reasonOf(b.live(), "Suspended")).To(BeEmpty())
	b.Expect(b.live().Status.ObservedGeneration).To(Equal(int64(3)))
}

// A run that panics is recovered above, and leaves nothing that works on.
func TestARunThatPanicsEnds(t *testing.T) {
	b := newBench(t)
	clock := clocktesting.NewFakeClock(time.Now())
	b.loop.Clock = clock
	b.kind.reconcile = func(context.Context, *kustomizev1.Kustomization) error {
		b.Eventually(clock.HasWaiters, "20s").Should(BeTrue())
		panic("a defect")
	}
	b.Expect(func() { _, _ = b.run() }).To(PanicWith("a defect"))
	b.Expect(clock.HasWaiters()).To(BeFalse())
}

func TestAConflictRepeatsThePatchAndNotTheRun(t *testing.T) {
	b := newBench(t)
	runs := 0
	b.kind.reconcile = func(_ context.Context, obj *kustomizev1.Kustomization) error {
		runs++
		obj.Status.LastAppliedRevision = "main@sha1:1"
		b.change(func(other *kustomizev1.Kustomization) { other.Spec.Path = "./elsewhere" })
		return nil
	}
	_, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(runs).To(Equal(1))
	after := b.live()
	b.Expect(after.Status.LastAppliedRevision).To(Equal("main@sha1:1"))
	b.Expect(after.Generation).To(Equal(int64(2)))
	b.Expect(after.Status.ObservedGeneration).To(Equal(int64(1)), "what ran was the first generation")
}

func TestAStatusThatSomebodyElseWroteIsNotOverwritten(t *testing.T) {
	b := newBench(t)
	b.kind.reconcile = func(_ context.Context, obj *kustomizev1.Kustomization) error {
		obj.Status.Inventory = &meta.ResourceInventory{Entries: []meta.ResourceRef{{ID: "a_mine__ConfigMap", Version: "v1"}}}
		other := b.live()
		before := other.DeepCopy()
		other.Status.Inventory = &meta.ResourceInventory{Entries: []meta.ResourceRef{{ID: "a_theirs__ConfigMap", Version: "v1"}}}
		b.Expect(b.hub.Status().Patch(b.t.Context(), other, client.MergeFrom(before))).To(Succeed())
		return nil
	}
	_, err := b.run()
	b.Expect(err).To(MatchError(ContainSubstring("somebody else changed it meanwhile")))
	b.Expect(b.live().Status.Inventory.Entries).To(ConsistOf(meta.ResourceRef{ID: "a_theirs__ConfigMap", Version: "v1"}))
}

func TestWhatIsWrittenAheadIsTheBaseOfTheLastWrite(t *testing.T) {
	b := newBench(t)
	b.kind.reconcile = func(ctx context.Context, obj *kustomizev1.Kustomization) error {
		obj.Status.LastAttemptedRevision = "main@sha1:1"
		b.Expect(b.loop.Status.Patch(ctx, obj)).To(Succeed())
		b.Expect(b.live().Status.LastAttemptedRevision).To(Equal("main@sha1:1"))
		obj.Status.LastAttemptedRevision = ""
		return nil
	}
	_, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(b.live().Status.LastAttemptedRevision).To(BeEmpty())
}

func TestAStaleCacheIsNotBelieved(t *testing.T) {
	b := newBench(t)
	_, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	old := b.live()
	b.change(func(obj *kustomizev1.Kustomization) {
		obj.Annotations = map[string]string{"reconcile.fluxcd.io/requestedAt": "x"}
	})
	b.kind.reconcile = func(_ context.Context, obj *kustomizev1.Kustomization) error {
		obj.Status.LastAppliedRevision += "+"
		return nil
	}
	_, err = b.run()
	b.Expect(err).NotTo(HaveOccurred())
	// The cache still has the object as it was before that run.
	b.loop.Client = interceptor.NewClient(b.hub, interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
			old.DeepCopyInto(obj.(*kustomizev1.Kustomization))
			return nil
		},
	})
	_, err = b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(b.live().Status.LastAppliedRevision).To(Equal("++"))
}

// runs are those of all Kustomizations that had the outcome, as the metric says.
func runs(t *testing.T, outcome string) (count float64) {
	t.Helper()
	families, err := metrics.Registry.Gather()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "headwater_reconcile_total" && metric.GetLabel()[1].GetValue() == outcome {
				count += metric.GetCounter().GetValue()
			}
		}
	}
	return count
}

func TestDeletionWaitsForFinalize(t *testing.T) {
	b := newBench(t)
	_, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(b.hub.Delete(t.Context(), b.obj)).To(Succeed())
	b.kind.finalize = func(context.Context, *kustomizev1.Kustomization) error {
		return reconcile.Fail("PruneFailed", errors.New("webhook says no"))
	}
	_, err = b.run()
	b.Expect(err).NotTo(HaveOccurred(), "retried after the interval")
	b.Expect(reasonOf(b.live(), "Ready")).To(Equal("False PruneFailed"))

	b.kind.finalize = nil
	before := runs(t, "success")
	_, err = b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(runs(t, "success")-before).To(BeEquivalentTo(1), "the metric has it")
	b.Expect(client.IgnoreNotFound(b.hub.Get(t.Context(), client.ObjectKeyFromObject(b.obj), b.obj))).To(Succeed())
	b.Expect(b.hub.Get(t.Context(), client.ObjectKeyFromObject(b.obj), b.obj)).NotTo(Succeed(), "gone")
}

func TestAnObjectThatBelongsToAnotherIsNotWritten(t *testing.T) {
	b := newBench(t)
	_, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	before := b.live().ResourceVersion
	b.kind.reconcile = func(_ context.Context, obj *kustomizev1.Kustomization) error {
		obj.Status.LastAppliedRevision = "main@sha1:2"
		return reconcile.ErrNotOwner
	}
	result, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(result.RequeueAfter).NotTo(BeZero(), "the target may come back, and nobody else would ask")
	b.Expect(b.live().ResourceVersion).To(Equal(before))

	// Lost between the work and the write.
	b.loop.Status.Owns = func(client.Object) bool { return false }
	b.kind.reconcile = func(_ context.Context, obj *kustomizev1.Kustomization) error {
		obj.Status.LastAppliedRevision = "main@sha1:2"
		return nil
	}
	result, err = b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(result.RequeueAfter).NotTo(BeZero())
	b.Expect(b.live().ResourceVersion).To(Equal(before))
}

func TestALongRunSaysSo(t *testing.T) {
	b := newBench(t)
	_, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	clock := clocktesting.NewFakeClock(time.Now())
	b.loop.Clock = clock
	says := func() string {
		condition := apimeta.FindStatusCondition(b.live().Status.Conditions, "Reconciling")
		if condition == nil {
			return ""
		}
		return string(condition.Status) + " " + condition.Reason + ": " + condition.Message
	}
	b.kind.reconcile = func(ctx context.Context, _ *kustomizev1.Kustomization) error {
		b.Eventually(clock.HasWaiters).Should(BeTrue())
		clock.Step(time.Second)
		b.Expect(says()).To(BeEmpty())
		clock.Step(time.Second)
		b.Eventually(says).Should(Equal("True Progressing: reconciliation in progress"))
		reconcile.Doing(ctx, "fetching")
		reconcile.Doing(ctx, "building")
		b.Eventually(says).Should(Equal("True Progressing: building"))
		return nil
	}
	_, err = b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(reasonOf(b.live(), "Reconciling")).To(BeEmpty())
	b.Expect(reasonOf(b.live(), "Ready")).To(Equal("True ReconciliationSucceeded"))
}

// full is a limiter that gives nobody a turn.
type full struct {
	flowcontrol.RateLimiter
	asked chan struct{}
}

func (f *full) Wait(ctx context.Context) error {
	close(f.asked)
	<-ctx.Done()
	return ctx.Err()
}

func TestWhereManyLastLongNotAllSaySo(t *testing.T) {
	b := newBench(t)
	clock := clocktesting.NewFakeClock(time.Now())
	limiter := &full{asked: make(chan struct{})}
	b.loop.Clock, b.loop.Progress = clock, limiter
	b.kind.reconcile = func(context.Context, *kustomizev1.Kustomization) error {
		b.Eventually(clock.HasWaiters).Should(BeTrue())
		clock.Step(2 * time.Second)
		b.Eventually(limiter.asked).Should(BeClosed())
		return nil
	}
	watch, err := b.hub.Watch(t.Context(), &kustomizev1.KustomizationList{}, client.InNamespace(b.obj.Namespace))
	b.Expect(err).NotTo(HaveOccurred())
	defer watch.Stop()
	_, err = b.run()
	b.Expect(err).NotTo(HaveOccurred(), "the run ends all the same")
	b.Eventually(func() string {
		obj := (<-watch.ResultChan()).Object.(*kustomizev1.Kustomization)
		b.Expect(reasonOf(obj, "Reconciling")).To(BeEmpty())
		return reasonOf(obj, "Ready")
	}).Should(Equal("True ReconciliationSucceeded"))
}

func TestARequestIsAnsweredEvenWhenTheRunFails(t *testing.T) {
	b := newBench(t)
	b.change(func(obj *kustomizev1.Kustomization) {
		obj.Annotations = map[string]string{"reconcile.fluxcd.io/requestedAt": "2026-01-01"}
	})
	b.kind.reconcile = func(context.Context, *kustomizev1.Kustomization) error { return errors.New("token=abc is wrong") }
	_, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	after := b.live()
	b.Expect(after.Status.LastHandledReconcileAt).To(Equal("2026-01-01"))
	b.Expect(reasonOf(after, "Ready")).To(Equal("False Failed"))
	b.Expect(b.events).To(Receive(Equal("Warning Failed token=***** is wrong")))
	_, err = b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(b.events).NotTo(Receive(), "the same failure again is no news")
}

func TestAQuietKindAnnouncesRecoveryAlone(t *testing.T) {
	b := newBench(t)
	b.loop.Quiet = func(before, now *kustomizev1.Kustomization) bool {
		return before.Status.LastAttemptedRevision != now.Status.LastAttemptedRevision
	}
	fail := errors.New("no network")
	var outcome error
	made := ""
	b.kind.reconcile = func(_ context.Context, obj *kustomizev1.Kustomization) error {
		obj.Status.LastAppliedRevision += "+"
		obj.Status.LastAttemptedRevision = made
		return outcome
	}
	for _, outcome = range []error{nil, nil, fail, nil} {
		_, err := b.run()
		b.Expect(err).NotTo(HaveOccurred())
	}
	b.Expect(b.events).To(Receive(Equal("Warning Failed no network")))
	b.Expect(b.events).To(Receive(HavePrefix("Normal ReconciliationSucceeded")))
	b.Expect(b.events).NotTo(Receive())

	for _, outcome = range []error{fail, nil} {
		_, err := b.run()
		b.Expect(err).NotTo(HaveOccurred())
		made = "new"
	}
	b.Expect(b.events).To(Receive(Equal("Warning Failed no network")))
	b.Expect(b.events).NotTo(Receive(), "the kind has told of it")
}

// overtake has another agent write a status that the loop's cache does not show.
func (b *bench) overtake() {
	b.t.Helper()
	stale := b.live()
	b.loop.Client = interceptor.NewClient(b.hub, interceptor.Funcs{
		Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
			stale.DeepCopyInto(obj.(*kustomizev1.Kustomization))
			return nil
		},
	})
	other := b.live()
	before := other.DeepCopy()
	other.Status.Inventory = &meta.ResourceInventory{Entries: []meta.ResourceRef{{ID: "a_theirs__ConfigMap", Version: "v1"}}}
	b.Expect(b.hub.Status().Patch(b.t.Context(), other, client.MergeFrom(before))).To(Succeed())
}

// An agent that has just been given the right to write must not act on what it
// read while another still had it.
func TestATenureBeginsWithWhatTheLastOneLeft(t *testing.T) {
	b := newBench(t)
	confirm := func(tenure int64) (err error) {
		b.kind.reconcile = func(ctx context.Context, obj *kustomizev1.Kustomization) error {
			err = b.loop.Status.Confirm(ctx, obj, tenure)
			return nil
		}
		_, _ = b.run()
		return err
	}
	b.Expect(confirm(1)).To(Succeed())

	b.overtake()

	b.Expect(confirm(1)).To(Succeed(), "asked once in a tenure")
	b.Expect(confirm(2)).To(MatchError(ContainSubstring("somebody else changed it meanwhile")))
	b.Expect(b.live().Status.Inventory.Entries).To(HaveLen(1), "what the other left is not overwritten")
}

// What is written ahead proves that nobody else has written since, or asks.
func TestWhatIsWrittenAheadEndsOnThePastOfAnother(t *testing.T) {
	b := newBench(t)
	live, asked := b.loop.Status.Live, 0
	b.loop.Status.Live = readerFunc(func(ctx context.Context, key client.ObjectKey, obj client.Object) error {
		asked++
		return live.Get(ctx, key, obj)
	})
	ahead := func(tenure int64) (err error) {
		b.kind.reconcile = func(ctx context.Context, obj *kustomizev1.Kustomization) error {
			wait := reconcile.Wait(meta.ProgressingReason, "at work", time.Minute)
			if err = b.loop.Status.PatchAhead(ctx, obj, wait, tenure); err == nil {
				b.Expect(reasonOf(b.live(), "Ready")).To(Equal("Unknown Progressing"))
				b.Expect(b.loop.Status.Confirm(ctx, obj, tenure)).To(Succeed())
			}
			return wait
		}
		_, _ = b.run()
		return err
	}
	b.Expect(ahead(1)).To(Succeed())
	b.Expect(asked).To(BeZero())
	b.Expect(ahead(2)).To(Succeed())
	b.Expect(asked).To(Equal(1), "nothing was to be written, and the tenure is another")

	b.overtake()
	b.Expect(ahead(3)).To(MatchError(ContainSubstring("somebody else changed it meanwhile")))
	b.Expect(b.live().Status.Inventory.Entries).To(HaveLen(1), "what the other left is not overwritten")
}

// readerFunc reads one object.
type readerFunc func(context.Context, client.ObjectKey, client.Object) error

func (f readerFunc) Get(ctx context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	return f(ctx, key, obj)
}

func (readerFunc) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("not asked for")
}

// settling is a script that is told of the ends of its runs.
type settling struct {
	script
	settled []client.Object
}

func (s *settling) Settled(obj client.Object) { s.settled = append(s.settled, obj) }

func TestAKindIsToldWhenItsStatusIsWritten(t *testing.T) {
	b := newBench(t)
	kind := &settling{}
	b.loop.Kind = kind
	var had client.Object
	kind.reconcile = func(_ context.Context, obj *kustomizev1.Kustomization) error {
		b.Expect(kind.settled).To(BeEmpty())
		obj.Status.LastAppliedRevision, had = "1", obj
		return nil
	}
	_, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(kind.settled).To(HaveLen(1))
	b.Expect(kind.settled[0]).To(BeIdenticalTo(had))

	kind.settled = nil
	b.loop.Client = interceptor.NewClient(b.hub, interceptor.Funcs{
		SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
			return errors.New("out of reach")
		},
	})
	b.loop.Status.Client = b.loop.Client
	kind.reconcile = func(_ context.Context, obj *kustomizev1.Kustomization) error {
		obj.Status.LastAppliedRevision = "2"
		return nil
	}
	_, err = b.run()
	b.Expect(err).To(HaveOccurred())
	b.Expect(kind.settled).To(BeEmpty(), "it is not written")
}

// What is written ahead needs no question before: the server takes it only if
// nobody has written since.
func TestAPatchConfirmsWhatItIsMadeFrom(t *testing.T) {
	b := newBench(t)
	ahead := func(id string) (err error) {
		b.kind.reconcile = func(ctx context.Context, obj *kustomizev1.Kustomization) error {
			obj.Status.Inventory = &meta.ResourceInventory{Entries: []meta.ResourceRef{{ID: id, Version: "v1"}}}
			err = b.loop.Status.PatchIn(ctx, obj, 2)
			return err
		}
		_, _ = b.run()
		return err
	}
	b.Expect(ahead("a_ours__ConfigMap")).To(Succeed())
	asked := 0
	b.loop.Status.Live = interceptor.NewClient(b.hub, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, name client.ObjectKey, obj client.Object, o ...client.GetOption) error {
			asked++
			return c.Get(ctx, name, obj, o...)
		},
	})
	b.kind.reconcile = func(ctx context.Context, obj *kustomizev1.Kustomization) error {
		return b.loop.Status.Confirm(ctx, obj, 2)
	}
	_, err := b.run()
	b.Expect(err).NotTo(HaveOccurred())
	b.Expect(asked).To(BeZero(), "the tenure is confirmed")

	b.overtake()
	b.Expect(ahead("a_late__ConfigMap")).To(MatchError(ContainSubstring("somebody else changed it meanwhile")))
	b.Expect(b.live().Status.Inventory.Entries).To(HaveExactElements(HaveField("ID", "a_theirs__ConfigMap")))
}
