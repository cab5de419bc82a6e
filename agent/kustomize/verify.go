package kustomize

import (
	"cmp"
	"context"
	"fmt"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/apply"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// Health is looked at again after a tenth of the time that it is waited for,
	// within these bounds, and as soon as the view sees one of the objects change.
	minPoll, maxPoll = time.Second, 5 * time.Second
	pollShare        = 10
	// All who wait have so much time together for a look: a thousand that wait look
	// every 20 s, and leave the agent to the others.
	pollTime = 20 * time.Millisecond
)

// healthyMessage is what a passed check says, in condition and event.
const healthyMessage = "Health check passed"

// verify looks at the health of what was applied, once. What is in progress is
// waited for without a worker: the run ends, and the next begins here.
func (r *Reconciler) verify(ctx context.Context, obj *kustomizev1.Kustomization, to *target, what waiting) error {
	checks, err := checksOf(obj, what.applied)
	if err != nil {
		return reconcile.Fail(meta.HealthCheckFailedReason, err)
	}
	if len(checks) == 0 {
		return r.applied(ctx, obj, to, what)
	}
	if err := r.addRules(obj, checks); err != nil {
		return err
	}
	now := r.Clock.Now()
	since := waitingSince(obj, what, now)
	left := since.Add(obj.Timeout()).Sub(now)
	health, err := look(ctx, to, checks, what.again && left > 0)
	if err != nil {
		return reconcile.Fail(meta.HealthCheckFailedReason, err)
	}
	switch {
	case len(health.Failed) > 0:
		return r.unhealthy(obj, fmt.Errorf("health check failed: failed early due to stalled resources: %s", apply.Describe(health.Failed)))
	case len(health.Waiting) == 0:
		return r.applied(ctx, obj, to, what)
	case left <= 0:
		return r.unhealthy(obj, fmt.Errorf("health check failed after %s: timeout waiting for: %s", obj.Timeout(), apply.Describe(health.Waiting)))
	}
	if obj.Status.WaitingSince == nil || !obj.Status.WaitingSince.Time.Equal(since) {
		if err := r.fence(ctx, obj, to); err != nil {
			return err
		}
		obj.Status.WaitingSince = &metav1.Time{Time: since}
	}
	setHealthy(obj, metav1.ConditionUnknown, meta.ProgressingReason,
		fmt.Sprintf("Running health checks for revision %s with a timeout of %s", to.src.Revision, obj.Timeout()))
	r.waits.keep(obj, what)
	return reconcile.Wait(meta.ProgressingReason, "waiting for: "+apply.Describe(health.Waiting), min(poll(now.Sub(since), r.waits.count()), left))
}

// look judges the objects. One who has looked before, and still has time, most
// often finds what it has found: as long as that is so it asks for no more than the
// API server has in memory.
func look(ctx context.Context, to *target, checks []apply.Check, again bool) (apply.Health, error) {
	if again {
		health, err := to.applier.Look(ctx, checks, apply.Cached)
		if err == nil && len(health.Failed) == 0 && len(health.Waiting) > 0 {
			return health, nil
		}
	}
	return to.applier.Look(ctx, checks)
}

// verifyAgain continues a wait for health where an earlier run has left it.
func (r *Reconciler) verifyAgain(ctx context.Context, obj *kustomizev1.Kustomization, what waiting) error {
	ctx, cancel := context.WithTimeout(ctx, obj.Timeout())
	defer cancel()
	to, err := r.connect(ctx, obj, wantedKey(obj), what.src)
	if err != nil {
		return err
	}
	defer to.Close()
	what.run.before = *obj.Status.DeepCopy()
	return r.record(ctx, obj, to, what.run, r.verify(ctx, obj, to, what))
}

// applied ends a run in which the revision was applied and found healthy, or
// needs no check.
func (r *Reconciler) applied(ctx context.Context, obj *kustomizev1.Kustomization, to *target, what waiting) error {
	r.waits.drop(client.ObjectKeyFromObject(obj))
	if obj.Spec.Wait || len(obj.Spec.HealthChecks) > 0 {
		if what.changed || obj.Status.LastAppliedRevision != to.src.Revision ||
			!apimeta.IsStatusConditionTrue(obj.Status.Conditions, meta.HealthyCondition) {
			r.Events.Publish(ctx, obj, healthPassed(to.src))
		}
		setHealthy(obj, metav1.ConditionTrue, meta.SucceededReason, healthyMessage)
	} else {
		apimeta.RemoveStatusCondition(&obj.Status.Conditions, meta.HealthyCondition)
	}
	origin := to.src.Metadata[originRevision]
	if obj.Status.WaitingSince == nil && obj.Status.LastAppliedRevision == to.src.Revision &&
		obj.Status.LastAppliedOriginRevision == origin {
		return nil
	}
	if err := r.fence(ctx, obj, to); err != nil {
		return err
	}
	obj.Status.WaitingSince = nil
	obj.Status.LastAppliedRevision = to.src.Revision
	obj.Status.LastAppliedOriginRevision = origin
	return nil
}

