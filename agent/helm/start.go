package helm

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headwater-dev/headwater/agent/helm/action"
	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// freshFor is how long what a decision has seen of the storage serves its action,
// which may wait for a place: records may be made meanwhile by others. Should one
// be made within that time, the server refuses the action's own.
const freshFor = 2 * time.Second

// fenceUse is how often an action that waits says that it needs the fence.
const fenceUse = 3 * time.Second

// task is an action and all that it needs.
type task struct {
	order action.Order
	next  state.Decision
	want  state.Want
	chart string
	// timeout is the time limit.
	timeout time.Duration
	// access is the way to the target, once that has been opened.
	access action.Access
}

// start writes into the status what is about to be done, and then begins it.
func (r *Reconciler) start(ctx context.Context, obj *helmv2.HelmRelease, at look, next state.Decision) error {
	in := at.in
	config, err := configAhead(obj, at, next)
	if err != nil {
		return err
	}
	what := task{next: next, want: in.want, chart: chartTitle(in.want), timeout: timeoutOf(obj, next.Action)}
	if what.order, err = r.order(ctx, obj, in); err != nil {
		return err
	}
	switch next.Action {
	case state.Install, state.Upgrade:
		obj.Status.LastAttemptedReleaseAction = helmv2.ReleaseAction(next.Action)
		if state.Forced(obj) {
			obj.Status.LastHandledForceAt = obj.Annotations[meta.ForceRequestAnnotation]
		}
		fallthrough
	case state.Rollback:
		obj.Status.StorageNamespace = in.want.StorageNamespace
		obj.Status.History = release.With(obj.Status.History, ahead(in, at.seen, next, config), state.Standard(obj))
	}
	if next.Action == state.Leave {
		what.order.Target = next.Release
	}
	what.order.Fresh = next.Action == state.Install && len(at.seen.Records) == 0
	if err := r.status.PatchAhead(ctx, obj, running(next.Action, what.timeout), at.to.tenure); err != nil {
		return err
	}
	r.runs.settled(obj)
	return r.begin(ctx, obj, at.to, what)
}

// begin runs the task in a goroutine of its own, which has the target from now
// on, and waits for it without a worker.
func (r *Reconciler) begin(ctx context.Context, obj *helmv2.HelmRelease, to *target, what task) error {
	known, err := r.discoveries.at(to)
	if err != nil {
		return err
	}
	if !ptr.Deref(obj.Spec.PersistentClient, true) {
		known.Forget()
	}
	name := client.ObjectKeyFromObject(obj)
	made := &run{uid: obj.UID, action: what.next.Action, target: what.order.Target, timeout: what.timeout}
	if !r.runs.begin(name, made) {
		return running(made.action, made.timeout)
	}
	to.kept = true
	to.Lasts(made.timeout)
	r.memories.drop(name)
	ctx = log.IntoContext(context.WithoutCancel(ctx), log.FromContext(ctx).WithValues("action", string(what.next.Action)))
	what.access = action.Access{Config: to.Config, Mapper: to.Mapper, Discovery: known, Hold: to.hold}
	go r.perform(ctx, name, made, to, what)
	return running(made.action, made.timeout)
}

// perform does the action and notes what came of it. The target is given back
// when Helm has returned, and not before: a hand-over waits for that.
func (r *Reconciler) perform(ctx context.Context, name types.NamespacedName, made *run, to *target, what task) {
	began := r.Clock.Now()
	result := ended{want: what.want, chart: what.chart}
	func() {
		defer to.Close()
		at := r.places.take(to.key)
		defer at.leave()
		what.access.Yield = at.yield
		what.order.Fresh = what.order.Fresh && r.Clock.Now().Sub(began) < freshFor
		ctx, end := context.WithCancelCause(ctx)
		defer end(nil)
		stop := use(ctx, to, end)
		defer stop()
		do(ctx, what, &result)
	}()
	result.took = r.Clock.Now().Sub(began)
	if result.err != nil {
		log.FromContext(ctx).Info("action failed", "release", what.order.Target.String(), "error", reconcile.Redact(result.err.Error()), "log", result.log)
	}
	r.runs.end(name, made, result)
}

// use keeps the fence from being released as idle while an action waits, and ends
// the action when the fence was lost: what it waits for is not its own any more.
// Before that, each write has asked by itself.
func use(ctx context.Context, to *target, end context.CancelCauseFunc) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(fenceUse)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if err := to.hold(ctx); lost(err) {
					end(err)
					return
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

// lost says whether the fence is another's, or may have been. A target that is out
// of reach may come back before that.
func lost(err error) bool {
	reason, _ := reconcile.ReasonOf(err)
	return errors.Is(err, errTenure) || errors.Is(err, reconcile.ErrNotOwner) || reason == meta.FenceHeldReason
}

// do runs the action and notes what came of it. It survives what a chart makes of
// Helm.
func do(ctx context.Context, what task, result *ended) {
	defer func() {
		if crash := recover(); crash != nil {
			result.err = fmt.Errorf("helm crashed: %v", crash)
		}
	}()
	session, err := action.Open(ctx, what.access, what.order)
	if err != nil {
		result.err = err
		return
	}
	defer func() { result.log, result.begun = session.Log(), session.Begun() }()
	result.err = doIn(session, what.next)
}

func doIn(session *action.Session, next state.Decision) error {
	switch next.Action {
	case state.Install:
		return session.Install()
	case state.Upgrade:
		return session.Upgrade()
	case state.Unlock:
		return session.Unlock(next.Version, next.Failed)
	case state.Test:
		return session.Test()
	case state.Rollback:
		return session.Rollback(next.Version)
	case state.Remove, state.Leave:
		return session.Uninstall()
	case state.CorrectDrift:
		return session.CorrectDrift()
	}
	return errors.New("there is no such action")
}

// busy waits for an action that is under way.
func (r *Reconciler) busy(obj *helmv2.HelmRelease) error {
	if current, under := r.runs.current(client.ObjectKeyFromObject(obj)); under {
		return running(current.action, current.timeout)
	}
	return nil
}

func running(what state.Action, timeout time.Duration) error {
	return reconcile.Wait(meta.ProgressingReason,
		fmt.Sprintf("Running '%s' action with timeout of %s", verb(what), timeout), timeout+lateWake)
}

// verb is the action in Helm's words.
func verb(of state.Action) string {
	switch of {
	case state.Remove, state.Leave:
		return "uninstall"
	case state.CorrectDrift:
		return "correct drift"
	}
	return string(of)
}

// timeoutOf is the time limit of the action: its own, or that of the spec.
func timeoutOf(obj *helmv2.HelmRelease, of state.Action) time.Duration {
	spec, own := obj.Spec, map[state.Action]*metav1.Duration{}
	if spec.Install != nil {
		own[state.Install] = spec.Install.Timeout
	}
	if spec.Upgrade != nil {
		own[state.Upgrade] = spec.Upgrade.Timeout
	}
	if spec.Test != nil {
		own[state.Test] = spec.Test.Timeout
	}
	if spec.Rollback != nil {
		own[state.Rollback] = spec.Rollback.Timeout
	}
	if spec.Uninstall != nil {
		own[state.Remove], own[state.Leave] = spec.Uninstall.Timeout, spec.Uninstall.Timeout
	}
	if own[of] != nil {
		return own[of].Duration
	}
	return obj.Timeout()
}
