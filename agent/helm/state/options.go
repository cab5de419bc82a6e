package state

import (
	"time"

	"k8s.io/utils/ptr"

	"github.com/headwater-dev/headwater/agent/helm/release"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
)

// defaultRetry is the time between two attempts by the strategy RetryOnFailure.
const defaultRetry = 5 * time.Minute

// remedy is what the spec says of failures of one action.
type remedy struct {
	// configured says whether there is a remediation at all.
	configured bool
	// retry is the time until the action is tried again with nothing undone;
	// zero where failures are remediated.
	retry time.Duration
	// retries is how often a failure is undone; negative means for ever.
	retries int
	// last undoes the last failure as well.
	last bool
	// uninstall undoes by removing the release, and not by rolling it back.
	uninstall bool
	// failures so far.
	failures int64
	// ignoreTests does not take failed tests for failures.
	ignoreTests bool
}

// exhausted says whether nothing may be tried any more.
func (r remedy) exhausted() bool {
	return r.configured && r.retry == 0 && r.retries >= 0 && r.failures > int64(r.retries)
}

// installRemedy is for a failed install.
func installRemedy(obj *helmv2.HelmRelease, defaultRetries bool) remedy {
	r := remedy{uninstall: true, failures: obj.Status.InstallFailures, ignoreTests: ignoresTests(obj)}
	spec := obj.Spec.Install
	if spec != nil && spec.Remediation != nil {
		r.configured = true
		r.retries = spec.Remediation.Retries
		r.last = ptr.Deref(spec.Remediation.RemediateLastFailure, false)
		r.ignoreTests = ptr.Deref(spec.Remediation.IgnoreTestFailures, r.ignoreTests)
	}
	switch {
	case spec != nil && spec.Strategy != nil:
		if spec.Strategy.Name == helmv2.ActionStrategyRetryOnFailure {
			r.retry = defaultRetry
			if spec.Strategy.RetryInterval != nil {
				r.retry = spec.Strategy.RetryInterval.Duration
			}
		}
	case defaultRetries:
		r.retry = defaultRetry
	}
	return r
}

// upgradeRemedy is for a failed upgrade.
func upgradeRemedy(obj *helmv2.HelmRelease, defaultRetries bool) remedy {
	r := remedy{failures: obj.Status.UpgradeFailures, ignoreTests: ignoresTests(obj)}
	spec := obj.Spec.Upgrade
	if spec != nil && spec.Remediation != nil {
		r.configured = true
		r.retries = spec.Remediation.Retries
		r.last = ptr.Deref(spec.Remediation.RemediateLastFailure, r.retries > 0)
		r.ignoreTests = ptr.Deref(spec.Remediation.IgnoreTestFailures, r.ignoreTests)
		r.uninstall = ptr.Deref(spec.Remediation.Strategy, helmv2.RollbackRemediationStrategy) == helmv2.UninstallRemediationStrategy
	}
	switch {
	case spec != nil && spec.Strategy != nil:
		if spec.Strategy.Name == helmv2.ActionStrategyRetryOnFailure {
			r.retry = defaultRetry
			if spec.Strategy.RetryInterval != nil {
				r.retry = spec.Strategy.RetryInterval.Duration
			}
		}
	case defaultRetries:
		r.retry = defaultRetry
	}
	return r
}

// activeRemedy is that of the action that was attempted last.
func activeRemedy(obj *helmv2.HelmRelease, defaultRetries bool) remedy {
	if obj.Status.LastAttemptedReleaseAction == helmv2.ReleaseActionInstall {
		return installRemedy(obj, defaultRetries)
	}
	return upgradeRemedy(obj, defaultRetries)
}

// IgnoresTests says whether failed tests are no failure of what was attempted
// last.
func IgnoresTests(obj *helmv2.HelmRelease) bool { return activeRemedy(obj, false).ignoreTests }

// Standard is what releases are measured by that may be gone back to.
func Standard(obj *helmv2.HelmRelease) release.Standard {
	return standard(obj, activeRemedy(obj, false))
}

func standard(obj *helmv2.HelmRelease, r remedy) release.Standard {
	switch {
	case r.ignoreTests:
		return release.AnyTests
	case Tests(obj):
		return release.TestsPassed
	}
	return release.NoTestFailed
}

// RetryAfter is the time until what failed is tried again by the strategy
// RetryOnFailure; zero where that is not the strategy.
func RetryAfter(obj *helmv2.HelmRelease, defaultRetries bool) time.Duration {
	return activeRemedy(obj, defaultRetries).retry
}

func ignoresTests(obj *helmv2.HelmRelease) bool {
	return obj.Spec.Test != nil && obj.Spec.Test.IgnoreFailures
}

// Tests says whether the release is to be tested.
func Tests(obj *helmv2.HelmRelease) bool { return obj.Spec.Test != nil && obj.Spec.Test.Enable }

// RunsTest says whether spec.test.filters, if there are any, leave the test in.
func RunsTest(obj *helmv2.HelmRelease, name string) bool {
	if obj.Spec.Test == nil || obj.Spec.Test.Filters == nil {
		return true
	}
	named, includes := false, false
	for _, filter := range *obj.Spec.Test.Filters {
		switch {
		case filter.Exclude && filter.Name == name:
			return false
		case !filter.Exclude:
			includes = true
			named = named || filter.Name == name
		}
	}
	return named || !includes
}

// ChecksDrift says whether differences from the release are looked for.
func ChecksDrift(obj *helmv2.HelmRelease) bool {
	if obj.Spec.DriftDetection == nil {
		return false
	}
	mode := obj.Spec.DriftDetection.Mode
	return mode == helmv2.DriftDetectionEnabled || mode == helmv2.DriftDetectionWarn
}

// PreservesValues says whether upgrades keep the values of the release before.
func PreservesValues(obj *helmv2.HelmRelease) bool {
	return obj.Spec.Upgrade != nil && obj.Spec.Upgrade.PreserveValues
}

// Forced says whether somebody asks for one install or upgrade in any case.
func Forced(obj *helmv2.HelmRelease) bool {
	return requested(obj, meta.ForceRequestAnnotation, obj.Status.LastHandledForceAt)
}

// Reset says whether somebody asks to forget the failures.
func Reset(obj *helmv2.HelmRelease) bool {
	return requested(obj, meta.ResetRequestAnnotation, obj.Status.LastHandledResetAt)
}

// requested says whether the annotation has a value that is new, and is that of
// the request that came with it.
func requested(obj *helmv2.HelmRelease, annotation, handled string) bool {
	value := obj.Annotations[annotation]
	return value != "" && value != handled && value == obj.Annotations[meta.ReconcileRequestAnnotation]
}
