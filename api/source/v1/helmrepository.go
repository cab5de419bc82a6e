package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// HelmRepositoryKind is the kind of a HelmRepository.
const HelmRepositoryKind = "HelmRepository"

// Values of HelmRepositorySpec.Type; an empty one means default.
const (
	// HelmRepositoryTypeDefault is a repository with an index.
	HelmRepositoryTypeDefault = "default"
	// HelmRepositoryTypeOCI is a registry. Such a HelmRepository is never
	// reconciled: it holds what HelmCharts need to pull from it.
	HelmRepositoryTypeOCI = "oci"
)

// defaultIndexInterval is the time between two fetches of an index when
// spec.interval is unset.
const defaultIndexInterval = time.Minute

// HelmRepositorySpec says where a Helm repository is.
type HelmRepositorySpec struct {
	// URL of the repository: http or https of the place where index.yaml is,
	// or oci of a registry path.
	// +kubebuilder:validation:Pattern="^(http|https|oci)://.*$"
	// +required
	URL string `json:"url"`

	// SecretRef names the Secret with username and password, or, for the type
	// oci, one of the type kubernetes.io/dockerconfigjson.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// CertSecretRef names the Secret for TLS: ca.crt to trust, tls.crt and
	// tls.key to show.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// PassCredentials sends the credentials along to other hosts that the
	// index names. Default false.
	// +optional
	PassCredentials bool `json:"passCredentials,omitempty"`

	// Interval between two fetches of the index, with a little jitter.
	// Default 1m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Interval metav1.Duration `json:"interval,omitzero"`

	// Insecure allows plain HTTP, and TLS with an unknown certificate unless
	// certSecretRef is set. For the type oci alone. Default false.
	// +optional
	Insecure bool `json:"insecure,omitempty"`

	// Timeout of one fetch of the index. Default 1m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Suspend stops new reconciles. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// AccessFrom says from which other namespaces the repository may be
	// referred to. It is accepted and not enforced.
	// +optional
	AccessFrom *meta.AccessFrom `json:"accessFrom,omitempty"`

	// Type of the repository: default has an index, oci is a registry. Default
	// default.
	// +kubebuilder:validation:Enum=default;oci
	// +optional
	Type string `json:"type,omitempty"`

	// Provider of the login at the registry: the Secret alone (generic), or a
	// cloud's workload identity. For the type oci alone. Default generic.
	// +kubebuilder:validation:Enum=generic;aws;azure;gcp
	// +kubebuilder:default=generic
	// +optional
	Provider string `json:"provider,omitempty"`
}

// HelmRepositoryStatus says how a HelmRepository is doing.
type HelmRepositoryStatus struct {
	meta.Status `json:",inline"`

	// URL at which the newest index can always be fetched.
	// +optional
	URL string `json:"url,omitempty"`

	// Artifact that is served now: the index.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`
}

// HelmRepository makes an artifact of the index of a Helm repository.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=source-controller","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName=helmrepo,categories={all,fluxcd,fluxcd-sources}
// +kubebuilder:printcolumn:name="URL",type="string",JSONPath=".spec.url"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
type HelmRepository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says where the repository is.
	Spec HelmRepositorySpec `json:"spec,omitempty"`

	// Status says what was fetched.
	// +kubebuilder:default={"observedGeneration":-1}
	Status HelmRepositoryStatus `json:"status,omitempty"`
}

// HelmRepositoryList is a list of HelmRepositories.
//
// +kubebuilder:object:root=true
type HelmRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []HelmRepository `json:"items"`
}

// CommonStatus is the part of the status that all kinds share.
func (in *HelmRepository) CommonStatus() *meta.Status { return &in.Status.Status }

// Suspended says whether spec.suspend holds.
func (in *HelmRepository) Suspended() bool { return in.Spec.Suspend }

// Interval is the time between two fetches of the index.
func (in *HelmRepository) Interval() time.Duration {
	if in.Spec.Interval.Duration == 0 {
		return defaultIndexInterval
	}
	return in.Spec.Interval.Duration
}

// RetryInterval is zero: failures are retried with the controller's backoff.
func (in *HelmRepository) RetryInterval() time.Duration { return 0 }

// Timeout is the time limit of one run.
func (in *HelmRepository) Timeout() time.Duration { return timeoutOf(in.Spec.Timeout) }

// GetArtifact returns the artifact that is served now, nil for none.
func (in *HelmRepository) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// SetArtifact notes the artifact that is served from now on.
func (in *HelmRepository) SetArtifact(artifact *meta.Artifact) { in.Status.Artifact = artifact }

// SetLatestURL notes where the newest artifact can always be fetched.
func (in *HelmRepository) SetLatestURL(url string) { in.Status.URL = url }
