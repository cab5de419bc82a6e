package helm

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	helmrelease "helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// look is what a run has before it: the target, what is to be released there, and
// what there is.
type look struct {
	to   *target
	in   *inputs
	seen state.Seen
	// upto is the resourceVersion that the records are of.
	upto string
	// objects are what a look for drift has found; nil where there was none.
	objects *objects
}

// advance looks at the release and begins the one thing that is to be done next.
// What is known of the storage, if anything is, was read in this run.
func (r *Reconciler) advance(ctx context.Context, obj *helmv2.HelmRelease, at look, known *stored) error {
	at.seen = state.Seen{Now: r.Clock.Now(), RetryByDefault: r.Options.RetryByDefault}
	switch next, by := r.remembered(ctx, obj, at); {
	case by == nil:
	case next.Action == state.None:
		return nil
	default:
		return r.act(ctx, obj, *by, next)
	}
	if known == nil || known.target != at.in.want.Target || known.cluster != at.to.Identity() {
		var err error
		if known, err = read(ctx, at.to, at.in.want.Target); err != nil {
			return err
		}
	}
	at.seen.Records, at.upto = known.records, known.upto
	before := obj.Status.DeepCopy()
	next, err := judge(obj, &at)
	if err != nil {
		return err
	}
	if next.Action == state.CheckDrift {
		if err = r.checkDrift(ctx, obj, &at); err != nil {
			return err
		}
		next = state.Decide(obj, at.seen, at.in.want)
	}
	if next.Action == state.None {
		return r.settled(ctx, obj, at, before)
	}
	return r.act(ctx, obj, at, next)
}

// judge says what is done next, given the records, and brings the status in line
// with them.
func judge(obj *helmv2.HelmRelease, at *look) (next state.Decision, err error) {
	if at.seen.Keeps, err = keeps(obj, at); err != nil {
		return state.Decision{}, err
	}
	succeed(obj, absorb(obj, at.seen.Records, at.in.want.Target), at.in.want)
	state.Begin(obj, at.in.want)
	return state.Decide(obj, at.seen, at.in.want), nil
}

// succeed takes over what an agent before this one has made and did not come to
// note: that it has failed, or that it has what the spec says beside the values, if
// the spec is still that which it was begun by.
func succeed(obj *helmv2.HelmRelease, done *release.Record, want state.Want) {
	switch {
	case !isRelease(obj, done):
	case done.Status == helmrelease.StatusFailed && done.Interrupted == "":
		state.CountFailure(obj, true)
	case done.Status == helmrelease.StatusDeployed && obj.Status.LastAttemptedGeneration == obj.Generation:
		observe(obj, want)
	}
}

// isRelease says whether what was absorbed has come of an install or upgrade.
func isRelease(obj *helmv2.HelmRelease, done *release.Record) bool {
	if done == nil {
		return false
	}
	made := state.Action(obj.Status.History[0].Action)
	return made == state.Install || made == state.Upgrade
}

// keeps says whether spec.upgrade.preserveValues makes the wanted values those
// that the release has.
func keeps(obj *helmv2.HelmRelease, at *look) (bool, error) {
	if !state.PreservesValues(obj) || len(at.seen.Records) == 0 {
		return false, nil
	}
	values, err := at.in.values.values()
	if err != nil {
		return false, err
	}
	same, err := release.Keeps(at.seen.Records[0].Config, values)
	return same, reconcile.Fail(valuesReason, err)
}

// remembered is what is done next by what is remembered of the release, without
// asking the target, and the look that says so. That is nothing, where nothing is to
// be written down either, or an upgrade of the release as it was made here, whose
// action reads the records by itself. A look of nil says that the target is asked.
func (r *Reconciler) remembered(ctx context.Context, obj *helmv2.HelmRelease, at look) (state.Decision, *look) {
	known := r.recall(ctx, obj, at.to, at.in.want.Target)
	if known == nil || obj.Status.Inventory == nil {
		return state.Decision{}, nil
	}
	at.seen.Records, at.upto = known.records, known.upto
	at.seen.Drift = r.recallDrift(ctx, obj, known.objects)
	tried := obj.DeepCopy()
	next, err := judge(tried, &at)
	switch {
	case err != nil:
	case next.Action == state.Upgrade && !next.Forget && !state.PreservesValues(obj) && madeHere(obj):
		obj.Status = tried.Status
		return next, &at
	case next.Action == state.None:
		rest(tried, at.in.want)
		if equality.Semantic.DeepEqual(obj.Status, tried.Status) {
			return next, &at
		}
	}
	return state.Decision{}, nil
}

// madeHere says whether the latest release is of an action of ours, which nobody else
// claimed then. What Flux has made may have the marks of another HelmRelease on it.
func madeHere(obj *helmv2.HelmRelease) bool {
	return len(obj.Status.History) > 0 && obj.Status.History[0].APIVersion == release.SnapshotVersion
}

