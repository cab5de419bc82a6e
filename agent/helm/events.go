package helm

import (
	"context"
	"fmt"
	"strings"

	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// announceEnd tells, once, what came of an action where the condition Ready is not
// going to say so: because another one follows, or nothing depends on it.
func (r *Reconciler) announceEnd(ctx context.Context, obj *helmv2.HelmRelease, of *run, records []release.Record) {
	failed := of.ended.err != nil
	event := reconcile.Event{Severity: reconcile.SeverityInfo, Reason: reasonOf(of), Message: messageOf(of, records), Metadata: eventMetadata(obj)}
	switch of.action {
	case state.Install, state.Upgrade:
		if failed || !state.Tests(obj) {
			return
		}
	case state.Test:
		if !failed || !state.IgnoresTests(obj) {
			return
		}
		event.Severity, event.Message = reconcile.SeverityError, event.Message+reconcile.DetailOf(failure(of, records))
	case state.Rollback, state.Remove, state.Leave:
		if failed {
			return
		}
	case state.CorrectDrift:
		if failed {
			return
		}
		event.Reason, event.Message = driftCorrectedReason, conditionMessage(obj, driftedCondition)
	default:
		return
	}
	if !of.told {
		of.told = true
		r.Events.Publish(ctx, obj, event)
	}
}

// lastLines are what Helm has said last, for the event of an action that failed.
func lastLines(log []string) string {
	if len(log) == 0 {
		return ""
	}
	return "Last Helm logs:\n\n" + strings.Join(log, "\n")
}

// announceFailure tells, once, of an action that failed when another one follows:
// the condition Ready never says so.
func (r *Reconciler) announceFailure(ctx context.Context, obj *helmv2.HelmRelease, series *series, next state.Decision) {
	switch {
	case series.err != nil && !series.told:
		series.told = true
		r.Events.Publish(ctx, obj, reconcile.Event{
			Severity: reconcile.SeverityError, Reason: failureReason(obj, series, next), Message: series.err.Error() + reconcile.DetailOf(series.err), Metadata: eventMetadata(obj),
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
