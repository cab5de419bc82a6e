package v2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CRDsPolicy says what becomes of the CRDs in a chart.
//
// +kubebuilder:validation:Enum=Skip;Create;CreateReplace
type CRDsPolicy string

// Values of Install.CRDs and Upgrade.CRDs.
const (
	// Skip neither creates nor replaces CRDs.
	Skip CRDsPolicy = "Skip"
	// Create creates CRDs that do not exist.
	Create CRDsPolicy = "Create"
	// CreateReplace creates CRDs and replaces those that exist.
	CreateReplace CRDsPolicy = "CreateReplace"
)

// ServerSideApplyMode says whether objects are applied by the server.
//
// +kubebuilder:validation:Enum=enabled;disabled;auto
type ServerSideApplyMode string

// ActionStrategyName says what follows a failed action.
//
// +kubebuilder:validation:Enum=RemediateOnFailure;RetryOnFailure
type ActionStrategyName string

// Values of InstallStrategy.Name and UpgradeStrategy.Name.
const (
	// ActionStrategyRemediateOnFailure undoes what failed, then tries again as
	// often as the remediation says.
	ActionStrategyRemediateOnFailure ActionStrategyName = "RemediateOnFailure"
	// ActionStrategyRetryOnFailure tries again, for ever, and undoes nothing.
	ActionStrategyRetryOnFailure ActionStrategyName = "RetryOnFailure"
)

// RemediationStrategy says how a failed upgrade is undone.
//
// +kubebuilder:validation:Enum=rollback;uninstall
type RemediationStrategy string

// Values of UpgradeRemediation.Strategy.
const (
	// RollbackRemediationStrategy goes back to the last good release.
	RollbackRemediationStrategy RemediationStrategy = "rollback"
	// UninstallRemediationStrategy removes the release, to be installed anew.
	UninstallRemediationStrategy RemediationStrategy = "uninstall"
)

// Values of Upgrade.ChartNameChangeStrategy; an empty one means Reinstall.
const (
	ChartNameChangeStrategyReinstall     = "Reinstall"
	ChartNameChangeStrategyInPlaceUpdate = "InPlaceUpdate"
)

// Test says how a release is tested after an install or upgrade.
type Test struct {
	// Enable runs the chart's tests. Default false.
	// +optional
	Enable bool `json:"enable,omitempty"`

	// Timeout of each Kubernetes operation of the tests. Default: spec.timeout.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// IgnoreFailures does not take failed tests for a failed install or
	// upgrade. Default false.
	// +optional
	IgnoreFailures bool `json:"ignoreFailures,omitempty"`

	// Filters pick the tests to run. When unset, all of them.
	// +optional
	Filters *[]Filter `json:"filters,omitempty"`
}

// Filter picks a test, or leaves it out.
type Filter struct {
	// Name of the test.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// Exclude leaves the test out. Default false.
	// +optional
	Exclude bool `json:"exclude,omitempty"`
}

// Rollback says how a release is rolled back.
type Rollback struct {
	// Timeout of each Kubernetes operation of the rollback. Default: spec.timeout.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// DisableWait does not wait until the objects are ready. Default false.
	// +optional
	DisableWait bool `json:"disableWait,omitempty"`

	// DisableWaitForJobs does not wait until Jobs are complete. Default false.
	// +optional
	DisableWaitForJobs bool `json:"disableWaitForJobs,omitempty"`

	// DisableHooks does not run hooks. Default false.
	// +optional
	DisableHooks bool `json:"disableHooks,omitempty"`

	// Recreate is accepted and has no effect: it used to restart Pods.
	// +optional
	Recreate bool `json:"recreate,omitempty"`

	// Force replaces objects, all of them, rather than patch them. Default
	// false.
	// +optional
	Force bool `json:"force,omitempty"`

	// CleanupOnFail deletes what a failed rollback has created. Default false.
	// +optional
	CleanupOnFail bool `json:"cleanupOnFail,omitempty"`

	// ServerSideApply is accepted for Flux's sake. Releases are applied by
	// Helm 3's three-way merge whatever it says.
	// +optional
	ServerSideApply ServerSideApplyMode `json:"serverSideApply,omitempty"`
}

// Uninstall says how a release is uninstalled.
type Uninstall struct {
	// Timeout of each Kubernetes operation of the uninstall. Default: spec.timeout.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// DisableHooks does not run hooks. Default false.
	// +optional
	DisableHooks bool `json:"disableHooks,omitempty"`

	// KeepHistory keeps the record of the release. Default false.
	// +optional
	KeepHistory bool `json:"keepHistory,omitempty"`

	// DisableWait does not wait until the objects are gone. Default false.
	// +optional
	DisableWait bool `json:"disableWait,omitempty"`

	// DeletionPropagation says what becomes of the objects that the release's
	// objects own. Default background.
	// +kubebuilder:validation:Enum=background;foreground;orphan
	// +kubebuilder:default=background
	// +optional
	DeletionPropagation *string `json:"deletionPropagation,omitempty"`
}
