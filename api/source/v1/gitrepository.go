package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// GitRepositoryKind is the kind of a GitRepository.
const GitRepositoryKind = "GitRepository"

// Values of GitRepositorySpec.Provider; an empty one means generic.
const (
	GitProviderGeneric = "generic"
	GitProviderAWS     = "aws"
	GitProviderAzure   = "azure"
	GitProviderGitHub  = "github"
)

// GitVerificationMode says which Git objects carry the signatures to check.
type GitVerificationMode string

// Values of GitRepositoryVerification.Mode.
const (
	// ModeGitHEAD checks the commit that the reference resolves to.
	ModeGitHEAD GitVerificationMode = "HEAD"
	// ModeGitTag checks the tag that the reference names.
	ModeGitTag GitVerificationMode = "Tag"
	// ModeGitTagAndHEAD checks the tag and the commit that it points to.
	ModeGitTagAndHEAD GitVerificationMode = "TagAndHEAD"
)

// GitRepositorySpec says which state of a Git repository becomes the artifact.
//
// +kubebuilder:validation:XValidation:rule="!has(self.serviceAccountName) || (has(self.provider) && (self.provider == 'azure' || self.provider == 'aws'))",message="serviceAccountName can only be set when provider is 'azure' or 'aws'"
type GitRepositorySpec struct {
	// URL of the repository: http, https or ssh. The form user@host:path is
	// not understood; write ssh://user@host/path.
	// +kubebuilder:validation:Pattern="^(http|https|ssh)://.*$"
	// +required
	URL string `json:"url"`

	// SecretRef names the Secret with the credentials. For http and https:
	// username and password, or bearerToken, and ca.crt, tls.crt and tls.key
	// for TLS. For ssh: identity and known_hosts, and password when the key
	// has a passphrase. For a GitHub App: githubAppID,
	// githubAppInstallationID or githubAppInstallationOwner, and
	// githubAppPrivateKey.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// Provider of credentials other than those of the Secret: a cloud's
	// workload identity, or a GitHub App. When unset, generic: the Secret
	// alone.
	// +kubebuilder:validation:Enum=generic;aws;azure;github
	// +optional
	Provider string `json:"provider,omitempty"`

	// ServiceAccountName is the ServiceAccount whose workload identity logs
	// in. Only for the providers aws and azure; when unset, the hub's own.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// Interval between two looks at the repository, with a little jitter.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval metav1.Duration `json:"interval"`

	// Timeout of one look at the repository, of the clone that follows, and of the
	// making of the artifact, each. Default 60s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +kubebuilder:default="60s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Reference to resolve. Default: the branch master.
	// +optional
	Reference *GitRepositoryRef `json:"ref,omitempty"`

	// Verification of signatures. When unset, none are asked for.
	// +optional
	Verification *GitRepositoryVerification `json:"verify,omitempty"`

	// ProxySecretRef names the Secret with the proxy to go through: address,
	// and username and password where it wants them. Only for http and https.
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// Ignore are patterns, as in a .gitignore, of files that are left out of
	// the artifact. They come after those of the .sourceignore files in the
	// repository. When neither exists, the usual clutter is left out.
	// +optional
	Ignore *string `json:"ignore,omitempty"`

	// Suspend stops new reconciles. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// RecurseSubmodules clones submodules as well: those on the host of url with
	// the same credentials, others without. Default false.
	// +optional
	RecurseSubmodules bool `json:"recurseSubmodules,omitempty"`

	// Include puts content of other GitRepositories into this artifact.
	// +optional
	Include []GitRepositoryInclude `json:"include,omitempty"`

	// SparseCheckout lists the directories to check out. Each of them has to
	// exist. When empty, all.
	// +optional
	SparseCheckout []string `json:"sparseCheckout,omitempty"`

	// GitImplementation chose a Git library in v1beta2 and before. It is
	// accepted and has no effect.
	// +kubebuilder:validation:Enum=go-git;libgit2
	// +optional
	GitImplementation string `json:"gitImplementation,omitempty"`

	// AccessFrom is from v1beta2 and before, where it was never enforced. It is
	// accepted and has no effect.
	// +optional
	AccessFrom *meta.AccessFrom `json:"accessFrom,omitempty"`
}

// GitRepositoryInclude puts content of another GitRepository's artifact into
// this one.
type GitRepositoryInclude struct {
	// GitRepositoryRef names the GitRepository, in the same namespace.
	// +required
	GitRepositoryRef meta.LocalObjectReference `json:"repository"`

	// FromPath is the directory to copy. Default: the root of its artifact.
	// +optional
	FromPath string `json:"fromPath,omitempty"`

	// ToPath is the directory to copy to. Default: the name of the
	// GitRepository.
	// +optional
	ToPath string `json:"toPath,omitempty"`
}

