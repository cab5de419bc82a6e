package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// ImageRepositoryKind is the kind of an ImageRepository.
const ImageRepositoryKind = "ImageRepository"

// ImageRepositorySpec says which repository of a registry is scanned.
type ImageRepositorySpec struct {
	// Image is the repository, with neither scheme nor tag, such as
	// ghcr.io/org/app.
	// +required
	Image string `json:"image"`

	// Interval between two scans, with a little jitter.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval metav1.Duration `json:"interval"`

	// Timeout of one scan. Default: the interval.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// SecretRef names the Secret with the registry login, of the type
	// kubernetes.io/dockerconfigjson.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// ProxySecretRef names the Secret with the proxy to go through: address,
	// and username and password where it wants them.
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// ServiceAccountName is the ServiceAccount whose image pull secrets log
	// in; with a cloud's provider, the one whose workload identity does.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// CertSecretRef names the Secret for TLS: ca.crt to trust, tls.crt and
	// tls.key to show.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// Suspend stops new scans. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// AccessFrom says from which other namespaces ImagePolicies may refer to
	// the repository. When unset, from none.
	// +optional
	AccessFrom *meta.AccessFrom `json:"accessFrom,omitempty"`

	// ExclusionList are regular expressions of tags to leave out. Default: the
	// tags of cosign's signatures.
	// +kubebuilder:default={"^.*\\.sig$"}
	// +kubebuilder:validation:MaxItems=25
	// +optional
	ExclusionList []string `json:"exclusionList,omitempty"`

	// Provider of the login at the registry: the Secret alone (generic), or a
	// cloud's workload identity. Default generic.
	// +kubebuilder:validation:Enum=generic;aws;azure;gcp
	// +kubebuilder:default=generic
	// +optional
	Provider string `json:"provider,omitempty"`

	// Insecure allows plain HTTP, and TLS with an unknown certificate unless
	// certSecretRef is set. Default false.
	// +optional
	Insecure bool `json:"insecure,omitempty"`
}

// ScanResult is what a scan has found.
type ScanResult struct {
	// Revision is a checksum of the sorted list of tags.
	// +optional
	Revision string `json:"revision,omitempty"`

	// TagCount is the number of tags, without those that are left out.
	// +required
	TagCount int `json:"tagCount"`

	// ScanTime is when the scan was made.
	// +optional
	ScanTime metav1.Time `json:"scanTime,omitzero"`

	// LatestTags are the last ten tags in descending order.
	// +optional
	LatestTags []string `json:"latestTags,omitempty"`
}

// ImageRepositoryStatus says how an ImageRepository is doing.
type ImageRepositoryStatus struct {
	meta.Status `json:",inline"`

	// CanonicalImageName is spec.image with what a registry's name implies
	// written out, such as index.docker.io/library/alpine for alpine.
	// +optional
	CanonicalImageName string `json:"canonicalImageName,omitempty"`

	// LastScanResult of the last scan that went well.
	// +optional
	LastScanResult *ScanResult `json:"lastScanResult,omitempty"`

	// ObservedExclusionList is the spec.exclusionList of the last scan.
	// +optional
	ObservedExclusionList []string `json:"observedExclusionList,omitempty"`
}

// ImageRepository scans the tags of one repository of a registry.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=image-reflector-controller","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName={imgrepo,imagerepo},categories={all,fluxcd,fluxcd-images}
// +kubebuilder:printcolumn:name="Image",type="string",JSONPath=".spec.image"
// +kubebuilder:printcolumn:name="Tags",type="string",JSONPath=".status.lastScanResult.tagCount"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
// +kubebuilder:printcolumn:name="Last scan",type="string",JSONPath=".status.lastScanResult.scanTime",priority=1
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type ImageRepository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what to scan.
	Spec ImageRepositorySpec `json:"spec,omitempty"`

	// Status says what was found.
	// +kubebuilder:default={"observedGeneration":-1}
	Status ImageRepositoryStatus `json:"status,omitempty"`
}

// ImageRepositoryList is a list of ImageRepositories.
//
// +kubebuilder:object:root=true
type ImageRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []ImageRepository `json:"items"`
}

// CommonStatus is the part of the status that all kinds share.
func (in *ImageRepository) CommonStatus() *meta.Status { return &in.Status.Status }

// Suspended says whether spec.suspend holds.
func (in *ImageRepository) Suspended() bool { return in.Spec.Suspend }

// Interval is the time between two scans.
func (in *ImageRepository) Interval() time.Duration { return in.Spec.Interval.Duration }

// RetryInterval is zero: failures are retried with the controller's backoff.
func (in *ImageRepository) RetryInterval() time.Duration { return 0 }

// Timeout is the time limit of one scan: the interval unless the spec says
// otherwise.
func (in *ImageRepository) Timeout() time.Duration {
	if in.Spec.Timeout == nil {
		return in.Interval()
	}
	return in.Spec.Timeout.Duration
}
