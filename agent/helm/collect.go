package helm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	helmrelease "helm.sh/helm/v3/pkg/release"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/action"
	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// stored is what Helm's storage has of a release.
type stored struct {
	target  release.Target
	cluster string
	// records are the newest first, all up to the resourceVersion.
	records []release.Record
	upto    string
}

// collect puts into the status what came of an action that has ended, and returns
// what it has found in the storage. The action is forgotten when the status is
// written.
func (r *Reconciler) collect(ctx context.Context, obj *helmv2.HelmRelease) (*stored, error) {
	name := client.ObjectKeyFromObject(obj)
	of, under := r.runs.current(name)
	if of == nil || under {
		return nil, nil
	}
	if of.uid != obj.UID {
		r.runs.drop(name)
		return nil, nil
	}
	to, err := r.open(ctx, obj)
	if err != nil {
		return nil, err
	}
	defer to.release()
	if err := r.fence(ctx, obj, to); err != nil {
		return nil, err
	}
	found, err := read(ctx, to, of.target)
	if err != nil {
		return nil, err
	}
	records := found.records
	interrupted := left(of)
	r.note(obj, of, records, interrupted)
	if of.ended.err == nil && takesStock(of.action) && len(records) > 0 {
		obj.Status.Inventory = r.stock(ctx, obj, to, records[0])
	}
	if series := r.seriesOf(name); series != nil && !interrupted {
		series.ended(of, failure(of, records))
	}
	if !interrupted {
		r.announceEnd(ctx, obj, of, records)
	} else {
		// What was begun is begun again.
		r.runs.rest(name)
	}
	r.runs.note(of, obj)
	return found, nil
}

// read asks the target what the storage has.
func read(ctx context.Context, to *target, of release.Target) (*stored, error) {
	records, upto, err := action.Records(ctx, to.Client, of)
	if err != nil {
		return nil, reconcile.Fail(stateReason, err)
	}
	return &stored{target: of, cluster: to.Identity(), records: records, upto: upto}, nil
}

func (r *Reconciler) seriesOf(name types.NamespacedName) *series {
	r.runs.mu.Lock()
	defer r.runs.mu.Unlock()
	return r.runs.series[name]
}

func takesStock(of state.Action) bool {
	return of == state.Install || of == state.Upgrade || of == state.Rollback
}

// left says whether the action was left in the middle, and has not failed. Its
// record says nothing of that: Helm leaves some of those that fail pending.
func left(of *run) bool {
	return errors.Is(of.ended.err, action.ErrInterrupted) || lost(of.ended.err)
}

// note brings history, counters and conditions in line with what came of the
// action.
func (r *Reconciler) note(obj *helmv2.HelmRelease, of *run, records []release.Record, interrupted bool) {
	done := absorb(obj, records, of.target)
	if of.ended.begun == 0 {
		unbegun(obj, of)
	}
	if interrupted {
		if isRelease(obj, done) && done.Status == helmrelease.StatusDeployed {
			observe(obj, of.ended.want)
		}
		return
	}
	obj.Status.LastAttemptedReleaseActionDuration = durationOf(of)
	failed := of.ended.err != nil
	switch of.action {
	case state.Install, state.Upgrade:
		noteRelease(obj, of, records)
	case state.Test:
		r.noteTests(obj, of, records)
	case state.Rollback, state.Remove:
		setCondition(obj, remediatedCondition, !failed, reasonOf(of), messageOf(of, records))
		if of.action == state.Remove {
			uninstalled(obj, of, records)
		} else if failed {
			failPending(obj, of, records)
		}
	case state.Leave:
		if !failed {
			disown(obj)
		}
		setCondition(obj, releasedCondition, false, reasonOf(of), messageOf(of, records))
	case state.CorrectDrift:
		r.noteCorrection(obj, of, records)
	}
}

// disown forgets a release that the spec does not mean any more.
func disown(obj *helmv2.HelmRelease) {
	obj.Status.History, obj.Status.StorageNamespace, obj.Status.Inventory = nil, "", nil
	state.ClearFailures(obj)
}

// noteRelease says what came of an install or upgrade.
func noteRelease(obj *helmv2.HelmRelease, of *run, records []release.Record) {
	if of.ended.err != nil {
		state.CountFailure(obj, wrote(of, records))
		failPending(obj, of, records)
	}
	if unready(of) {
		return
	}
	setCondition(obj, releasedCondition, of.ended.err == nil, reasonOf(of), messageOf(of, records))
	apimeta.RemoveStatusCondition(&obj.Status.Conditions, testSuccessCondition)
	if of.ended.err != nil {
		return
	}
	apimeta.RemoveStatusCondition(&obj.Status.Conditions, remediatedCondition)
	apimeta.RemoveStatusCondition(&obj.Status.Conditions, driftedCondition)
	observe(obj, of.ended.want)
}

// unready says whether nothing was done for want of the chart: that error says by
// itself what the HelmRelease waits for.
func unready(of *run) bool {
	_, says := reconcile.ReasonOf(of.ended.err)
	return says
}

