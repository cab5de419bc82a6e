package state_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	helmrelease "helm.sh/helm/v3/pkg/release"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
)

var (
	target = release.Target{Name: "web", Namespace: "fleet", StorageNamespace: "fleet"}
	want   = state.Want{Target: target, ChartName: "app", ChartVersion: "1.0.0", ConfigDigest: "sha256:a"}
	now    = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
)

// world is a HelmRelease and what is seen of its release.
type world struct {
	obj  *helmv2.HelmRelease
	seen state.Seen
	want state.Want
}

// has adds a record, newer than those before it, and its snapshot.
func (w *world) has(status helmrelease.Status, change ...func(*release.Record)) {
	record := release.Record{
		Target: target, Version: len(w.seen.Records) + 1, Status: status, ChartName: "app", ChartVersion: "1.0.0", ConfigDigest: "sha256:a",
		Digest: "sha256:" + string(rune('0'+len(w.seen.Records))), LastDeployed: now,
	}
	for _, change := range change {
		change(&record)
	}
	w.seen.Records = append([]release.Record{record}, w.seen.Records...)
	w.obj.Status.History = append(helmv2.Snapshots{release.SnapshotOf(record, "", "")}, w.obj.Status.History...)
}

func old(record *release.Record) { record.ChartVersion = "0.9.0" }

func interrupted(status helmrelease.Status) func(*release.Record) {
	return func(record *release.Record) { record.Interrupted = status }
}

func failedTest(record *release.Record) {
	record.Tests = []release.Test{{Name: "t", Started: now, Phase: helmrelease.HookPhaseFailed}}
}

func passedTest(record *release.Record) {
	record.Tests = []release.Test{{Name: "t", Started: now, Phase: helmrelease.HookPhaseSucceeded}}
}

func (w *world) installing(retries int, failures int64) *helmv2.InstallRemediation {
	w.obj.Status.LastAttemptedReleaseAction, w.obj.Status.InstallFailures = helmv2.ReleaseActionInstall, failures
	w.obj.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{Retries: retries}}
	return w.obj.Spec.Install.Remediation
}

func (w *world) upgrading(retries int, failures int64) *helmv2.UpgradeRemediation {
	w.obj.Status.LastAttemptedReleaseAction, w.obj.Status.UpgradeFailures = helmv2.ReleaseActionUpgrade, failures
	w.obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{Retries: retries}}
	return w.obj.Spec.Upgrade.Remediation
}

func (w *world) asks(annotations ...string) {
	w.obj.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "1"}
	for _, annotation := range annotations {
		w.obj.Annotations[annotation] = "1"
	}
}

func (w *world) drifts(mode helmv2.DriftDetectionMode, drift state.Drift) {
	w.has(helmrelease.StatusDeployed)
	w.obj.Spec.DriftDetection, w.seen.Drift = &helmv2.DriftDetection{Mode: mode}, drift
}