// act begins the action, or says why there is none. That the decision was made of
// the past of another agent shows when the status is written ahead of the action.
func (r *Reconciler) act(ctx context.Context, obj *helmv2.HelmRelease, at look, next state.Decision) error {
	if err := at.to.take(ctx); err != nil {
		return err
	}
	if next.Action == state.Leave {
		switch others, err := r.anothers(ctx, obj, at.to, next.Release); {
		case err != nil:
			return err
		case others:
			disown(obj)
			return r.advance(ctx, obj, at, nil)
		}
	} else if err := r.free(ctx, obj, at); err != nil {
		return err
	}
	name := client.ObjectKeyFromObject(obj)
	series := r.runs.seriesFor(name, obj.Generation, at.in.want)
	switch next.Action {
	case state.Later:
		return reconcile.Park(failureReason(obj, series, next), lastFailure(obj, series, next.Why), next.After)
	case state.Exhausted:
		return reconcile.Stall(retriesExceededReason, lastFailure(obj, series, next.Why))
	case state.NoTarget:
		return reconcile.Stall(noRollbackTargetReason, lastFailure(obj, series, next.Why))
	}
	if next.Action == state.Unlock && series.err != nil && !next.Failed {
		// The action that has failed just now has made no record: what is under
		// way is somebody else's, and its end wakes the HelmRelease.
		r.remember(ctx, obj, at)
		return reconcile.Park(failureReason(obj, series, next), lastFailure(obj, series, next.Why), timeoutOf(obj, state.Unlock))
	}
	if series.has(next.Action) {
		return r.repeated(obj, at, series, next)
	}
	series.done[next.Action] = true
	if next.Forget {
		obj.Status.History = nil
	}
	r.announceFailure(ctx, obj, series, next)
	return r.start(ctx, obj, at, next)
}

// repeated ends a series of actions that does not lead to the wanted state: the
// next one begins later, and later each time. The controller's own backoff begins
// anew with each action, since the run that begins one has not failed.
func (r *Reconciler) repeated(obj *helmv2.HelmRelease, at look, series *series, next state.Decision) error {
	after := state.RetryAfter(obj, r.Options.RetryByDefault)
	if after == 0 || series.err == nil {
		after = r.runs.backoff(client.ObjectKeyFromObject(obj), obj.Generation, at.in.want)
	}
	return reconcile.Park(failureReason(obj, series, next), lastFailure(obj, series, next.Why), after)
}

// settled notes that the release is as it is wanted.
func (r *Reconciler) settled(ctx context.Context, obj *helmv2.HelmRelease, at look, before *helmv2.HelmReleaseStatus) error {
	rest(obj, at.in.want)
	if obj.Status.Inventory == nil {
		obj.Status.Inventory = r.stock(ctx, obj, at.to, at.seen.Records[0])
	}
	r.remember(ctx, obj, at)
	if unchanged(before, &obj.Status) {
		return nil
	}
	return r.fence(ctx, obj, at.to)
}

// rest brings the status in line with a release that is as it is wanted.
func rest(obj *helmv2.HelmRelease, want state.Want) {
	state.ClearFailures(obj)
	obj.Status.StorageNamespace = want.StorageNamespace
	observe(obj, want)
	restConditions(obj)
}

// observe notes what a release was made of beside its chart and values.
func observe(obj *helmv2.HelmRelease, want state.Want) {
	obj.Status.ObservedPostRenderersDigest = want.PostRenderersDigest
	obj.Status.ObservedCommonMetadataDigest = want.CommonMetadataDigest
}

// unchanged says whether nothing but conditions, which anybody may write whom the
// record of ownership names, differs.
func unchanged(before, after *helmv2.HelmReleaseStatus) bool {
	a, b := before.DeepCopy(), after.DeepCopy()
	a.Conditions, b.Conditions = nil, nil
	same, err := digestOf(a)
	if err != nil {
		return false
	}
	now, err := digestOf(b)
	return err == nil && same == now
}

// absorb brings the history in line with what the storage says of the action that
// it was written ahead of, and returns what that has come to; nil when there is
// nothing new. The records are those of one release, and say nothing of another that
// the action was about.
func absorb(obj *helmv2.HelmRelease, records []release.Record, of release.Target) (done *release.Record) {
	if len(obj.Status.History) == 0 || !release.IsPending(obj.Status.History[0]) {
		return nil
	}
	ahead := obj.Status.History[0]
	about := release.Target{
		Name: ahead.Name, Namespace: ahead.Namespace, StorageNamespace: cmp.Or(obj.Status.StorageNamespace, of.StorageNamespace),
	}
	if about != of {
		return nil
	}
	for _, record := range records {
		if record.Version != ahead.Version || record.Status.IsPending() {
			continue
		}
		if !release.Finishes(ahead, record) {
			return nil
		}
		snapshot := release.SnapshotOf(record, ahead.OCIDigest, ahead.Action)
		obj.Status.History = release.With(obj.Status.History, snapshot, state.Standard(obj))
		rolledBack(obj)
		return &record
	}
	if len(records) == 0 || records[0].Version < ahead.Version {
		// It was never begun.
		obj.Status.History = obj.Status.History[1:]
	}
	return nil
}

