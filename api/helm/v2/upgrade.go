package v2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Upgrade says how a release is upgraded.
type Upgrade struct {
	// Timeout of each Kubernetes operation of the upgrade. Default: spec.timeout.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Strategy says what follows a failed upgrade. Default RemediateOnFailure.
	// +optional
	Strategy *UpgradeStrategy `json:"strategy,omitempty"`

	// Remediation of a failed upgrade. When unset, there is none.
	// +optional
	Remediation *UpgradeRemediation `json:"remediation,omitempty"`

	// DisableTakeOwnership fails when an object exists that belongs to no
	// release, or to another one. Default false: such objects are taken over.
	// +optional
	DisableTakeOwnership bool `json:"disableTakeOwnership,omitempty"`

	// DisableWait does not wait until the objects are ready. Default false.
	// +optional
	DisableWait bool `json:"disableWait,omitempty"`

	// DisableWaitForJobs does not wait until Jobs are complete. Default false.
	// +optional
	DisableWaitForJobs bool `json:"disableWaitForJobs,omitempty"`

	// DisableHooks does not run hooks. Default false.
	// +optional
	DisableHooks bool `json:"disableHooks,omitempty"`

	// DisableOpenAPIValidation is accepted for Flux's sake: the cluster checks
	// the fields of objects itself, and nothing else does. Default false.
	// +optional
	DisableOpenAPIValidation bool `json:"disableOpenAPIValidation,omitempty"`

	// DisableSchemaValidation does not check the values against the chart's
	// JSON schema. Default false.
	// +optional
	DisableSchemaValidation bool `json:"disableSchemaValidation,omitempty"`

	// Force replaces objects, all of them, rather than patch them. Default
	// false.
	// +optional
	Force bool `json:"force,omitempty"`

	// PreserveValues lays the values over those of the last release. Default
	// false.
	// +optional
	PreserveValues bool `json:"preserveValues,omitempty"`

	// CleanupOnFail deletes what a failed upgrade has created. Default false.
	// +optional
	CleanupOnFail bool `json:"cleanupOnFail,omitempty"`

	// CRDs says what becomes of the chart's crds directory. Skip: nothing.
	// Create: new ones are created. CreateReplace: existing ones are replaced
	// as well. None is ever deleted. Default Create.
	// +optional
	CRDs CRDsPolicy `json:"crds,omitempty"`

	// ChartNameChangeStrategy says what happens when the chart has another
	// name: the release is installed anew (Reinstall) or upgraded
	// (InPlaceUpdate). Default Reinstall.
	// +kubebuilder:validation:Enum=InPlaceUpdate;Reinstall
	// +optional
	ChartNameChangeStrategy string `json:"chartNameChangeStrategy,omitempty"`

	// ServerSideApply is accepted for Flux's sake. Releases are applied by
	// Helm 3's three-way merge whatever it says.
	// +optional
	ServerSideApply ServerSideApplyMode `json:"serverSideApply,omitempty"`
}

// UpgradeStrategy says what follows a failed upgrade.
//
// +kubebuilder:validation:XValidation:rule="!has(self.retryInterval) || self.name == 'RetryOnFailure'", message=".retryInterval can only be set when .name is 'RetryOnFailure'"
type UpgradeStrategy struct {
	// Name of the strategy.
	// +required
	Name ActionStrategyName `json:"name"`

	// RetryInterval is the time until the upgrade is tried again, for
	// RetryOnFailure alone. Default 5m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	RetryInterval *metav1.Duration `json:"retryInterval,omitempty"`
}

// UpgradeRemediation says how a failed upgrade is undone, and how often it is
// tried again.
type UpgradeRemediation struct {
	// Retries is how often; a negative number means for ever. Default 0.
	// +optional
	Retries int `json:"retries,omitempty"`

	// IgnoreTestFailures does not take failed tests for a failed upgrade.
	// Default: test.ignoreFailures.
	// +optional
	IgnoreTestFailures *bool `json:"ignoreTestFailures,omitempty"`

	// RemediateLastFailure undoes the last retry as well. Default: true when
	// retries is above 0, else false.
	// +optional
	RemediateLastFailure *bool `json:"remediateLastFailure,omitempty"`

	// Strategy of undoing: rollback goes back to the last good release,
	// uninstall removes the release. Default rollback.
	// +optional
	Strategy *RemediationStrategy `json:"strategy,omitempty"`
}