func TestDecide(t *testing.T) {
	for name, c := range map[string]struct {
		given   func(*world)
		want    state.Action
		version int
		why     string
		forget  bool
		after   time.Duration
	}{
		// Absent.
		"no release":                      {func(*world) {}, state.Install, 0, "there is no release", false, 0},
		"uninstalled, and kept on record": {func(w *world) { w.has(helmrelease.StatusUninstalled) }, state.Install, 0, "", false, 0},
		"install has failed for good":     {func(w *world) { w.installing(1, 2) }, state.Exhausted, 0, "failed after 2 attempt(s)", false, 0},
		"install may be tried again":      {func(w *world) { w.installing(1, 1) }, state.Install, 0, "", false, 0},
		"install is tried for ever":       {func(w *world) { w.installing(-1, 99) }, state.Install, 0, "", false, 0},
		"install has no remediation":      {func(w *world) { w.installing(0, 9); w.obj.Spec.Install = nil }, state.Install, 0, "", false, 0},
		"installs that made nothing":      {func(w *world) { w.installing(1, 0); w.obj.Status.Failures = 9 }, state.Install, 0, "", false, 0},
		"install is forced":               {func(w *world) { w.installing(1, 2); w.asks(meta.ForceRequestAnnotation) }, state.Install, 0, "", false, 0},

		// Locked.
		"pending install":        {func(w *world) { w.has(helmrelease.StatusPendingInstall) }, state.Unlock, 1, "pending-install", false, 0},
		"pending upgrade":        {func(w *world) { w.has(helmrelease.StatusDeployed); w.has(helmrelease.StatusPendingUpgrade) }, state.Unlock, 2, "pending-upgrade", false, 0},
		"pending rollback":       {func(w *world) { w.has(helmrelease.StatusPendingRollback) }, state.Unlock, 1, "", false, 0},
		"pending, though forced": {func(w *world) { w.has(helmrelease.StatusPendingUpgrade); w.asks(meta.ForceRequestAnnotation) }, state.Unlock, 1, "", false, 0},
		"an uninstall was begun": {func(w *world) { w.has(helmrelease.StatusUninstalling) }, state.Remove, 0, "", false, 0},
		"an interrupted install": {func(w *world) { w.installing(0, 0); w.has(helmrelease.StatusFailed, interrupted("pending-install")) }, state.Upgrade, 0, "interrupted", false, 0},
		"an interrupted upgrade": {func(w *world) {
			w.upgrading(1, 1)
			w.has(helmrelease.StatusDeployed)
			w.has(helmrelease.StatusFailed, interrupted("pending-upgrade"))
		}, state.Upgrade, 0, "interrupted", false, 0},
		"an interrupted one, when nothing more is allowed": {func(w *world) { w.upgrading(1, 2); w.has(helmrelease.StatusFailed, interrupted("pending-upgrade")) }, state.Upgrade, 0, "interrupted", false, 0},
		"an interrupted rollback": {func(w *world) {
			w.upgrading(1, 1)
			w.has(helmrelease.StatusSuperseded, old)
			w.has(helmrelease.StatusFailed, interrupted("pending-rollback"))
		}, state.Rollback, 1, "", false, 0},

		// Unmanaged.
		"not ours":                 {func(w *world) { w.has(helmrelease.StatusDeployed); w.obj.Status.History = nil }, state.Upgrade, 0, "not as it was left", true, 0},
		"changed by somebody else": {func(w *world) { w.has(helmrelease.StatusDeployed); w.seen.Records[0].Digest = "sha256:other" }, state.Upgrade, 0, "", true, 0},
		"rolled back by somebody else": {func(w *world) {
			w.has(helmrelease.StatusDeployed)
			w.obj.Status.History[0].Version = 9
			w.seen.Records[0].Digest = "x"
		}, state.Upgrade, 0, "", true, 0},

		// Another target.
		"another name":              {func(w *world) { w.has(helmrelease.StatusDeployed); w.want.Name = "other" }, state.Leave, 0, "name of the release", false, 0},
		"another namespace":         {func(w *world) { w.has(helmrelease.StatusDeployed); w.want.Namespace = "other" }, state.Leave, 0, "target namespace", false, 0},
		"another storage namespace": {func(w *world) { w.has(helmrelease.StatusDeployed); w.obj.Status.StorageNamespace = "before" }, state.Leave, 0, "storage namespace", false, 0},
		"another chart":             {func(w *world) { w.has(helmrelease.StatusDeployed); w.want.ChartName = "other" }, state.Leave, 0, "name of the chart", false, 0},
		"another chart, in place": {func(w *world) {
			w.has(helmrelease.StatusDeployed)
			w.want.ChartName = "other"
			w.obj.Spec.Upgrade = &helmv2.Upgrade{ChartNameChangeStrategy: "InPlaceUpdate"}
		}, state.Upgrade, 0, "chart has changed", false, 0},

		// OutOfSync.
		"another version": {func(w *world) { w.has(helmrelease.StatusDeployed, old) }, state.Upgrade, 0, "version of the chart has changed from 0.9.0 to 1.0.0", false, 0},
		"other values":    {func(w *world) { w.has(helmrelease.StatusDeployed); w.want.ConfigDigest = "sha256:b" }, state.Upgrade, 0, "values", false, 0},
		"other values, kept already": {func(w *world) {
			w.has(helmrelease.StatusDeployed)
			w.want.ConfigDigest = "sha256:b"
			w.seen.Keeps = true
		}, state.None, 0, "", false, 0},
		"other post-renderers":        {func(w *world) { w.has(helmrelease.StatusDeployed); w.want.PostRenderersDigest = "sha256:b" }, state.Upgrade, 0, "postRenderers", false, 0},
		"other common metadata":       {func(w *world) { w.has(helmrelease.StatusDeployed); w.want.CommonMetadataDigest = "sha256:b" }, state.Upgrade, 0, "commonMetadata", false, 0},
		"upgrade has failed for good": {func(w *world) { w.upgrading(1, 2); w.has(helmrelease.StatusDeployed, old) }, state.Exhausted, 0, "", false, 0},

		"upgrades that made nothing": {func(w *world) {
			w.upgrading(1, 0)
			w.obj.Status.Failures = 9
			w.has(helmrelease.StatusDeployed, old)
		}, state.Upgrade, 0, "", false, 0},

		// Failed.
		"install failed, no remediation": {func(w *world) { w.installing(0, 1); w.obj.Spec.Install = nil; w.has(helmrelease.StatusFailed) }, state.Upgrade, 0, "", false, 0},
		"install failed, retries left":   {func(w *world) { w.installing(1, 1); w.has(helmrelease.StatusFailed) }, state.Remove, 0, "", false, 0},
		"install failed, none left":      {func(w *world) { w.installing(1, 2); w.has(helmrelease.StatusFailed) }, state.Exhausted, 0, "", false, 0},
		"install failed, the last is undone": {func(w *world) {
			w.installing(1, 2).RemediateLastFailure = ptr.To(true)
			w.has(helmrelease.StatusFailed)
		}, state.Remove, 0, "", false, 0},
		"install failed, and all is new": {func(w *world) { w.installing(1, 0); w.has(helmrelease.StatusFailed) }, state.Upgrade, 0, "has changed", false, 0},
		"upgrade failed, no remediation": {func(w *world) { w.upgrading(0, 1); w.obj.Spec.Upgrade = nil; w.has(helmrelease.StatusFailed) }, state.Upgrade, 0, "", false, 0},
		"upgrade failed, retries left": {func(w *world) {
			w.upgrading(1, 1)
			w.has(helmrelease.StatusDeployed, old)
			w.has(helmrelease.StatusFailed)
		}, state.Rollback, 1, "", false, 0},
		"upgrade failed, the last is undone": {func(w *world) {
			w.upgrading(1, 2)
			w.has(helmrelease.StatusDeployed, old)
			w.has(helmrelease.StatusFailed)
		}, state.Rollback, 1, "", false, 0},
		"upgrade failed, the last is not": {func(w *world) {
			w.upgrading(1, 2).RemediateLastFailure = ptr.To(false)
			w.has(helmrelease.StatusDeployed, old)
			w.has(helmrelease.StatusFailed)
		}, state.Exhausted, 0, "", false, 0},
		"upgrade failed, to be uninstalled": {func(w *world) {
			w.upgrading(1, 1).Strategy = ptr.To(helmv2.UninstallRemediationStrategy)
			w.has(helmrelease.StatusDeployed, old)
			w.has(helmrelease.StatusFailed)
		}, state.Remove, 0, "", false, 0},
		"upgrade failed for good, and so did the install after it": {func(w *world) {
			w.upgrading(1, 2).Strategy = ptr.To(helmv2.UninstallRemediationStrategy)
			w.obj.Status.LastAttemptedReleaseAction, w.obj.Status.InstallFailures = helmv2.ReleaseActionInstall, 1
			w.has(helmrelease.StatusFailed)
		}, state.Exhausted, 0, "failed after 2 attempt(s)", false, 0},
		"upgrade failed, and so did the install after it": {func(w *world) {
			w.upgrading(2, 2).Strategy = ptr.To(helmv2.UninstallRemediationStrategy)
			w.obj.Status.LastAttemptedReleaseAction, w.obj.Status.InstallFailures = helmv2.ReleaseActionInstall, 1
			w.has(helmrelease.StatusFailed)
		}, state.Upgrade, 0, "", false, 0},
		"upgrade failed, nothing to go back to": {func(w *world) { w.upgrading(1, 1); w.has(helmrelease.StatusFailed) }, state.NoTarget, 0, "no earlier release", false, 0},
		"upgrade failed, what it was is gone": {func(w *world) {
			w.upgrading(1, 1)
			w.has(helmrelease.StatusDeployed, old)
			w.has(helmrelease.StatusFailed)
			w.seen.Records = w.seen.Records[:1]
		}, state.NoTarget, 0, "", false, 0},
		"upgrade failed, and is forced": {func(w *world) {
			w.upgrading(0, 9)
			w.has(helmrelease.StatusFailed)
			w.asks(meta.ForceRequestAnnotation)
		}, state.Upgrade, 0, "asked for", false, 0},
		"retried, too soon": {func(w *world) {
			w.upgrading(0, 1)
			w.obj.Spec.Upgrade.Strategy = &helmv2.UpgradeStrategy{Name: helmv2.ActionStrategyRetryOnFailure}
			w.has(helmrelease.StatusFailed)
			w.seen.Now = now.Add(time.Minute)
		}, state.Later, 0, "", false, 4 * time.Minute},
		"retried": {func(w *world) {
			w.upgrading(0, 9)
			w.obj.Spec.Upgrade.Strategy = &helmv2.UpgradeStrategy{Name: helmv2.ActionStrategyRetryOnFailure, RetryInterval: &metav1.Duration{Duration: time.Second}}
			w.has(helmrelease.StatusFailed)
			w.seen.Now = now.Add(time.Minute)
		}, state.Upgrade, 0, "", false, 0},
		"an install is retried as an upgrade": {func(w *world) {
			w.installing(0, 9)
			w.obj.Spec.Install.Strategy = &helmv2.InstallStrategy{Name: helmv2.ActionStrategyRetryOnFailure}
			w.has(helmrelease.StatusFailed)
			w.seen.Now = now.Add(time.Hour)
		}, state.Upgrade, 0, "", false, 0},
		"retried by default": {func(w *world) {
			w.upgrading(0, 1)
			w.seen.RetryByDefault = true
			w.has(helmrelease.StatusFailed)
			w.seen.Now = now.Add(time.Hour)
		}, state.Upgrade, 0, "", false, 0},

		// Untested.
		"not tested": {func(w *world) { w.has(helmrelease.StatusDeployed); w.obj.Spec.Test = &helmv2.Test{Enable: true} }, state.Test, 0, "", false, 0},
		"no test could be begun": {func(w *world) {
			w.upgrading(0, 0)
			w.obj.Status.Failures = 1
			w.has(helmrelease.StatusDeployed)
			release.NoteTests(w.obj.Status.History[0], w.seen.Records[0], true, func(string) bool { return true })
			w.obj.Spec.Test = &helmv2.Test{Enable: true}
		}, state.Test, 0, "", false, 0},
		"there are no tests": {func(w *world) {
			w.has(helmrelease.StatusDeployed)
			release.NoteTests(w.obj.Status.History[0], w.seen.Records[0], false, func(string) bool { return true })
			w.obj.Spec.Test = &helmv2.Test{Enable: true}
		}, state.None, 0, "", false, 0},
		"tests are not asked for": {func(w *world) { w.has(helmrelease.StatusDeployed); w.obj.Spec.Test = &helmv2.Test{} }, state.None, 0, "", false, 0},
		"tested": {func(w *world) {
			w.has(helmrelease.StatusDeployed, passedTest)
			w.obj.Spec.Test = &helmv2.Test{Enable: true}
		}, state.None, 0, "", false, 0},
		"tests failed": {func(w *world) {
			w.upgrading(1, 1)
			w.has(helmrelease.StatusDeployed, old)
			w.has(helmrelease.StatusDeployed, failedTest)
			w.obj.Spec.Test = &helmv2.Test{Enable: true}
		}, state.Rollback, 1, "tests", false, 0},
		"failed, and the one before was not tested": {func(w *world) {
			w.upgrading(1, 1)
			w.has(helmrelease.StatusSuperseded, old, passedTest)
			w.has(helmrelease.StatusSuperseded, old)
			w.has(helmrelease.StatusFailed)
			w.obj.Spec.Test = &helmv2.Test{Enable: true}
		}, state.Rollback, 1, "", false, 0},
		"failed, and none was tested": {func(w *world) {
			w.upgrading(1, 1)
			w.has(helmrelease.StatusSuperseded, old)
			w.has(helmrelease.StatusSuperseded, old)
			w.has(helmrelease.StatusFailed)
			w.obj.Spec.Test = &helmv2.Test{Enable: true}
		}, state.Rollback, 2, "", false, 0},
		"failed, and tests are ignored": {func(w *world) {
			w.upgrading(1, 1).IgnoreTestFailures = ptr.To(true)
			w.has(helmrelease.StatusSuperseded, old, passedTest)
			w.has(helmrelease.StatusSuperseded, old)
			w.has(helmrelease.StatusFailed)
			w.obj.Spec.Test = &helmv2.Test{Enable: true}
		}, state.Rollback, 2, "", false, 0},
		"failed, and tests are not asked for": {func(w *world) {
			w.upgrading(1, 1)
			w.has(helmrelease.StatusSuperseded, old, passedTest)
			w.has(helmrelease.StatusSuperseded, old)
			w.has(helmrelease.StatusFailed)
		}, state.Rollback, 2, "", false, 0},
		"tests failed, ignored": {func(w *world) {
			w.has(helmrelease.StatusDeployed, failedTest)
			w.obj.Spec.Test = &helmv2.Test{Enable: true, IgnoreFailures: true}
		}, state.None, 0, "", false, 0},
		"tests failed, remediation ignores": {func(w *world) {
			w.upgrading(1, 1).IgnoreTestFailures = ptr.To(true)
			w.has(helmrelease.StatusDeployed, failedTest)
			w.obj.Spec.Test = &helmv2.Test{Enable: true}
		}, state.None, 0, "", false, 0},

		// Drifted and InSync.
		"in sync":         {func(w *world) { w.has(helmrelease.StatusDeployed) }, state.None, 0, "", false, 0},
		"in sync, forced": {func(w *world) { w.has(helmrelease.StatusDeployed); w.asks(meta.ForceRequestAnnotation) }, state.Upgrade, 0, "", false, 0},
		"forced without a request": {func(w *world) {
			w.has(helmrelease.StatusDeployed)
			w.asks(meta.ForceRequestAnnotation)
			w.obj.Annotations[meta.ReconcileRequestAnnotation] = "2"
		}, state.None, 0, "", false, 0},
		"forced before": {func(w *world) {
			w.has(helmrelease.StatusDeployed)
			w.asks(meta.ForceRequestAnnotation)
			w.obj.Status.LastHandledForceAt = "1"
		}, state.None, 0, "", false, 0},
		"drift is unknown":       {func(w *world) { w.drifts(helmv2.DriftDetectionWarn, state.DriftUnknown) }, state.CheckDrift, 0, "", false, 0},
		"drift is corrected":     {func(w *world) { w.drifts(helmv2.DriftDetectionEnabled, state.DriftFound) }, state.CorrectDrift, 0, "", false, 0},
		"drift is warned of":     {func(w *world) { w.drifts(helmv2.DriftDetectionWarn, state.DriftFound) }, state.None, 0, "", false, 0},
		"no drift":               {func(w *world) { w.drifts(helmv2.DriftDetectionEnabled, state.DriftNone) }, state.None, 0, "", false, 0},
		"drift is not asked for": {func(w *world) { w.drifts(helmv2.DriftDetectionDisabled, state.DriftUnknown) }, state.None, 0, "", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := &world{obj: &helmv2.HelmRelease{}, want: want, seen: state.Seen{Now: now}}
			c.given(w)
			got := state.Decide(w.obj, w.seen, w.want)
			g.Expect(got.Action).To(Equal(c.want), "%s", got.Why)
			g.Expect(got.Version).To(Equal(c.version))
			g.Expect(got.Why).To(ContainSubstring(c.why))
			g.Expect(got.Forget).To(Equal(c.forget))
			g.Expect(got.After).To(Equal(c.after))
		})
	}
}