// rolledBack notes that nobody knows what a release was made of beside its chart and
// values that was gone back to: what was observed is of the one that was undone, if
// that was released and its tests have failed.
func rolledBack(obj *helmv2.HelmRelease) {
	latest := obj.Status.History[0]
	if latest.Action != string(state.Rollback) || latest.Status != helmrelease.StatusDeployed.String() {
		return
	}
	for _, undone := range obj.Status.History[1:] {
		if undone.Action == string(state.Rollback) {
			continue
		}
		if undone.Status != helmrelease.StatusFailed.String() {
			none := release.Digest(nil)
			obj.Status.ObservedPostRenderersDigest, obj.Status.ObservedCommonMetadataDigest = none, none
		}
		return
	}
}

// lastFailure is what is said where nothing is done: how the last action failed,
// and what follows from it.
func lastFailure(obj *helmv2.HelmRelease, series *series, why string) error {
	if series.err != nil {
		return series.err
	}
	for _, kind := range []string{releasedCondition, testSuccessCondition} {
		if message := falseMessage(obj, kind); message != "" {
			return fmt.Errorf("%s: %s", why, message)
		}
	}
	return errors.New(why)
}

// configAhead is the digest of the values that the action is going to record.
func configAhead(obj *helmv2.HelmRelease, at look, next state.Decision) (string, error) {
	current := release.Current(at.seen.Records)
	if next.Action != state.Upgrade || !state.PreservesValues(obj) || current == nil {
		return at.in.want.ConfigDigest, nil
	}
	values, err := at.in.values.values()
	if err != nil {
		return "", err
	}
	made, err := release.ConfigDigest(release.Reused(current.Config, values))
	return made, reconcile.Fail(valuesReason, err)
}

// ahead is the snapshot of a release that is about to be made of these values.
func ahead(in *inputs, seen state.Seen, next state.Decision, config string) *helmv2.Snapshot {
	version := 1
	if len(seen.Records) > 0 {
		version = seen.Records[0].Version + 1
	}
	snapshot := &helmv2.Snapshot{
		APIVersion: release.SnapshotVersion,
		Name:       in.want.Name, Namespace: in.want.Namespace, Version: version,
		ChartName: in.want.ChartName, ChartVersion: in.want.ChartVersion, AppVersion: in.identity.appVersion,
		ConfigDigest: config, OCIDigest: in.want.OCIDigest,
		FirstDeployed: metav1.NewTime(seen.Now), LastDeployed: metav1.NewTime(seen.Now),
		Action: string(next.Action),
	}
	switch next.Action {
	case state.Install:
		snapshot.Version, snapshot.Status = installVersion(seen), helmrelease.StatusPendingInstall.String()
	case state.Upgrade:
		snapshot.Status = helmrelease.StatusPendingUpgrade.String()
	case state.Rollback:
		snapshot.Status = helmrelease.StatusPendingRollback.String()
		for _, record := range seen.Records {
			if record.Version == next.Version {
				snapshot.ChartName, snapshot.ChartVersion, snapshot.AppVersion = record.ChartName, record.ChartVersion, record.AppVersion
				snapshot.ConfigDigest, snapshot.OCIDigest = record.ConfigDigest, ""
			}
		}
	}
	snapshot.Digest = release.Digest([]byte(fmt.Sprintf("%s.v%d %s", in.want.Target, snapshot.Version, snapshot.ConfigDigest)))
	return snapshot
}

// installVersion is the revision of a release that is installed: the first, or
// the one after records of one that was uninstalled.
func installVersion(seen state.Seen) int {
	if len(seen.Records) == 0 {
		return 1
	}
	return seen.Records[0].Version + 1
}

// failureReason is the reason of the last failure or, where nothing has failed, what
// leads to the next action once more.
func failureReason(obj *helmv2.HelmRelease, series *series, next state.Decision) string {
	if reason, ok := reconcile.ReasonOf(series.err); ok {
		return reason
	}
	if next.Action == state.CorrectDrift {
		return driftDetectedReason
	}
	for _, kind := range []string{remediatedCondition, testSuccessCondition, releasedCondition} {
		if apimeta.IsStatusConditionFalse(obj.Status.Conditions, kind) {
			return conditionReason(obj, kind)
		}
	}
	return meta.FailedReason
}