// unhealthy ends a wait that has failed. status.waitingSince stays: the next
// runs look once, and do not wait for the same thing anew.
func (r *Reconciler) unhealthy(obj *kustomizev1.Kustomization, err error) error {
	r.waits.drop(client.ObjectKeyFromObject(obj))
	setHealthy(obj, metav1.ConditionFalse, meta.HealthCheckFailedReason, err.Error())
	return reconcile.Fail(meta.HealthCheckFailedReason, err)
}

func setHealthy(obj *kustomizev1.Kustomization, status metav1.ConditionStatus, reason, message string) {
	apimeta.SetStatusCondition(&obj.Status.Conditions, metav1.Condition{
		Type: meta.HealthyCondition, Status: status, Reason: reason, Message: reconcile.Message(message),
		ObservedGeneration: obj.Generation,
	})
}

// waitingSince is when the wait for health began, from which the timeout
// counts: now, unless the same revision of the same spec is being waited for
// already, at nobody's new request, and nothing had to be changed meanwhile. It
// is read from the status, so that it is the same in another process.
func waitingSince(obj *kustomizev1.Kustomization, what waiting, now time.Time) time.Time {
	before := apimeta.FindStatusCondition(obj.Status.Conditions, meta.HealthyCondition)
	if obj.Status.WaitingSince == nil || what.changed || before == nil ||
		before.ObservedGeneration != obj.Generation ||
		what.attempted != what.src.Revision ||
		what.requested != "" && what.requested != obj.Status.LastHandledReconcileAt {
		// As the status stores it, in whole seconds.
		return now.Truncate(time.Second)
	}
	return obj.Status.WaitingSince.Time
}

// poll is how soon health is looked at again after it was waited for so long, while
// so many wait.
func poll(waited time.Duration, waiting int) time.Duration {
	return max(minPoll, min(waited/pollShare, maxPoll), time.Duration(waiting)*pollTime)
}

// addRules puts the user's own rules on the checks that they are for.
func (r *Reconciler) addRules(obj *kustomizev1.Kustomization, checks []apply.Check) error {
	rules, err := r.expressions.Rules(obj.Spec.HealthCheckExprs)
	if err != nil {
		return reconcile.Stall(meta.InvalidCELExpressionReason, fmt.Errorf("spec.healthCheckExprs%w", err))
	}
	for i, check := range checks {
		if rule := rules.For(check.Ref.GroupKind); rule != nil {
			checks[i].Rule = rule
		}
	}
	return nil
}

// isSelf says whether the object is the Kustomization itself, which can only be
// at the hub.
func isSelf(obj *kustomizev1.Kustomization, ref apply.Ref) bool {
	return obj.Spec.KubeConfig == nil && ref.Group == kustomizev1.GroupVersion.Group &&
		ref.Kind == kustomizev1.KustomizationKind && ref.Namespace == obj.Namespace && ref.Name == obj.Name
}

// checksOf says whose health is asked for: all that was applied, or what the
// spec lists, but never the Kustomization itself. A listed Job that was applied may
// remove itself when it is done.
func checksOf(obj *kustomizev1.Kustomization, applied []apply.Check) ([]apply.Check, error) {
	if obj.Spec.Wait {
		return applied, nil
	}
	vanishing := map[string]bool{}
	for _, check := range applied {
		vanishing[check.Ref.ID()] = check.MayVanish
	}
	checks := make([]apply.Check, 0, len(obj.Spec.HealthChecks))
	for i, listed := range obj.Spec.HealthChecks {
		version, err := schema.ParseGroupVersion(listed.APIVersion)
		if err != nil {
			return nil, fmt.Errorf("spec.healthChecks[%d].apiVersion: %w", i, err)
		}
		if version.Empty() {
			version = schema.GroupVersion{Group: "apps", Version: "v1"}
		}
		ref := apply.Ref{
			GroupKind: schema.GroupKind{Group: version.Group, Kind: listed.Kind},
			Version:   version.Version,
			Namespace: cmp.Or(listed.Namespace, obj.Spec.TargetNamespace, obj.Namespace),
			Name:      listed.Name,
		}
		if !isSelf(obj, ref) {
			checks = append(checks, apply.Check{Ref: ref, MayVanish: vanishing[ref.ID()]})
		}
	}
	return checks, nil
}