func TestFiltersOfTests(t *testing.T) {
	for name, c := range map[string]struct {
		filters []helmv2.Filter
		want    bool
	}{
		"none":             {nil, true},
		"it is included":   {[]helmv2.Filter{{Name: "other"}, {Name: "t"}}, true},
		"another is":       {[]helmv2.Filter{{Name: "other"}}, false},
		"it is excluded":   {[]helmv2.Filter{{Name: "t"}, {Name: "t", Exclude: true}}, false},
		"another excluded": {[]helmv2.Filter{{Name: "other", Exclude: true}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			obj := &helmv2.HelmRelease{}
			obj.Spec.Test = &helmv2.Test{Filters: &c.filters}
			NewWithT(t).Expect(state.RunsTest(obj, "t")).To(Equal(c.want))
		})
	}
}

func TestFailuresThatMadeNothing(t *testing.T) {
	g := NewWithT(t)
	obj := &helmv2.HelmRelease{}
	state.CountFailure(obj, false)
	obj.Status.LastAttemptedReleaseAction = helmv2.ReleaseActionInstall
	state.CountFailure(obj, false)
	g.Expect([]int64{obj.Status.Failures, obj.Status.InstallFailures, obj.Status.UpgradeFailures}).To(Equal([]int64{2, 0, 0}))
}

