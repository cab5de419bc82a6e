package reconcile

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headwater-dev/headwater/api/meta"
)

const (
	// progressAfter is how long a run lasts before its object says so.
	progressAfter = 2 * time.Second
	// disownedRetry is how soon an object is looked for again whose target is
	// another agent's.
	disownedRetry = 2 * time.Second
	// jitter is the share by which an interval varies, so that objects made
	// together do not stay together.
	jitter = 0.05
	// progressRate is how many objects a second say so, after a first few at once.
	// Where many last long it is because the process or the hub is busy, and most
	// end before their turn: to tell of all would make it worse.
	progressRate, progressBurst = 5, 10
)

// progressPace is that of the process.
var progressPace flowcontrol.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(progressRate, progressBurst)

// Loop runs one kind: it reads the object, calls the Kind, and turns how that
// went into one status write, an event and the time of the next run. It is a
// controller-runtime reconciler.
type Loop[T Object] struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Status writes the status; the Kind uses the same one to write ahead.
	Status *Status
	// Kind does the work.
	Kind Kind[T]
	// Events publishes changes of the Ready condition.
	Events *Recorder
	// Revision is what an event says of the object's state, for its metadata;
	// may be nil.
	Revision func(T) map[string]string
	// Quiet keeps a success without an event unless it follows a failure, for
	// kinds that announce what they made themselves; nil for others. It says
	// whether a run between the two states did so: then that is all there is to
	// tell, also after a failure.
	Quiet func(before, now T) bool
	// Clock tells when a run lasts long; the real one when nil.
	Clock clock.Clock
	// Progress limits how many objects say so; the limiter of the process when
	// nil.
	Progress flowcontrol.RateLimiter
}

// Reconcile runs the loop once for the named object.
func (l *Loop[T]) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	obj, err := l.read(ctx, request.NamespacedName)
	if apierrors.IsNotFound(err) {
		l.Status.forget(request.NamespacedName)
		if kind, ok := l.Kind.(Forgetter); ok {
			kind.Forget(request.NamespacedName)
		}
		durations.DeleteLabelValues(kindOf(newObject[T]()), request.Name, request.Namespace)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	l.Status.begin(obj)
	defer l.Status.end(obj)
	started := time.Now()
	defer func() {
		durations.WithLabelValues(kindOf(obj), obj.GetName(), obj.GetNamespace()).Observe(time.Since(started).Seconds())
	}()

	switch {
	case !obj.GetDeletionTimestamp().IsZero():
		return l.finalize(ctx, obj)
	case obj.Suspended():
		suspend(obj)
		return l.conclude(l.Status.Patch(ctx, obj))
	}
	clearConditions(obj, meta.SuspendedCondition)
	if err := l.addFinalizer(ctx, obj); err != nil {
		return l.conclude(err)
	}
	err = l.withProgress(ctx, obj, l.Kind.Reconcile)
	return l.settle(ctx, obj, err)
}

// read returns the object, live where the cache lags behind our own writes: an
// old inventory would forget what was made.
func (l *Loop[T]) read(ctx context.Context, name types.NamespacedName) (T, error) {
	obj := newObject[T]()
	if err := l.Client.Get(ctx, name, obj); err != nil {
		return obj, err
	}
	if !l.Status.stale(obj) {
		return obj, nil
	}
	obj = newObject[T]()
	return obj, l.Status.Live.Get(ctx, name, obj)
}

// settle writes the end of a run: conditions, status, event, next run.
func (l *Loop[T]) settle(ctx context.Context, obj T, err error) (ctrl.Result, error) {
	before := apimeta.FindStatusCondition(obj.CommonStatus().Conditions, meta.ReadyCondition).DeepCopy()
	base := l.Status.base(obj)
	next := finish(obj, err, func() (string, string) { return l.Kind.Ready(obj) })
	outcomes.WithLabelValues(kindOf(obj), string(next.outcome)).Inc()
	if next.outcome == disowned {
		return l.conclude(ErrNotOwner)
	}
	if werr := l.Status.Patch(ctx, obj); werr != nil {
		return l.conclude(werr)
	}
	if kind, ok := l.Kind.(Settler); ok {
		kind.Settled(obj)
	}
	if next.outcome != succeeded || !l.quiet(before, base, obj) {
		l.announce(ctx, obj, before, next.outcome, err)
	}
	switch {
	case next.outcome == failed && next.after == 0:
		return ctrl.Result{}, redactError(err)
	case next.outcome == failed:
		log.FromContext(ctx).Error(redactError(err), "reconciliation failed", "retryIn", next.after.String())
	case next.outcome == stalled:
		log.FromContext(ctx).Error(redactError(err), "reconciliation stalled")
	case next.outcome == succeeded:
		return ctrl.Result{RequeueAfter: jittered(next.after)}, nil
	}
	return ctrl.Result{RequeueAfter: next.after}, nil
}

// conclude keeps what is no error of ours out of the log: an object that is
// gone, or that belongs to another agent now. The latter is looked for again: where its
// target comes back before it was routed elsewhere nothing else would ask for it.
func (l *Loop[T]) conclude(err error) (ctrl.Result, error) {
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return ctrl.Result{}, nil
	case errors.Is(err, ErrNotOwner):
		return ctrl.Result{RequeueAfter: disownedRetry}, nil
	}
	return ctrl.Result{}, redactError(err)
}

// quiet says whether there is nothing to tell of a success: see Quiet.
func (l *Loop[T]) quiet(ready *metav1.Condition, before client.Object, now T) bool {
	if l.Quiet == nil {
		return false
	}
	was, ok := before.(T)
	return ready == nil || ready.Status != metav1.ConditionFalse || ok && l.Quiet(was, now)
}

