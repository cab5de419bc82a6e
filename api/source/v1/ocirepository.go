package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// OCIRepositoryKind is the kind of an OCIRepository.
const OCIRepositoryKind = "OCIRepository"

// Values of OCILayerSelector.Operation; an empty one means extract.
const (
	// OCILayerExtract unpacks the layer into the artifact.
	OCILayerExtract = "extract"
	// OCILayerCopy takes the layer itself for the artifact.
	OCILayerCopy = "copy"
)

// OCIRepositorySpec says which state of an OCI repository becomes the artifact.
type OCIRepositorySpec struct {
	// URL of the repository: oci://host/path, with neither tag nor digest.
	// +kubebuilder:validation:Pattern="^oci://.*$"
	// +required
	URL string `json:"url"`

	// Reference to pull. Default: the tag latest.
	// +optional
	Reference *OCIRepositoryRef `json:"ref,omitempty"`

	// LayerSelector picks the layer. When unset, the first one, unpacked.
	// +optional
	LayerSelector *OCILayerSelector `json:"layerSelector,omitempty"`

	// Provider of the login at the registry: the Secret alone (generic), or a
	// cloud's workload identity. Default generic.
	// +kubebuilder:validation:Enum=generic;aws;azure;gcp
	// +kubebuilder:default=generic
	// +optional
	Provider string `json:"provider,omitempty"`

	// SecretRef names the Secret with the registry login, of the type
	// kubernetes.io/dockerconfigjson.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// Verify asks for a signature. When unset, none is asked for.
	// +optional
	Verify *OCIRepositoryVerification `json:"verify,omitempty"`

	// ServiceAccountName is the ServiceAccount whose image pull secrets log
	// in; with a cloud's provider, the one whose workload identity does.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// CertSecretRef names the Secret for TLS: ca.crt to trust, tls.crt and
	// tls.key to show.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// ProxySecretRef names the Secret with the proxy to go through: address,
	// and username and password where it wants them.
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// Interval between two looks at the repository, with a little jitter.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval metav1.Duration `json:"interval"`

	// Timeout of one look at the repository, of the pull that follows, and of the
	// making of the artifact, each. Default 60s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +kubebuilder:default="60s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Ignore are patterns, as in a .gitignore, of files that are left out of
	// the artifact, after those of the .sourceignore files in it. It is not
	// read when a layer is copied.
	// +optional
	Ignore *string `json:"ignore,omitempty"`

	// Insecure allows plain HTTP, and TLS with an unknown certificate unless
	// certSecretRef is set. Default false.
	// +optional
	Insecure bool `json:"insecure,omitempty"`

	// Suspend stops new reconciles. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// OCIRepositoryRef is what to pull. Of several fields that are set one decides:
// digest, then semver, then tag.
type OCIRepositoryRef struct {
	// Digest of the manifest, as algorithm:hex.
	// +optional
	Digest string `json:"digest,omitempty"`

	// SemVer is a range of versions; the highest tag in it is pulled.
	// +optional
	SemVer string `json:"semver,omitempty"`

	// SemverFilter is a regular expression that tags have to match to be
	// compared with the range.
	// +optional
	SemverFilter string `json:"semverFilter,omitempty"`

	// Tag to pull.
	// +optional
	Tag string `json:"tag,omitempty"`
}

// OCILayerSelector picks one layer of an OCI artifact.
type OCILayerSelector struct {
	// MediaType of the layer; the first layer of this type is taken. When
	// unset, the first layer.
	// +optional
	MediaType string `json:"mediaType,omitempty"`

	// Operation on the layer: extract unpacks it, copy takes it as it is.
	// Default extract.
	// +kubebuilder:validation:Enum=extract;copy
	// +optional
	Operation string `json:"operation,omitempty"`
}

// OCIRepositoryVerification says which signature has to be there.
type OCIRepositoryVerification struct {
	// Provider is the tool that signed.
	// +kubebuilder:validation:Enum=cosign;notation
	// +kubebuilder:default=cosign
	// +required
	Provider string `json:"provider"`

	// SecretRef names the Secret with what to trust. cosign: public keys under
	// keys that end in .pub, of which one has to fit; when unset, signatures
	// are keyless. notation: trustpolicy.json, and certificates under keys
	// that end in .crt or .pem.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// MatchOIDCIdentity lists the identities that may have signed without a
	// key, of which one has to fit. Without any, anybody may have signed, and
	// SourceVerified says so. For cosign alone.
	// +optional
	MatchOIDCIdentity []OIDCIdentityMatch `json:"matchOIDCIdentity,omitempty"`

	// TrustedRootSecretRef names the Secret with the roots of a Sigstore of
	// one's own, under the key trusted_root.json. For keyless cosign alone.
	// +optional
	TrustedRootSecretRef *meta.LocalObjectReference `json:"trustedRootSecretRef,omitempty"`
}

// OIDCIdentityMatch picks the signers of keyless signatures.
type OIDCIdentityMatch struct {
	// Issuer is a regular expression for the issuer of the signer's token.
	// +required
	Issuer string `json:"issuer"`

	// Subject is a regular expression for the subject of the signer's token.
	// +required
	Subject string `json:"subject"`
}

// OCIRepositoryStatus says how an OCIRepository is doing.
type OCIRepositoryStatus struct {
	meta.Status `json:",inline"`

	// URL at which the newest artifact can always be fetched.
	// +optional
	URL string `json:"url,omitempty"`

	// Artifact that is served now.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`

	// ObservedIgnore is the spec.ignore that the artifact was made with.
	// +optional
	ObservedIgnore *string `json:"observedIgnore,omitempty"`

	// ObservedLayerSelector is the spec.layerSelector that the artifact was
	// made with.
	// +optional
	ObservedLayerSelector *OCILayerSelector `json:"observedLayerSelector,omitempty"`

	// ObservedVerification is the digest of spec.verify, with the content of
	// its Secrets, that the artifact's signature was checked with.
	// +optional
	ObservedVerification string `json:"observedVerification,omitempty"`
}

// OCIRepository makes an artifact of one state of an OCI repository.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=source-controller","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName=ocirepo,categories={all,fluxcd,fluxcd-sources}
// +kubebuilder:printcolumn:name="URL",type="string",JSONPath=".spec.url"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type OCIRepository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what to pull.
	Spec OCIRepositorySpec `json:"spec,omitempty"`

	// Status says what was pulled.
	// +kubebuilder:default={"observedGeneration":-1}
	Status OCIRepositoryStatus `json:"status,omitempty"`
}

// OCIRepositoryList is a list of OCIRepositories.
//
// +kubebuilder:object:root=true
type OCIRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []OCIRepository `json:"items"`
}

// CommonStatus is the part of the status that all kinds share.
func (in *OCIRepository) CommonStatus() *meta.Status { return &in.Status.Status }

// Suspended says whether spec.suspend holds.
func (in *OCIRepository) Suspended() bool { return in.Spec.Suspend }

// Interval is the time between two looks at the repository.
func (in *OCIRepository) Interval() time.Duration { return in.Spec.Interval.Duration }

// RetryInterval is zero: failures are retried with the controller's backoff.
func (in *OCIRepository) RetryInterval() time.Duration { return 0 }

// Timeout is the time limit of one run.
func (in *OCIRepository) Timeout() time.Duration { return timeoutOf(in.Spec.Timeout) }

// GetArtifact returns the artifact that is served now, nil for none.
func (in *OCIRepository) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// SetArtifact notes the artifact that is served from now on.
func (in *OCIRepository) SetArtifact(artifact *meta.Artifact) { in.Status.Artifact = artifact }

// SetLatestURL notes where the newest artifact can always be fetched.
func (in *OCIRepository) SetLatestURL(url string) { in.Status.URL = url }
