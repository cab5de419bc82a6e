package release

import (
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

const (
	// SnapshotVersion says how the digests of snapshots are made here.
	SnapshotVersion = "headwater/v2"
	// maxSnapshots is how many the status has.
	maxSnapshots = 5
)

// SnapshotOf is the record as the status shows it.
func SnapshotOf(record Record, ociDigest, action string) *helmv2.Snapshot {
	snapshot := &helmv2.Snapshot{
		APIVersion: SnapshotVersion,
		Digest:     record.Digest,
		Name:       record.Name, Namespace: record.Namespace, Version: record.Version,
		Status:    record.Status.String(),
		ChartName: record.ChartName, ChartVersion: record.ChartVersion, AppVersion: record.AppVersion,
		ConfigDigest:  record.ConfigDigest,
		FirstDeployed: metav1.NewTime(record.FirstDeployed),
		LastDeployed:  metav1.NewTime(record.LastDeployed),
		Deleted:       metav1.NewTime(record.Deleted),
		OCIDigest:     ociDigest,
		Action:        action,
	}
	setTests(snapshot, record)
	return snapshot
}

// NoteTests puts into the snapshot how a run of the release's tests has gone. Helm
// does not say which of them it could not begin: where the run has failed and none
// of those that ran, all that were asked for and have not passed count as failed.
// Where nothing ran, or all have passed and something else failed, the release
// stays untested.
func NoteTests(snapshot *helmv2.Snapshot, record Record, failed bool, asked func(test string) bool) {
	setTests(snapshot, record)
	switch {
	case !failed && snapshot.TestHooks == nil:
		snapshot.TestHooks = &map[string]*helmv2.TestHookStatus{}
	case !failed || snapshot.TestHooks == nil || TestsFailed(snapshot):
	default:
		for name, test := range *snapshot.TestHooks {
			if asked(name) && test.Phase != helmrelease.HookPhaseSucceeded.String() {
				test.Phase = helmrelease.HookPhaseFailed.String()
			}
		}
		if !TestsFailed(snapshot) {
			snapshot.TestHooks = nil
		}
	}
}

// setTests puts into the snapshot how the tests of the record have gone, if any
// was run.
func setTests(snapshot *helmv2.Snapshot, record Record) {
	tests := map[string]*helmv2.TestHookStatus{}
	ran := false
	for _, test := range record.Tests {
		ran = ran || !test.Started.IsZero()
		tests[test.Name] = &helmv2.TestHookStatus{
			LastStarted: metav1.NewTime(test.Started), LastCompleted: metav1.NewTime(test.Completed), Phase: test.Phase.String(),
		}
	}
	if ran {
		snapshot.TestHooks = &tests
	}
}

// Matches says whether the record is the one that the snapshot was made of.
func Matches(snapshot *helmv2.Snapshot, record Record) bool {
	if snapshot.APIVersion == SnapshotVersion {
		return snapshot.Digest == record.Digest
	}
	return snapshot.Name == record.Name && snapshot.Namespace == record.Namespace && snapshot.Version == record.Version &&
		snapshot.Status == record.Status.String() &&
		snapshot.ChartName == record.ChartName && snapshot.ChartVersion == record.ChartVersion &&
		snapshot.ConfigDigest == record.ConfigDigest &&
		sameSecond(snapshot.FirstDeployed.Time, record.FirstDeployed) && sameSecond(snapshot.LastDeployed.Time, record.LastDeployed)
}

// sameSecond compares times as a status stores them.
func sameSecond(a, b time.Time) bool { return a.Unix() == b.Unix() }

// Finishes says whether the record is what the action that the snapshot was
// written ahead of has come to.
func Finishes(snapshot *helmv2.Snapshot, record Record) bool {
	return IsPending(snapshot) && snapshot.Name == record.Name && snapshot.Namespace == record.Namespace &&
		snapshot.Version == record.Version && snapshot.ChartName == record.ChartName &&
		snapshot.ChartVersion == record.ChartVersion && snapshot.ConfigDigest == record.ConfigDigest
}

// IsPending says whether the snapshot was written ahead of an action.
func IsPending(snapshot *helmv2.Snapshot) bool {
	return snapshot != nil && helmrelease.Status(snapshot.Status).IsPending()
}

// Standard is what the tests of a release have to say for it to be gone back to.
type Standard int

const (
	// NoTestFailed also takes releases that were not tested.
	NoTestFailed Standard = iota
	// AnyTests takes all of them.
	AnyTests
	// TestsPassed takes a release that was not tested only where there is no other.
	TestsPassed
)

// With puts a snapshot at the head of the history, in place of one of the same
// revision. Those after the last one to go back to fall off, and the oldest of too
// many.
func With(history helmv2.Snapshots, snapshot *helmv2.Snapshot, by Standard) helmv2.Snapshots {
	kept := helmv2.Snapshots{snapshot}
	for _, old := range history {
		if old.Version >= snapshot.Version || old.Name != snapshot.Name || old.Namespace != snapshot.Namespace {
			continue
		}
		if IsPending(old) {
			continue
		}
		superseded := old.DeepCopy()
		if superseded.Status == helmrelease.StatusDeployed.String() && snapshot.Status == helmrelease.StatusDeployed.String() {
			superseded.Status = helmrelease.StatusSuperseded.String()
		}
		usable := good(superseded, by)
		if usable && meets(superseded, by) {
			return append(kept[:min(len(kept), maxSnapshots-1)], superseded)
		}
		// The last place is for one to go back to, however many have failed since.
		if len(kept) < maxSnapshots-1 || usable && len(kept) < maxSnapshots {
			kept = append(kept, superseded)
		}
	}
	return kept
}

// Previous is the newest snapshot before the latest to go back to; nil when there is
// none. Where tests have to have passed, one that was not tested is taken if no
// tested one is left, as Flux takes it in any case: tests may have been switched on
// with the very upgrade that has failed.
func Previous(history helmv2.Snapshots, by Standard) *helmv2.Snapshot {
	if len(history) == 0 {
		return nil
	}
	var second *helmv2.Snapshot
	for _, old := range history[1:] {
		switch {
		case !good(old, by):
		case meets(old, by):
			return old
		case second == nil:
			second = old
		}
	}
	return second
}

// good says whether the release of a snapshot may be gone back to.
func good(snapshot *helmv2.Snapshot, by Standard) bool {
	status := helmrelease.Status(snapshot.Status)
	if status != helmrelease.StatusDeployed && status != helmrelease.StatusSuperseded {
		return false
	}
	return by == AnyTests || !TestsFailed(snapshot)
}

// meets says of a good one whether no other has to be looked for.
func meets(snapshot *helmv2.Snapshot, by Standard) bool { return by != TestsPassed || Tested(snapshot) }

// Tested says whether tests were run on the release of the snapshot.
func Tested(snapshot *helmv2.Snapshot) bool { return snapshot.TestHooks != nil }

// TestsFailed says whether one of them failed.
func TestsFailed(snapshot *helmv2.Snapshot) bool {
	if snapshot.TestHooks == nil {
		return false
	}
	for _, test := range *snapshot.TestHooks {
		if test.Phase == helmrelease.HookPhaseFailed.String() {
			return true
		}
	}
	return false
}
