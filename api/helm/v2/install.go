package v2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Install says how a release is installed.
type Install struct {
	// Timeout of each Kubernetes operation of the install. Default: spec.timeout.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Strategy says what follows a failed install. Default RemediateOnFailure.
	// +optional
	Strategy *InstallStrategy `json:"strategy,omitempty"`

	// Remediation of a failed install. When unset, there is none.
	// +optional
	Remediation *InstallRemediation `json:"remediation,omitempty"`

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

	// Replace takes the name of a release that was deleted and is still in the
	// history. Default false.
	// +optional
	Replace bool `json:"replace,omitempty"`

	// SkipCRDs is accepted and has no effect; crds: Skip does what it did.
	// +optional
	SkipCRDs bool `json:"skipCRDs,omitempty"`

	// CRDs says what becomes of the chart's crds directory. Skip: nothing.
	// Create: new ones are created. CreateReplace: existing ones are replaced
	// as well. None is ever deleted. Default Create.
	// +optional
	CRDs CRDsPolicy `json:"crds,omitempty"`

	// CreateNamespace creates the target namespace when it does not exist. It
	// is not deleted again. Default false.
	// +optional
	CreateNamespace bool `json:"createNamespace,omitempty"`

	// ServerSideApply is accepted for Flux's sake. Releases are applied by
	// Helm 3's three-way merge whatever it says.
	// +optional
	ServerSideApply *bool `json:"serverSideApply,omitempty"`
}

// InstallStrategy says what follows a failed install.
//
// +kubebuilder:validation:XValidation:rule="!has(self.retryInterval) || self.name != 'RemediateOnFailure'", message=".retryInterval cannot be set when .name is 'RemediateOnFailure'"
type InstallStrategy struct {
	// Name of the strategy.
	// +required
	Name ActionStrategyName `json:"name"`

	// RetryInterval is the time until the install is tried again, for
	// RetryOnFailure alone. Default 5m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	RetryInterval *metav1.Duration `json:"retryInterval,omitempty"`
}

// InstallRemediation says how often a failed install is uninstalled and tried
// again.
type InstallRemediation struct {
	// Retries is how often; a negative number means for ever. Default 0.
	// +optional
	Retries int `json:"retries,omitempty"`

	// IgnoreTestFailures does not take failed tests for a failed install.
	// Default: test.ignoreFailures.
	// +optional
	IgnoreTestFailures *bool `json:"ignoreTestFailures,omitempty"`

	// RemediateLastFailure uninstalls after the last retry as well. Default
	// false.
	// +optional
	RemediateLastFailure *bool `json:"remediateLastFailure,omitempty"`
}
