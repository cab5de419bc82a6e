package v2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// ReleaseAction is what was done to a release.
//
// +kubebuilder:validation:Enum=install;upgrade
type ReleaseAction string

// Values of HelmReleaseStatus.LastAttemptedReleaseAction.
const (
	ReleaseActionInstall ReleaseAction = "install"
	ReleaseActionUpgrade ReleaseAction = "upgrade"
)

// Snapshots are what is known of the last releases, the newest first.
type Snapshots []*Snapshot

// Snapshot is what is known of one release.
type Snapshot struct {
	// APIVersion of the snapshot; it changes when digests are made
	// differently.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Digest of the release in Helm's storage, as algorithm:hex.
	// +required
	Digest string `json:"digest"`

	// Name of the release.
	// +required
	Name string `json:"name"`

	// Namespace that the release is in.
	// +required
	Namespace string `json:"namespace"`

	// Version of the release: Helm's revision number.
	// +required
	Version int `json:"version"`

	// Status of the release, in Helm's words.
	// +required
	Status string `json:"status"`

	// ChartName is the name of the chart.
	// +required
	ChartName string `json:"chartName"`

	// ChartVersion is the version of the chart.
	// +required
	ChartVersion string `json:"chartVersion"`

	// AppVersion is the version of the application that the chart states.
	// +optional
	AppVersion string `json:"appVersion,omitempty"`

	// ConfigDigest is the digest of the values, as algorithm:hex.
	// +required
	ConfigDigest string `json:"configDigest"`

	// FirstDeployed is when the release was deployed for the first time.
	// +required
	FirstDeployed metav1.Time `json:"firstDeployed"`

	// LastDeployed is when the release was deployed for the last time.
	// +required
	LastDeployed metav1.Time `json:"lastDeployed"`

	// Deleted is when the release was deleted.
	// +optional
	Deleted metav1.Time `json:"deleted,omitzero"`

	// TestHooks are the tests that were run, by name.
	// +optional
	TestHooks *map[string]*TestHookStatus `json:"testHooks,omitempty"`

	// OCIDigest is the digest of the OCI artifact that the chart came in.
	// +optional
	OCIDigest string `json:"ociDigest,omitempty"`

	// Action that made the release.
	// +optional
	Action string `json:"action,omitempty"`
}

// TestHookStatus is how a test went.
type TestHookStatus struct {
	// LastStarted is when the test was started.
	// +optional
	LastStarted metav1.Time `json:"lastStarted,omitzero"`

	// LastCompleted is when the test ended.
	// +optional
	LastCompleted metav1.Time `json:"lastCompleted,omitzero"`

	// Phase of the test, in Helm's words.
	// +optional
	Phase string `json:"phase,omitempty"`
}

// HelmReleaseStatus says how a HelmRelease is doing.
type HelmReleaseStatus struct {
	meta.Status `json:",inline"`

	// ObservedPostRenderersDigest is the digest of the post-renderers of the
	// last reconcile that went well.
	// +optional
	ObservedPostRenderersDigest string `json:"observedPostRenderersDigest,omitempty"`

	// ObservedCommonMetadataDigest is the digest of the common metadata of the
	// last reconcile that went well.
	// +optional
	ObservedCommonMetadataDigest string `json:"observedCommonMetadataDigest,omitempty"`

	// HelmChart is the namespace/name of the HelmChart that was made for the
	// release.
	// +optional
	HelmChart string `json:"helmChart,omitempty"`

	// StorageNamespace is the namespace in which Helm's record of the release
	// is.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	StorageNamespace string `json:"storageNamespace,omitempty"`

	// History of the releases down to the last one that went well, the newest
	// first; at most 5.
	// +optional
	History Snapshots `json:"history,omitempty"`

	// Inventory of the objects of the release, without hooks.
	// +optional
	Inventory *meta.ResourceInventory `json:"inventory,omitempty"`

	// LastAttemptedReleaseAction is what was done last. It says which
	// remediation is in force.
	// +optional
	LastAttemptedReleaseAction ReleaseAction `json:"lastAttemptedReleaseAction,omitempty"`

	// LastAttemptedReleaseActionDuration is how long that took.
	// +kubebuilder:validation:Type=string
	// +optional
	LastAttemptedReleaseActionDuration *metav1.Duration `json:"lastAttemptedReleaseActionDuration,omitempty"`

	// Failures counts the failed reconciles towards the wanted state. It
	// starts again at 0 when the wanted state changes or is reached.
	// +optional
	Failures int64 `json:"failures,omitempty"`

	// InstallFailures counts the failed installs towards the wanted state.
	// +optional
	InstallFailures int64 `json:"installFailures,omitempty"`

	// UpgradeFailures counts the failed upgrades towards the wanted state.
	// +optional
	UpgradeFailures int64 `json:"upgradeFailures,omitempty"`

	// LastAttemptedGeneration is the generation of the last reconcile.
	// +optional
	LastAttemptedGeneration int64 `json:"lastAttemptedGeneration,omitempty"`

	// LastAttemptedRevision is the version of the chart of the last reconcile;
	// for an OCIRepository with the first 12 digits of the digest after a
	// plus sign.
	// +optional
	LastAttemptedRevision string `json:"lastAttemptedRevision,omitempty"`

	// LastAttemptedRevisionDigest is that digest in full.
	// +optional
	LastAttemptedRevisionDigest string `json:"lastAttemptedRevisionDigest,omitempty"`

	// LastAttemptedConfigDigest is the digest of the values of the last
	// reconcile.
	// +optional
	LastAttemptedConfigDigest string `json:"lastAttemptedConfigDigest,omitempty"`

	// LastAttemptedValuesChecksum is what lastAttemptedConfigDigest was before
	// it. It is kept as it was found.
	// +optional
	LastAttemptedValuesChecksum string `json:"lastAttemptedValuesChecksum,omitempty"`

	// LastReleaseRevision is Helm's revision number of the last release that
	// went well. History has taken its place. It is kept as it was found.
	// +optional
	LastReleaseRevision int `json:"lastReleaseRevision,omitempty"`

	// LastHandledForceAt is the value of the annotation
	// reconcile.fluxcd.io/forceAt that was handled last.
	// +optional
	LastHandledForceAt string `json:"lastHandledForceAt,omitempty"`

	// LastHandledResetAt is the value of the annotation
	// reconcile.fluxcd.io/resetAt that was handled last.
	// +optional
	LastHandledResetAt string `json:"lastHandledResetAt,omitempty"`
}