// announce publishes an event when the Ready condition has changed, with the detail
// of the error that it says.
func (l *Loop[T]) announce(ctx context.Context, obj T, before *metav1.Condition, outcome outcome, err error) {
	now := apimeta.FindStatusCondition(obj.CommonStatus().Conditions, meta.ReadyCondition)
	if before != nil && before.Status == now.Status && before.Reason == now.Reason && before.Message == now.Message {
		return
	}
	severity := SeverityInfo
	switch {
	case outcome == failed || outcome == stalled:
		severity = SeverityError
	case outcome == waiting && now.Status == metav1.ConditionUnknown:
		severity = SeverityTrace
	}
	event := Event{Severity: severity, Reason: now.Reason, Message: now.Message + DetailOf(err)}
	if l.Revision != nil {
		event.Metadata = l.Revision(obj)
	}
	l.Events.Publish(ctx, obj, event)
	if severity == SeverityInfo {
		log.FromContext(ctx).Info(now.Message, "reason", now.Reason)
	}
}

// finalize runs the Kind's Finalize and lets the object go.
func (l *Loop[T]) finalize(ctx context.Context, obj T) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(obj, meta.Finalizer) {
		return ctrl.Result{}, nil
	}
	if err := l.withProgress(ctx, obj, l.Kind.Finalize); err != nil {
		return l.settle(ctx, obj, err)
	}
	err := l.patchFinalizers(ctx, obj, func(finalizers []string) []string {
		return slices.DeleteFunc(finalizers, func(f string) bool { return f == meta.Finalizer })
	})
	if err == nil {
		outcomes.WithLabelValues(kindOf(obj), string(succeeded)).Inc()
	}
	return l.conclude(err)
}

func (l *Loop[T]) addFinalizer(ctx context.Context, obj T) error {
	if controllerutil.ContainsFinalizer(obj, meta.Finalizer) {
		return nil
	}
	return l.patchFinalizers(ctx, obj, func(finalizers []string) []string {
		return append(finalizers, meta.Finalizer)
	})
}

// patchFinalizers writes the changed list of finalizers, against the object as
// it is live when the write conflicts.
func (l *Loop[T]) patchFinalizers(ctx context.Context, obj T, change func([]string) []string) error {
	base := l.Status.base(obj).DeepCopyObject().(client.Object)
	var err error
	for range conflictRetries {
		if l.Status.Owns != nil && !l.Status.Owns(obj) {
			return ErrNotOwner
		}
		var body []byte
		body, err = json.Marshal(map[string]any{"metadata": map[string]any{
			"uid":             base.GetUID(),
			"resourceVersion": base.GetResourceVersion(),
			"finalizers":      change(slices.Clone(base.GetFinalizers())),
		}})
		if err != nil {
			return err
		}
		answer := base.DeepCopyObject().(client.Object)
		err = l.Client.Patch(ctx, answer, client.RawPatch(types.MergePatchType, body), client.FieldOwner(l.Status.FieldOwner))
		if err == nil {
			l.Status.wrote(answer)
			obj.SetFinalizers(answer.GetFinalizers())
			return nil
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		if base, err = l.Status.rebase(ctx, base); err != nil {
			return err
		}
		if base.GetDeletionTimestamp().IsZero() != obj.GetDeletionTimestamp().IsZero() {
			return fmt.Errorf("finalizer of %s/%s: the object was deleted meanwhile", obj.GetNamespace(), obj.GetName())
		}
	}
	return err
}

// withProgress calls the kind and, while that takes long, says in the object's
// status what it is at.
func (l *Loop[T]) withProgress(ctx context.Context, obj T, run func(context.Context, T) error) error {
	at := &phase{text: "reconciliation in progress", changed: make(chan struct{}, 1)}
	running, stop := context.WithCancel(ctx)
	stopped := make(chan struct{})
	timer := l.clock().NewTimer(progressAfter)
	go func() {
		defer close(stopped)
		defer timer.Stop()
		select {
		case <-running.Done():
		case <-timer.C():
			l.follow(running, ctx, obj, at)
		}
	}()
	// Also where the run panics: what recovers that is above, and goes on.
	defer func() {
		stop()
		<-stopped
	}()
	return run(context.WithValue(ctx, phaseKey{}, at), obj)
}

// follow writes what the run is at, and again when it goes on to something else.
func (l *Loop[T]) follow(running, ctx context.Context, obj T, at *phase) {
	for cmp.Or(l.Progress, progressPace).Wait(running) == nil {
		// From what was written last, not from obj as it began: the run may have
		// written ahead since.
		base := l.Status.base(obj)
		progress := base.DeepCopyObject().(T)
		set(progress, meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingReason, at.read())
		if err := l.Status.patchFrom(ctx, base, progress); err != nil {
			log.FromContext(ctx).V(1).Info("progress not written", "error", Redact(err.Error()))
		}
		select {
		case <-running.Done():
			return
		case <-at.changed:
		}
	}
}

func (l *Loop[T]) clock() clock.Clock {
	if l.Clock == nil {
		return clock.RealClock{}
	}
	return l.Clock
}

func newObject[T Object]() T {
	var zero T
	return reflect.New(reflect.TypeOf(zero).Elem()).Interface().(T)
}

// kindOf is the kind of an object; typed objects do not carry it themselves.
func kindOf(obj Object) string {
	return reflect.TypeOf(obj).Elem().Name()
}

func jittered(interval time.Duration) time.Duration {
	return interval + time.Duration((rand.Float64()*2-1)*jitter*float64(interval)) //nolint:gosec // spreads load, guards nothing
}