// What is unlocked was interrupted, unless the history says that it has failed.
func TestWhatIsUnlockedMayHaveFailed(t *testing.T) {
	for name, c := range map[string]struct {
		given func(*world)
		want  bool
	}{
		"an agent has ended": {func(w *world) { w.has(helmrelease.StatusPendingRollback) }, false},
		"its hook has failed": {func(w *world) {
			w.has(helmrelease.StatusPendingRollback)
			w.obj.Status.History[0].Status = "failed"
		}, true},
		"the one before has failed": {func(w *world) {
			w.has(helmrelease.StatusFailed)
			w.has(helmrelease.StatusPendingUpgrade)
			w.obj.Status.History = w.obj.Status.History[1:]
		}, false},
		"nothing is known": {func(w *world) { w.has(helmrelease.StatusPendingInstall); w.obj.Status.History = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := &world{obj: &helmv2.HelmRelease{}, want: want, seen: state.Seen{Now: now}}
			c.given(w)
			got := state.Decide(w.obj, w.seen, w.want)
			g.Expect(got.Action).To(Equal(state.Unlock))
			g.Expect(got.Failed).To(Equal(c.want))
		})
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*helmv2.HelmRelease, *state.Want)
		want   int64
	}{
		"not by itself":   {func(*helmv2.HelmRelease, *state.Want) {}, 3},
		"by a new spec":   {func(obj *helmv2.HelmRelease, _ *state.Want) { obj.Generation++ }, 0},
		"by a new chart":  {func(_ *helmv2.HelmRelease, want *state.Want) { want.ChartVersion = "2.0.0" }, 0},
		"by a new digest": {func(_ *helmv2.HelmRelease, want *state.Want) { want.OCIDigest = "sha256:c" }, 0},
		"by new values":   {func(_ *helmv2.HelmRelease, want *state.Want) { want.ConfigDigest = "sha256:c" }, 0},
		"when somebody asks": {func(obj *helmv2.HelmRelease, _ *state.Want) {
			obj.Annotations = map[string]string{meta.ResetRequestAnnotation: "1", meta.ReconcileRequestAnnotation: "1"}
		}, 0},
		"not without a request": {func(obj *helmv2.HelmRelease, _ *state.Want) {
			obj.Annotations = map[string]string{meta.ResetRequestAnnotation: "1"}
		}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			obj, want := &helmv2.HelmRelease{ObjectMeta: metav1.ObjectMeta{Generation: 1}}, want
			state.Begin(obj, want)
			for range 3 {
				state.CountFailure(obj, true)
			}
			c.change(obj, &want)
			state.Begin(obj, want)
			g.Expect([]int64{obj.Status.Failures, obj.Status.UpgradeFailures}).To(Equal([]int64{c.want, c.want}))
			asked := obj.DeepCopy()
			state.CountFailure(obj, true)
			state.Begin(obj, want)
			g.Expect(obj.Status.Failures).To(Equal(asked.Status.Failures+1), "a request is answered once")
		})
	}
}
