package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// ImageUpdateAutomationKind is the kind of an ImageUpdateAutomation.
const ImageUpdateAutomationKind = "ImageUpdateAutomation"

// UpdateStrategyName names a way to write images into files.
//
// +kubebuilder:validation:Enum=Setters
type UpdateStrategyName string

// UpdateStrategySetters writes where a comment names an ImagePolicy.
const UpdateStrategySetters UpdateStrategyName = "Setters"

// SigningKeyType is the kind of key that signs commits.
//
// +kubebuilder:validation:Enum=gpg;ssh
type SigningKeyType string

// Values of SigningKey.Type.
const (
	SigningKeyTypeGPG SigningKeyType = "gpg"
	SigningKeyTypeSSH SigningKeyType = "ssh"
)

// ImageUpdateAutomationSpec says which files are kept up to date, and how.
type ImageUpdateAutomationSpec struct {
	// SourceRef names the GitRepository with the files.
	// +required
	SourceRef CrossNamespaceSourceReference `json:"sourceRef"`

	// GitSpec says what is checked out, committed and pushed. The schema does
	// not ask for it, the automation does.
	// +optional
	GitSpec *GitSpec `json:"git,omitempty"`

	// Interval is the longest time between two runs. A change of a policy's
	// image or of the GitRepository wakes the automation before.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval metav1.Duration `json:"interval"`

	// PolicySelector picks the ImagePolicies whose images are written, in the
	// same namespace. When unset, all of them.
	// +optional
	PolicySelector *metav1.LabelSelector `json:"policySelector,omitempty"`

	// Update says where and how images are written.
	// +kubebuilder:default={"strategy":"Setters"}
	// +optional
	Update *UpdateStrategy `json:"update,omitempty"`

	// Suspend stops new runs. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// CrossNamespaceSourceReference names the source of the files.
type CrossNamespaceSourceReference struct {
	// APIVersion of the source; the current one when unset.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the source.
	// +kubebuilder:validation:Enum=GitRepository
	// +kubebuilder:default=GitRepository
	// +required
	Kind string `json:"kind"`

	// Name of the source.
	// +required
	Name string `json:"name"`

	// Namespace of the source; the referring object's own when unset.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// UpdateStrategy says where and how images are written.
type UpdateStrategy struct {
	// Strategy of writing: Setters writes where a comment names an
	// ImagePolicy. Default Setters.
	// +kubebuilder:default=Setters
	// +optional
	Strategy UpdateStrategyName `json:"strategy,omitempty"`

	// Path of the directory whose files are looked at. Default: the root.
	// +optional
	Path string `json:"path,omitempty"`
}

// GitSpec says what is checked out, committed and pushed.
type GitSpec struct {
	// Checkout is what is checked out. Default: the reference of the
	// GitRepository.
	// +optional
	Checkout *GitCheckoutSpec `json:"checkout,omitempty"`

	// Commit says what commits look like.
	// +required
	Commit CommitSpec `json:"commit"`

	// Push says where commits go. Default: to the branch that is checked out.
	// +optional
	Push *PushSpec `json:"push,omitempty"`
}

// GitCheckoutSpec says what is checked out.
type GitCheckoutSpec struct {
	// Reference to check out.
	// +required
	Reference sourcev1.GitRepositoryRef `json:"ref"`
}

// CommitSpec says what commits look like.
type CommitSpec struct {
	// Author of the commits.
	// +required
	Author CommitUser `json:"author"`

	// SigningKey signs the commits. When unset, they are not signed.
	// +optional
	SigningKey *SigningKey `json:"signingKey,omitempty"`

	// MessageTemplate is the commit message, as a Go template over
	// .AutomationObject, .Changed, .Updated and .Values. Default: Update from
	// image update automation.
	// +optional
	MessageTemplate string `json:"messageTemplate,omitempty"`

	// MessageTemplateValues are .Values in the template.
	// +optional
	MessageTemplateValues map[string]string `json:"messageTemplateValues,omitempty"`
}

// CommitUser is the author of a commit.
type CommitUser struct {
	// Name of the author.
	// +optional
	Name string `json:"name,omitempty"`

	// Email of the author.
	// +required
	Email string `json:"email"`
}

// SigningKey says which key signs commits.
type SigningKey struct {
	// SecretRef names the Secret with the key. gpg: git.asc, and passphrase
	// when the key has one. ssh: identity, and password when the key has one.
	// +required
	SecretRef meta.LocalObjectReference `json:"secretRef"`

	// Type of the key. Default: what the Secret has.
	// +optional
	Type SigningKeyType `json:"type,omitempty"`
}

// PushSpec says where commits go. With branch and refspec both set, they go to
// both.
type PushSpec struct {
	// Branch to push to. One that does not exist is made; one that is not
	// checked out is reset to what was checked out.
	// +optional
	Branch string `json:"branch,omitempty"`

	// Refspec to push with. It may begin with neither + nor a colon.
	// +optional
	Refspec string `json:"refspec,omitempty"`

	// Options that the Git server is given along with the push.
	// +optional
	Options map[string]string `json:"options,omitempty"`
}

// ObservedPolicies are images by the names of their ImagePolicies.
type ObservedPolicies map[string]ImageRef

// ImageUpdateAutomationStatus says what was written last.
type ImageUpdateAutomationStatus struct {
	meta.Status `json:",inline"`

	// LastAutomationRunTime is when files were last looked at.
	// +optional
	LastAutomationRunTime *metav1.Time `json:"lastAutomationRunTime,omitempty"`

	// LastPushCommit is the hash of the last commit that was pushed.
	// +optional
	LastPushCommit string `json:"lastPushCommit,omitempty"`

	// LastPushTime is when that commit was pushed.
	// +optional
	LastPushTime *metav1.Time `json:"lastPushTime,omitempty"`

	// ObservedPolicies are the images that were in force at the last run.
	// +optional
	ObservedPolicies ObservedPolicies `json:"observedPolicies,omitempty"`

	// ObservedSourceRevision is the revision that the last run started from.
	// +optional
	ObservedSourceRevision string `json:"observedSourceRevision,omitempty"`

	// Skipped are the first markers and files that the last run passed over,
	// each with its place and the reason. Flux has no such field.
	// +optional
	Skipped []string `json:"skipped,omitempty"`
}

// ImageUpdateAutomation writes the images that ImagePolicies choose into Git.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=image-automation-controller","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName={iua,imgupd,imgauto},categories={all,fluxcd,fluxcd-images}
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
// +kubebuilder:printcolumn:name="Last run",type="string",JSONPath=".status.lastAutomationRunTime",priority=1
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type ImageUpdateAutomation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what to write.
	Spec ImageUpdateAutomationSpec `json:"spec,omitempty"`

	// Status says what was written.
	// +kubebuilder:default={"observedGeneration":-1}
	Status ImageUpdateAutomationStatus `json:"status,omitempty"`
}

// ImageUpdateAutomationList is a list of ImageUpdateAutomations.
//
// +kubebuilder:object:root=true
type ImageUpdateAutomationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []ImageUpdateAutomation `json:"items"`
}

// CommonStatus is the part of the status that all kinds share.
func (in *ImageUpdateAutomation) CommonStatus() *meta.Status { return &in.Status.Status }

// Suspended says whether spec.suspend holds.
func (in *ImageUpdateAutomation) Suspended() bool { return in.Spec.Suspend }

// Interval is the longest time between two runs.
func (in *ImageUpdateAutomation) Interval() time.Duration { return in.Spec.Interval.Duration }

// RetryInterval is zero: failures are retried with the controller's backoff.
func (in *ImageUpdateAutomation) RetryInterval() time.Duration { return 0 }
