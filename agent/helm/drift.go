package helm

import (
	"context"
	"fmt"
	"strings"

	"github.com/headwater-dev/headwater/agent/helm/action"
	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// listed is how many objects a message names.
const listed = 20

// checkDrift looks whether the objects are as they were released, and says so in
// the condition Drifted and, when that is news, in an event.
func (r *Reconciler) checkDrift(ctx context.Context, obj *helmv2.HelmRelease, at *look) error {
	record := at.seen.Records[0]
	ctx, cancel := context.WithTimeout(ctx, obj.Timeout())
	defer cancel()
	differences, looked, err := action.Differences(ctx, at.to.Client, at.to.Mapper, obj, record)
	if err != nil {
		return reconcile.Fail(stateReason, fmt.Errorf("drift detection: %w", err))
	}
	if at.seen.Drift = state.DriftNone; len(differences) > 0 {
		at.seen.Drift = state.DriftFound
	}
	at.objects = r.objectsOf(obj, at, looked)
	if len(differences) == 0 {
		setCondition(obj, driftedCondition, false, noDriftReason, "objects are as they were released")
		return nil
	}
	message := driftMessage(record, differences)
	if conditionMessage(obj, driftedCondition) != message {
		r.Events.Publish(ctx, obj, reconcile.Event{
			Severity: reconcile.SeverityError, Reason: driftDetectedReason, Message: message, Metadata: eventMetadata(obj),
		})
	}
	setCondition(obj, driftedCondition, true, driftDetectedReason, message)
	return nil
}

func driftMessage(record release.Record, differences []action.Difference) string {
	lines := make([]string, 0, len(differences))
	for i, difference := range differences {
		if i == listed {
			lines = append(lines, fmt.Sprintf("... and %d more", len(differences)-listed))
			break
		}
		lines = append(lines, difference.String())
	}
	return fmt.Sprintf("Cluster state of release %s.v%d has drifted from the desired state:\n%s",
		record.Target, record.Version, strings.Join(lines, "\n"))
}

// noteCorrection says what came of putting objects back.
func (r *Reconciler) noteCorrection(obj *helmv2.HelmRelease, of *run, records []release.Record) {
	if of.ended.err != nil {
		setCondition(obj, driftedCondition, true, driftDetectedReason, messageOf(of, records))
		return
	}
	setCondition(obj, driftedCondition, false, noDriftReason, "Cluster state of release "+of.target.String()+" has been corrected")
}