// wrote says whether the storage has the record that the action has made.
func wrote(of *run, records []release.Record) bool {
	return slices.ContainsFunc(records, func(record release.Record) bool { return record.Version == of.ended.begun })
}

// unbegun takes out of the history what was written ahead of an action that has
// made no record: what the storage has of that revision is somebody else's.
func unbegun(obj *helmv2.HelmRelease, of *run) {
	switch of.action {
	case state.Install, state.Upgrade, state.Rollback:
		if len(obj.Status.History) > 0 && release.IsPending(obj.Status.History[0]) {
			obj.Status.History = obj.Status.History[1:]
		}
	}
}

// failPending has the history say that an action has failed whose record says that
// it is under way: Helm leaves it so when the hook of a rollback fails, and when
// the server takes no more of it. Without that it would be taken for interrupted.
func failPending(obj *helmv2.HelmRelease, of *run, records []release.Record) {
	if len(obj.Status.History) == 0 || len(records) == 0 {
		return
	}
	ahead := obj.Status.History[0]
	if release.IsPending(ahead) && ahead.Version == of.ended.begun && ahead.Version == records[0].Version && records[0].Status.IsPending() {
		ahead.Status = helmrelease.StatusFailed.String()
	}
}

// noteTests puts how tests have gone into the snapshot of the release.
func (r *Reconciler) noteTests(obj *helmv2.HelmRelease, of *run, records []release.Record) {
	failed := of.ended.err != nil
	setCondition(obj, testSuccessCondition, !failed, reasonOf(of), messageOf(of, records))
	tested := false
	if len(records) > 0 && len(obj.Status.History) > 0 && obj.Status.History[0].Version == records[0].Version {
		snapshot := obj.Status.History[0]
		release.NoteTests(snapshot, records[0], failed, func(test string) bool { return state.RunsTest(obj, test) })
		tested = release.Tested(snapshot)
	}
	if failed && !state.IgnoresTests(obj) {
		state.CountFailure(obj, tested)
	}
}

// uninstalled notes that the release is gone, or is kept as a record alone.
func uninstalled(obj *helmv2.HelmRelease, of *run, records []release.Record) {
	if len(obj.Status.History) == 0 {
		return
	}
	latest := obj.Status.History[0]
	switch {
	case len(records) == 0:
		latest.Status = helmrelease.StatusUninstalled.String()
		latest.Deleted = metav1.Now()
	case of.ended.err == nil:
		tests := latest.TestHooks
		latest = release.SnapshotOf(records[0], latest.OCIDigest, latest.Action)
		latest.TestHooks = tests
		obj.Status.History[0] = latest
	}
	if of.ended.err == nil {
		obj.Status.Inventory = nil
	}
}

// failure is what an action that failed makes the HelmRelease say; nil for one that
// has not failed.
func failure(of *run, records []release.Record) error {
	if of.ended.err == nil || unready(of) {
		return of.ended.err
	}
	return reconcile.Fail(reasonOf(of), reconcile.WithDetail(errors.New(messageOf(of, records)), lastLines(of.ended.log)))
}

// messageOf says what came of the action, in Flux's words.
func messageOf(of *run, records []release.Record) string {
	title, what := of.target.String(), verb(of.action)
	switch of.action {
	case state.Rollback, state.Remove:
		what += " remediation"
	}
	if of.ended.err != nil {
		return fmt.Sprintf("Helm %s failed for release %s with chart %s: %s", what, title, of.ended.chart, reconcile.Redact(of.ended.err.Error()))
	}
	if len(records) == 0 {
		return fmt.Sprintf("Helm %s succeeded for release %s with chart %s", what, title, of.ended.chart)
	}
	newest := records[0]
	return fmt.Sprintf("Helm %s succeeded for release %s.v%d with chart %s@%s", what, title, newest.Version, newest.ChartName, newest.ChartVersion)
}

// chartTitle is the chart for people.
func chartTitle(want state.Want) string { return want.ChartName + "@" + want.ChartVersion }

// reasonOf is the reason of the condition that an action sets.
func reasonOf(of *run) string {
	reasons := map[state.Action][2]string{
		state.Install:      {installSucceededReason, installFailedReason},
		state.Upgrade:      {upgradeSucceededReason, upgradeFailedReason},
		state.Test:         {testSucceededReason, testFailedReason},
		state.Rollback:     {rollbackSucceededReason, rollbackFailedReason},
		state.Remove:       {uninstallSucceededReason, uninstallFailedReason},
		state.Leave:        {uninstallSucceededReason, uninstallFailedReason},
		state.Unlock:       {pendingReason, stateReason},
		state.CorrectDrift: {noDriftReason, driftDetectedReason},
	}
	if of.ended.err != nil {
		return reasons[of.action][1]
	}
	return reasons[of.action][0]
}

func durationOf(of *run) *metav1.Duration { return &metav1.Duration{Duration: of.ended.took} }