// GitRepositoryRef is what to resolve to a commit. Of several fields that are
// set one decides: commit, then name, semver, tag, branch.
type GitRepositoryRef struct {
	// Branch to follow.
	// +optional
	Branch string `json:"branch,omitempty"`

	// Tag to check out.
	// +optional
	Tag string `json:"tag,omitempty"`

	// SemVer is a range of versions, such as ">=1.2.0 <2.0.0"; the highest tag
	// in it is checked out.
	// +optional
	SemVer string `json:"semver,omitempty"`

	// Name of any reference, such as refs/pull/420/head.
	// +optional
	Name string `json:"name,omitempty"`

	// Commit is a full hash. Branch, when set as well, is where it is looked for
	// if the server does not give it out by itself; that the commit is on it is
	// not checked otherwise.
	// +optional
	Commit string `json:"commit,omitempty"`
}

// GitRepositoryVerification says which signatures have to be there.
type GitRepositoryVerification struct {
	// Mode says which Git objects are checked. The value head means HEAD.
	// +kubebuilder:validation:Enum=head;HEAD;Tag;TagAndHEAD
	// +kubebuilder:default=HEAD
	// +optional
	Mode GitVerificationMode `json:"mode,omitempty"`

	// SecretRef names the Secret with the public keys of the trusted authors:
	// OpenPGP keys under keys that end in .asc, SSH keys under keys that end
	// in .sshpub.
	// +required
	SecretRef meta.LocalObjectReference `json:"secretRef"`
}

// GitRepositoryStatus says how a GitRepository is doing.
type GitRepositoryStatus struct {
	meta.Status `json:",inline"`

	// Artifact that is served now.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`

	// IncludedArtifacts are the artifacts that were copied into this one, in
	// the order of spec.include.
	// +optional
	IncludedArtifacts []*meta.Artifact `json:"includedArtifacts,omitempty"`

	// ObservedIgnore is the spec.ignore that the artifact was made with.
	// +optional
	ObservedIgnore *string `json:"observedIgnore,omitempty"`

	// ObservedRecurseSubmodules is the spec.recurseSubmodules that the
	// artifact was made with.
	// +optional
	ObservedRecurseSubmodules bool `json:"observedRecurseSubmodules,omitempty"`

	// ObservedInclude is the spec.include that the artifact was made with.
	// +optional
	ObservedInclude []GitRepositoryInclude `json:"observedInclude,omitempty"`

	// ObservedSparseCheckout is the spec.sparseCheckout that the artifact was
	// made with.
	// +optional
	ObservedSparseCheckout []string `json:"observedSparseCheckout,omitempty"`

	// SourceVerificationMode is the mode of the last verification.
	// +optional
	SourceVerificationMode *GitVerificationMode `json:"sourceVerificationMode,omitempty"`
}

// GitRepository makes an artifact of one state of a Git repository.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=source-controller","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName=gitrepo,categories={all,fluxcd,fluxcd-sources}
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
type GitRepository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what to fetch.
	Spec GitRepositorySpec `json:"spec,omitempty"`

	// Status says what was fetched.
	// +kubebuilder:default={"observedGeneration":-1}
	Status GitRepositoryStatus `json:"status,omitempty"`
}

// GitRepositoryList is a list of GitRepositories.
//
// +kubebuilder:object:root=true
type GitRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []GitRepository `json:"items"`
}

// CommonStatus is the part of the status that all kinds share.
func (in *GitRepository) CommonStatus() *meta.Status { return &in.Status.Status }

// Suspended says whether spec.suspend holds.
func (in *GitRepository) Suspended() bool { return in.Spec.Suspend }

// Interval is the time between two looks at the repository.
func (in *GitRepository) Interval() time.Duration { return in.Spec.Interval.Duration }

// RetryInterval is zero: failures are retried with the controller's backoff.
func (in *GitRepository) RetryInterval() time.Duration { return 0 }

// Timeout is the time limit of one look at the repository.
func (in *GitRepository) Timeout() time.Duration { return timeoutOf(in.Spec.Timeout) }

// GetArtifact returns the artifact that is served now, nil for none.
func (in *GitRepository) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// SetArtifact notes the artifact that is served from now on.
func (in *GitRepository) SetArtifact(artifact *meta.Artifact) { in.Status.Artifact = artifact }
