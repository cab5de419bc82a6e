package state

import (
	"cmp"
	"fmt"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"

	"github.com/headwater-dev/headwater/agent/helm/release"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// Action is what is done next.
type Action string

// The actions. None means that all is as it is wanted.
const (
	None    Action = ""
	Install Action = "install"
	Upgrade Action = "upgrade"
	Unlock  Action = "unlock"
	Test    Action = "test"
	// Rollback and Remove undo what failed.
	Rollback Action = "rollback"
	Remove   Action = "remove"
	// Leave removes a release that the spec does not mean any more.
	Leave Action = "leave"
	// CheckDrift looks for differences, and CorrectDrift takes them away.
	CheckDrift   Action = "check drift"
	CorrectDrift Action = "correct drift"
	// Later does nothing until After has passed.
	Later Action = "later"
	// Exhausted and NoTarget need a person: it was tried as often as allowed,
	// or there is no release to go back to.
	Exhausted Action = "exhausted"
	NoTarget  Action = "no target"
)

// Want is the release that is wanted.
type Want struct {
	release.Target
	ChartName, ChartVersion string
	// OCIDigest of the artifact that the chart came in; empty for others.
	OCIDigest string
	// Digests of the values, and of the parts of the spec that change what is
	// rendered.
	ConfigDigest, PostRenderersDigest, CommonMetadataDigest string
}

// Drift is what is known of differences between the release and the cluster.
type Drift int

// Values of Drift.
const (
	DriftUnknown Drift = iota
	DriftNone
	DriftFound
)

// Seen is what was looked up.
type Seen struct {
	// Records of the release, the newest first.
	Records []release.Record
	Drift   Drift
	Now     time.Time
	// RetryByDefault makes RetryOnFailure the strategy where the spec names none.
	RetryByDefault bool
	// Keeps says that the newest release has the wanted values already, beside
	// others that spec.upgrade.preserveValues has it keep.
	Keeps bool
}

func (s Seen) last() *release.Record {
	if len(s.Records) == 0 {
		return nil
	}
	return &s.Records[0]
}

// Decision is one action and why.
type Decision struct {
	Action Action
	Why    string
	// Version of the release that is unlocked or rolled back to.
	Version int
	// Failed says of what is unlocked that its action has failed, and was not
	// interrupted.
	Failed bool
	// Release that is left.
	Release release.Target
	// After is how long to wait.
	After time.Duration
	// Forget drops the history: it is of a release that somebody else has made
	// otherwise.
	Forget bool
}

// Decide says what is done next.
func Decide(obj *helmv2.HelmRelease, seen Seen, want Want) Decision {
	if old, why, left := leaves(obj, want); left {
		return Decision{Action: Leave, Why: why, Release: old}
	}
	last := seen.last()
	switch {
	case last == nil || last.Status == helmrelease.StatusUninstalled:
		return absent(obj, seen)
	case last.Status.IsPending():
		return unlock(obj, *last)
	case last.Status == helmrelease.StatusUninstalling:
		return Decision{Action: Remove, Why: "an uninstall was interrupted"}
	}
	latest := latestOf(obj)
	if last.Status != helmrelease.StatusFailed && (latest == nil || !release.Matches(latest, *last)) {
		return Decision{Action: Upgrade, Why: "release is not as it was left here", Forget: true}
	}
	switch {
	case Forced(obj):
		return Decision{Action: Upgrade, Why: "it was asked for"}
	case last.Status == helmrelease.StatusFailed:
		return failed(obj, seen, "release has failed")
	}
	return deployed(obj, seen, want, latest)
}

// unlock decides about a release that is left pending. That its action has failed,
// and was not left in the middle, is in the history where it is so.
func unlock(obj *helmv2.HelmRelease, last release.Record) Decision {
	latest := latestOf(obj)
	return Decision{
		Action: Unlock, Version: last.Version, Why: fmt.Sprintf("release is left in the state '%s'", last.Status),
		Failed: latest != nil && latest.Version == last.Version && latest.Status == helmrelease.StatusFailed.String(),
	}
}

func latestOf(obj *helmv2.HelmRelease) *helmv2.Snapshot {
	if len(obj.Status.History) == 0 {
		return nil
	}
	return obj.Status.History[0]
}

// leaves says whether there is a release that the spec does not mean any more.
func leaves(obj *helmv2.HelmRelease, want Want) (old release.Target, why string, left bool) {
	latest := latestOf(obj)
	if latest == nil || latest.Status == helmrelease.StatusUninstalled.String() {
		return release.Target{}, "", false
	}
	old = release.Target{
		Name: latest.Name, Namespace: latest.Namespace,
		StorageNamespace: cmp.Or(obj.Status.StorageNamespace, want.StorageNamespace),
	}
	switch {
	case old.StorageNamespace != want.StorageNamespace:
		return old, "the storage namespace has changed", true
	case old.Namespace != want.Namespace:
		return old, "the target namespace has changed", true
	case old.Name != want.Name:
		return old, "the name of the release has changed", true
	case latest.ChartName != want.ChartName && !updatesInPlace(obj):
		return old, "the name of the chart has changed", true
	}
	return release.Target{}, "", false
}

func updatesInPlace(obj *helmv2.HelmRelease) bool {
	return obj.Spec.Upgrade != nil && obj.Spec.Upgrade.ChartNameChangeStrategy == helmv2.ChartNameChangeStrategyInPlaceUpdate
}

// absent decides about a release that is not there.
func absent(obj *helmv2.HelmRelease, seen Seen) Decision {
	r := installRemedy(obj, seen.RetryByDefault)
	if !Forced(obj) && r.exhausted() {
		return exhausted(r)
	}
	return Decision{Action: Install, Why: "there is no release"}
}

func exhausted(r remedy) Decision {
	return Decision{Action: Exhausted, Why: fmt.Sprintf("failed after %d attempt(s), and spec allows no more", r.failures)}
}

// failed decides about a release that failed, or whose tests did.
func failed(obj *helmv2.HelmRelease, seen Seen, why string) Decision {
	r := activeRemedy(obj, seen.RetryByDefault)
	last := seen.last()
	interrupted := last.Interrupted != "" && last.Interrupted != helmrelease.StatusPendingRollback
	switch {
	case interrupted:
		return Decision{Action: Upgrade, Why: "the last action was interrupted"}
	case r.failures <= 0:
		return Decision{Action: Upgrade, Why: why + ", and what is wanted has changed"}
	case r.retry > 0:
		if left := last.LastDeployed.Add(r.retry).Sub(seen.Now); left > 0 {
			return Decision{Action: Later, Why: why, After: left}
		}
		return Decision{Action: Upgrade, Why: why}
	case !r.configured:
		// What an upgrade's remediation has removed may have failed as an install.
		if next := upgradeRemedy(obj, seen.RetryByDefault); next.exhausted() {
			return exhausted(next)
		}
		return Decision{Action: Upgrade, Why: why}
	case r.exhausted() && !r.last:
		return exhausted(r)
	case r.uninstall:
		return Decision{Action: Remove, Why: why}
	}
	return rollback(obj, seen, r, why)
}

// rollback goes back to the last release that went well and is still as it was.
func rollback(obj *helmv2.HelmRelease, seen Seen, r remedy, why string) Decision {
	previous := release.Previous(obj.Status.History, standard(obj, r))
	if previous != nil {
		for _, record := range seen.Records {
			if record.Version == previous.Version && record.ConfigDigest == previous.ConfigDigest &&
				record.ChartName == previous.ChartName && record.ChartVersion == previous.ChartVersion {
				return Decision{Action: Rollback, Version: previous.Version, Why: why}
			}
		}
	}
	return Decision{Action: NoTarget, Why: why + ", and there is no earlier release that went well to go back to"}
}

// deployed decides about a release that is as it was left.
func deployed(obj *helmv2.HelmRelease, seen Seen, want Want, latest *helmv2.Snapshot) Decision {
	if why := differs(obj, latest, want, seen.Keeps); why != "" {
		if r := upgradeRemedy(obj, seen.RetryByDefault); r.exhausted() {
			return exhausted(r)
		}
		return Decision{Action: Upgrade, Why: why}
	}
	if Tests(obj) {
		switch {
		case !release.Tested(latest):
			return Decision{Action: Test, Why: "release has not been tested"}
		case release.TestsFailed(latest) && !IgnoresTests(obj):
			return failed(obj, seen, "tests of the release have failed")
		}
	}
	return drifted(obj, seen)
}

// differs says what of the release is not as wanted.
func differs(obj *helmv2.HelmRelease, latest *helmv2.Snapshot, want Want, keeps bool) string {
	switch {
	case latest.ChartName != want.ChartName:
		return fmt.Sprintf("chart has changed from %s to %s", latest.ChartName, want.ChartName)
	case latest.ChartVersion != want.ChartVersion:
		return fmt.Sprintf("version of the chart has changed from %s to %s", latest.ChartVersion, want.ChartVersion)
	case latest.ConfigDigest != want.ConfigDigest && !keeps:
		return "values have changed"
	case obj.Status.ObservedPostRenderersDigest != want.PostRenderersDigest:
		return "spec.postRenderers has changed"
	case obj.Status.ObservedCommonMetadataDigest != want.CommonMetadataDigest:
		return "spec.commonMetadata has changed"
	}
	return ""
}

// drifted decides about objects that may differ from the release.
func drifted(obj *helmv2.HelmRelease, seen Seen) Decision {
	switch {
	case !ChecksDrift(obj):
		return Decision{}
	case seen.Drift == DriftUnknown:
		return Decision{Action: CheckDrift, Why: "spec.driftDetection asks for it"}
	case seen.Drift == DriftFound && obj.Spec.DriftDetection.Mode == helmv2.DriftDetectionEnabled:
		return Decision{Action: CorrectDrift, Why: "objects differ from the release"}
	}
	return Decision{}
}
