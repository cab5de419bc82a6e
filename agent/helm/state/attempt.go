package state

import (
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
)

// Begin notes in the status what is attempted. Where that is something new, or
// somebody asks for it, the failures are forgotten.
func Begin(obj *helmv2.HelmRelease, want Want) {
	status := &obj.Status
	anew := status.LastAttemptedGeneration != obj.Generation ||
		status.LastAttemptedRevision != want.ChartVersion ||
		status.LastAttemptedRevisionDigest != want.OCIDigest ||
		status.LastAttemptedConfigDigest != want.ConfigDigest
	if Reset(obj) {
		anew, status.LastHandledResetAt = true, obj.Annotations[meta.ResetRequestAnnotation]
	}
	if anew {
		ClearFailures(obj)
	}
	status.LastAttemptedGeneration = obj.Generation
	status.LastAttemptedRevision = want.ChartVersion
	status.LastAttemptedRevisionDigest = want.OCIDigest
	status.LastAttemptedConfigDigest = want.ConfigDigest
}

// CountFailure counts a failure of what was attempted last. Only one that has made a
// record is of those that spec.*.remediation.retries allows: without, there is
// nothing to undo, and it is tried until it succeeds, as Flux does.
func CountFailure(obj *helmv2.HelmRelease, made bool) {
	obj.Status.Failures++
	if !made {
		return
	}
	if obj.Status.LastAttemptedReleaseAction == helmv2.ReleaseActionInstall {
		obj.Status.InstallFailures++
		return
	}
	obj.Status.UpgradeFailures++
}

// ClearFailures forgets all failures.
func ClearFailures(obj *helmv2.HelmRelease) {
	obj.Status.Failures, obj.Status.InstallFailures, obj.Status.UpgradeFailures = 0, 0, 0
}
