package helm

import (
	"context"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

func setCondition(obj *helmv2.HelmRelease, kind string, holds bool, reason, message string) {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	apimeta.SetStatusCondition(&obj.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: reconcile.Redact(message), ObservedGeneration: obj.Generation,
	})
}

// falseMessage is what the condition says if it is False.
func falseMessage(obj *helmv2.HelmRelease, kind string) string {
	if found := apimeta.FindStatusCondition(obj.Status.Conditions, kind); found != nil && found.Status == metav1.ConditionFalse {
		return found.Message
	}
	return ""
}

// conditionMessage is what the condition says; empty when there is none.
func conditionMessage(obj *helmv2.HelmRelease, kind string) string {
	if found := apimeta.FindStatusCondition(obj.Status.Conditions, kind); found != nil {
		return found.Message
	}
	return ""
}

// conditionReason is the reason of the condition; empty when there is none.
func conditionReason(obj *helmv2.HelmRelease, kind string) string {
	if found := apimeta.FindStatusCondition(obj.Status.Conditions, kind); found != nil {
		return found.Reason
	}
	return ""
}

// restConditions takes away what conditions say of anything but the release that is
// as it is wanted: what failed on the way to it, and what is not asked for any more.
// As in Flux, a release that was brought back to what is wanted now counts as
// upgraded to it.
func restConditions(obj *helmv2.HelmRelease) {
	all := &obj.Status.Conditions
	if !state.Tests(obj) {
		apimeta.RemoveStatusCondition(all, testSuccessCondition)
	}
	if !state.ChecksDrift(obj) {
		apimeta.RemoveStatusCondition(all, driftedCondition)
	}
	if len(obj.Status.History) == 0 {
		return
	}
	latest := obj.Status.History[0]
	if apimeta.IsStatusConditionFalse(*all, testSuccessCondition) && release.Tested(latest) && !release.TestsFailed(latest) {
		apimeta.RemoveStatusCondition(all, testSuccessCondition)
	}
	if apimeta.IsStatusConditionFalse(*all, releasedCondition) || apimeta.FindStatusCondition(*all, remediatedCondition) != nil {
		setCondition(obj, releasedCondition, true, upgradeSucceededReason, fmt.Sprintf("Helm upgrade succeeded for release %s", titleOf(latest)))
		apimeta.RemoveStatusCondition(all, remediatedCondition)
	}
}

// titleOf is the revision of a snapshot for people.
func titleOf(of *helmv2.Snapshot) string {
	return fmt.Sprintf("%s/%s.v%d with chart %s@%s", of.Namespace, of.Name, of.Version, of.ChartName, of.ChartVersion)
}

// adopted is what a release says that was found as it is wanted.
func adopted(obj *helmv2.HelmRelease) string {
	if len(obj.Status.History) == 0 {
		return "release is in sync"
	}
	return fmt.Sprintf("release %s is in sync", titleOf(obj.Status.History[0]))
}

// announceFailure tells, once, of an action that failed when another one follows:
// the condition Ready never says so.
func (r *Reconciler) announceFailure(ctx context.Context, obj *helmv2.HelmRelease, series *series, next state.Decision) {
	switch {
	case series.err != nil && !series.told:
		series.told = true
		r.Events.Publish(ctx, obj, reconcile.Event{
			Severity: reconcile.SeverityError, Reason: failureReason(obj, series), Message: series.err.Error(), Metadata: eventMetadata(obj),
		})
	case next.Action == state.Unlock && !next.Failed:
		r.Events.Publish(ctx, obj, reconcile.Event{
			Severity: reconcile.SeverityInfo, Reason: pendingReason,
			Message: fmt.Sprintf("%s: it is unlocked and tried again", next.Why), Metadata: eventMetadata(obj),
		})
	}
}

// eventMetadata says which release an event is about.
func eventMetadata(obj *helmv2.HelmRelease) map[string]string {
	group, metadata := helmv2.GroupVersion.Group, map[string]string{}
	for key, value := range map[string]string{
		"/revision":   obj.Status.LastAttemptedRevision,
		"/token":      obj.Status.LastAttemptedConfigDigest,
		"/oci-digest": obj.Status.LastAttemptedRevisionDigest,
	} {
		if value != "" {
			metadata[group+key] = value
		}
	}
	if len(obj.Status.History) > 0 && obj.Status.History[0].AppVersion != "" {
		metadata[group+"/app-version"] = obj.Status.History[0].AppVersion
	}
	return metadata
}
