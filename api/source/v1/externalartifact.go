package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// ExternalArtifactKind is the kind of an ExternalArtifact.
const ExternalArtifactKind = "ExternalArtifact"

// ExternalArtifactSpec says who makes the artifact.
type ExternalArtifactSpec struct {
	// SourceRef names the object that the artifact comes from, in the same
	// namespace when it names none. It is for people: nothing reads it.
	// +optional
	SourceRef *meta.NamespacedObjectKindReference `json:"sourceRef,omitempty"`
}

// ExternalArtifactStatus says which artifact there is.
type ExternalArtifactStatus struct {
	// Artifact that is served now, by whoever wrote it.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`

	// Conditions of the artifact. It is used while Ready is True.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ExternalArtifact is an artifact that another program makes and serves.
// The hub has no controller for it.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=source-controller","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName=ea,categories={all,fluxcd,fluxcd-sources}
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status"
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message"
// +kubebuilder:printcolumn:name="Source",type="string",JSONPath=".spec.sourceRef.name"
type ExternalArtifact struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says where the artifact comes from.
	Spec ExternalArtifactSpec `json:"spec,omitempty"`

	// Status says which artifact there is.
	Status ExternalArtifactStatus `json:"status,omitempty"`
}

// ExternalArtifactList is a list of ExternalArtifacts.
//
// +kubebuilder:object:root=true
type ExternalArtifactList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []ExternalArtifact `json:"items"`
}

// GetArtifact returns the artifact that is served now, nil for none.
func (in *ExternalArtifact) GetArtifact() *meta.Artifact { return in.Status.Artifact }
