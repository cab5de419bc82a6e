package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// ImagePolicyKind is the kind of an ImagePolicy.
const ImagePolicyKind = "ImagePolicy"

// ReflectionPolicy says when the digest of a chosen tag is looked up.
//
// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
type ReflectionPolicy string

// Values of ImagePolicySpec.DigestReflectionPolicy.
const (
	// ReflectAlways looks the digest up at each interval.
	ReflectAlways ReflectionPolicy = "Always"
	// ReflectIfNotPresent looks the digest up once for each chosen tag.
	ReflectIfNotPresent ReflectionPolicy = "IfNotPresent"
	// ReflectNever looks no digest up.
	ReflectNever ReflectionPolicy = "Never"
)

// Values of AlphabeticalPolicy.Order and NumericalPolicy.Order.
const (
	// OrderAscending chooses the last tag in ascending order.
	OrderAscending = "asc"
	// OrderDescending chooses the last tag in descending order.
	OrderDescending = "desc"
)

// ImagePolicySpec says which tag of a repository is wanted.
//
// +kubebuilder:validation:XValidation:rule="!has(self.interval) || (has(self.digestReflectionPolicy) && self.digestReflectionPolicy == 'Always')", message="spec.interval is only accepted when spec.digestReflectionPolicy is set to 'Always'"
// +kubebuilder:validation:XValidation:rule="has(self.interval) || !has(self.digestReflectionPolicy) || self.digestReflectionPolicy != 'Always'", message="spec.interval must be set when spec.digestReflectionPolicy is set to 'Always'"
type ImagePolicySpec struct {
	// ImageRepositoryRef names the ImageRepository that is chosen from. One in
	// another namespace has to allow it by spec.accessFrom.
	// +required
	ImageRepositoryRef meta.NamespacedObjectReference `json:"imageRepositoryRef"`

	// Policy says how tags are ordered. Exactly one of its fields is to be set.
	// +required
	Policy ImagePolicyChoice `json:"policy"`

	// FilterTags says which tags are looked at, and which part of them is
	// compared. When unset, all tags as they are.
	// +optional
	FilterTags *TagFilter `json:"filterTags,omitempty"`

	// DigestReflectionPolicy says when the digest of the chosen tag is looked
	// up: Never; IfNotPresent, once for each chosen tag; Always, at each
	// interval. Default Never.
	// +kubebuilder:default=Never
	// +optional
	DigestReflectionPolicy ReflectionPolicy `json:"digestReflectionPolicy,omitempty"`

	// Interval at which the digest is looked up again. It has to be set when
	// digestReflectionPolicy is Always, and only then.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`

	// Suspend stops new choices. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// ImagePolicyChoice is an order of tags; the last one is chosen.
type ImagePolicyChoice struct {
	// SemVer orders tags by semantic version.
	// +optional
	SemVer *SemVerPolicy `json:"semver,omitempty"`

	// Alphabetical orders tags as text.
	// +optional
	Alphabetical *AlphabeticalPolicy `json:"alphabetical,omitempty"`

	// Numerical orders tags as numbers.
	// +optional
	Numerical *NumericalPolicy `json:"numerical,omitempty"`
}

// SemVerPolicy chooses the highest version of a range.
type SemVerPolicy struct {
	// Range of versions, such as ">=1.0.0 <2.0.0". Pre-releases count when the
	// range names one.
	// +required
	Range string `json:"range"`
}

// AlphabeticalPolicy chooses by the order of text.
type AlphabeticalPolicy struct {
	// Order: asc chooses the last letter, desc the first. Default asc.
	// +kubebuilder:default=asc
	// +kubebuilder:validation:Enum=asc;desc
	// +optional
	Order string `json:"order,omitempty"`
}

// NumericalPolicy chooses by the order of numbers. A tag that is none is an
// error, which filterTags can keep out.
type NumericalPolicy struct {
	// Order: asc chooses the highest number, desc the lowest. Default asc.
	// +kubebuilder:default=asc
	// +kubebuilder:validation:Enum=asc;desc
	// +optional
	Order string `json:"order,omitempty"`
}

// TagFilter picks tags, and the part of them that is compared.
type TagFilter struct {
	// Pattern is a regular expression that tags have to match.
	// +optional
	Pattern string `json:"pattern,omitempty"`

	// Extract is what is compared in place of the tag, in terms of the
	// pattern's groups, such as "$ts". When unset, the tag itself.
	// +optional
	Extract string `json:"extract,omitempty"`
}

// ImageRef names one image.
type ImageRef struct {
	// Name of the image, with neither tag nor digest.
	// +required
	Name string `json:"name"`

	// Tag of the image.
	// +required
	Tag string `json:"tag"`

	// Digest of the image, as algorithm:hex.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// String is name:tag, with @digest after it when there is one.
func (in ImageRef) String() string {
	if in.Digest == "" {
		return in.Name + ":" + in.Tag
	}
	return in.Name + ":" + in.Tag + "@" + in.Digest
}

// ImagePolicyStatus says which image was chosen.
type ImagePolicyStatus struct {
	meta.Status `json:",inline"`

	// LatestRef is the image that was chosen. It stays while a later choice
	// fails.
	// +optional
	LatestRef *ImageRef `json:"latestRef,omitempty"`

	// ObservedPreviousRef is the image that was chosen before.
	// +optional
	ObservedPreviousRef *ImageRef `json:"observedPreviousRef,omitempty"`
}

// ImagePolicy chooses one tag of an ImageRepository.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=image-reflector-controller","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName={imgpol,imagepol},categories={all,fluxcd,fluxcd-images}
// +kubebuilder:printcolumn:name="Image",type="string",JSONPath=".status.latestRef.name"
// +kubebuilder:printcolumn:name="Tag",type="string",JSONPath=".status.latestRef.tag"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type ImagePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which tag is wanted.
	Spec ImagePolicySpec `json:"spec,omitempty"`

	// Status says which image was chosen.
	// +kubebuilder:default={"observedGeneration":-1}
	Status ImagePolicyStatus `json:"status,omitempty"`
}

// ImagePolicyList is a list of ImagePolicies.
//
// +kubebuilder:object:root=true
type ImagePolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []ImagePolicy `json:"items"`
}

// CommonStatus is the part of the status that all kinds share.
func (in *ImagePolicy) CommonStatus() *meta.Status { return &in.Status.Status }

// Suspended says whether spec.suspend holds.
func (in *ImagePolicy) Suspended() bool { return in.Spec.Suspend }

// Interval is the time between two looks at the digest; zero when there are none.
func (in *ImagePolicy) Interval() time.Duration {
	if in.Spec.Interval == nil {
		return 0
	}
	return in.Spec.Interval.Duration
}

// RetryInterval is zero: failures are retried with the controller's backoff.
func (in *ImagePolicy) RetryInterval() time.Duration { return 0 }
