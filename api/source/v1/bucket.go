package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// BucketKind is the kind of a Bucket.
const BucketKind = "Bucket"

// Values of BucketSpec.Provider; an empty one means generic.
const (
	BucketProviderGeneric = "generic"
	BucketProviderAmazon  = "aws"
	BucketProviderGoogle  = "gcp"
	BucketProviderAzure   = "azure"
)

// Values of BucketSTSSpec.Provider.
const (
	STSProviderAmazon = "aws"
	STSProviderLDAP   = "ldap"
)

// BucketSpec says which objects of a bucket become the artifact.
//
// +kubebuilder:validation:XValidation:rule="self.provider == 'aws' || self.provider == 'generic' || !has(self.sts)", message="STS configuration is only supported for the 'aws' and 'generic' Bucket providers"
// +kubebuilder:validation:XValidation:rule="self.provider != 'aws' || !has(self.sts) || self.sts.provider == 'aws'", message="'aws' is the only supported STS provider for the 'aws' Bucket provider"
// +kubebuilder:validation:XValidation:rule="self.provider != 'generic' || !has(self.sts) || self.sts.provider == 'ldap'", message="'ldap' is the only supported STS provider for the 'generic' Bucket provider"
// +kubebuilder:validation:XValidation:rule="!has(self.sts) || self.sts.provider != 'aws' || !has(self.sts.secretRef)", message="spec.sts.secretRef is not required for the 'aws' STS provider"
// +kubebuilder:validation:XValidation:rule="!has(self.sts) || self.sts.provider != 'aws' || !has(self.sts.certSecretRef)", message="spec.sts.certSecretRef is not required for the 'aws' STS provider"
// +kubebuilder:validation:XValidation:rule="self.provider != 'generic' || !has(self.serviceAccountName)", message="ServiceAccountName is not supported for the 'generic' Bucket provider"
// +kubebuilder:validation:XValidation:rule="!has(self.secretRef) || !has(self.serviceAccountName)", message="cannot set both .spec.secretRef and .spec.serviceAccountName"
type BucketSpec struct {
	// Provider of the bucket: anything that speaks S3 (generic), or a cloud's
	// own store. Default generic.
	// +kubebuilder:validation:Enum=generic;aws;gcp;azure
	// +kubebuilder:default=generic
	// +optional
	Provider string `json:"provider,omitempty"`

	// BucketName is the name of the bucket.
	// +required
	BucketName string `json:"bucketName"`

	// Endpoint is the host, with the port where it is not the usual one, at
	// which the bucket is.
	// +required
	Endpoint string `json:"endpoint"`

	// STS says where temporary credentials come from. Only for the providers
	// aws and generic. When unset, none are asked for.
	// +optional
	STS *BucketSTSSpec `json:"sts,omitempty"`

	// Insecure allows plain HTTP. Default false.
	// +optional
	Insecure bool `json:"insecure,omitempty"`

	// Region of the bucket.
	// +optional
	Region string `json:"region,omitempty"`

	// Prefix that the keys of objects have to begin with.
	// +optional
	Prefix string `json:"prefix,omitempty"`

	// SecretRef names the Secret with the credentials. generic and aws:
	// accesskey and secretkey. gcp: serviceaccount. azure: tenantId, clientId
	// and clientSecret or clientCertificate; or accountKey; or sasKey.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// ServiceAccountName is the ServiceAccount whose workload identity logs
	// in. Not for the provider generic, and not beside secretRef.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// CertSecretRef names the Secret for TLS with the endpoint: ca.crt to
	// trust, tls.crt and tls.key to show.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// ProxySecretRef names the Secret with the proxy to go through: address,
	// and username and password where it wants them.
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// Interval between two looks at the bucket, with a little jitter.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval metav1.Duration `json:"interval"`

	// Timeout of one look at the bucket, of the download that follows, and of the
	// making of the artifact, each. Default 60s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +kubebuilder:default="60s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Ignore are patterns, as in a .gitignore, of objects that are not
	// fetched, after those of the .sourceignore at the root of the bucket.
	// +optional
	Ignore *string `json:"ignore,omitempty"`

	// Suspend stops new reconciles. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// AccessFrom is from v1beta2 and before, where it was never enforced. It is
	// accepted and has no effect.
	// +optional
	AccessFrom *meta.AccessFrom `json:"accessFrom,omitempty"`
}

// BucketSTSSpec says where temporary credentials come from.
type BucketSTSSpec struct {
	// Provider of the credentials: aws for buckets of the provider aws, ldap
	// for those of the provider generic.
	// +kubebuilder:validation:Enum=aws;ldap
	// +required
	Provider string `json:"provider"`

	// Endpoint is the URL of the service, http or https.
	// +kubebuilder:validation:Pattern="^(http|https)://.*$"
	// +required
	Endpoint string `json:"endpoint"`

	// SecretRef names the Secret with username and password. Not for aws.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// CertSecretRef names the Secret for TLS with the service: ca.crt to
	// trust, tls.crt and tls.key to show. Not for aws.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`
}

// BucketStatus says how a Bucket is doing.
type BucketStatus struct {
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
}

// Bucket makes an artifact of the objects in a bucket.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=source-controller","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:categories={all,fluxcd,fluxcd-sources}
// +kubebuilder:printcolumn:name="Endpoint",type="string",JSONPath=".spec.endpoint"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
type Bucket struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which objects to fetch.
	Spec BucketSpec `json:"spec,omitempty"`

	// Status says what was fetched.
	// +kubebuilder:default={"observedGeneration":-1}
	Status BucketStatus `json:"status,omitempty"`
}

// BucketList is a list of Buckets.
//
// +kubebuilder:object:root=true
type BucketList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []Bucket `json:"items"`
}

// CommonStatus is the part of the status that all kinds share.
func (in *Bucket) CommonStatus() *meta.Status { return &in.Status.Status }

// Suspended says whether spec.suspend holds.
func (in *Bucket) Suspended() bool { return in.Spec.Suspend }

// Interval is the time between two looks at the bucket.
func (in *Bucket) Interval() time.Duration { return in.Spec.Interval.Duration }

// RetryInterval is zero: failures are retried with the controller's backoff.
func (in *Bucket) RetryInterval() time.Duration { return 0 }

// Timeout is the time limit of one run.
func (in *Bucket) Timeout() time.Duration { return timeoutOf(in.Spec.Timeout) }

// GetArtifact returns the artifact that is served now, nil for none.
func (in *Bucket) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// SetArtifact notes the artifact that is served from now on.
func (in *Bucket) SetArtifact(artifact *meta.Artifact) { in.Status.Artifact = artifact }

// SetLatestURL notes where the newest artifact can always be fetched.
func (in *Bucket) SetLatestURL(url string) { in.Status.URL = url }
