package meta

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Artifact is the output of a source: one immutable file that the hub serves.
type Artifact struct {
	// Path of the file below the root of the artifact server.
	// +required
	Path string `json:"path"`

	// URL at which the file can be fetched.
	// +required
	URL string `json:"url"`

	// Revision is what the source calls this state: a commit, a digest, a
	// chart version.
	// +required
	Revision string `json:"revision"`

	// Digest of the file, as algorithm:hex.
	// +kubebuilder:validation:Pattern="^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$"
	// +required
	Digest string `json:"digest"`

	// LastUpdateTime is when the file was published.
	// +required
	LastUpdateTime metav1.Time `json:"lastUpdateTime"`

	// Size of the file in bytes.
	// +optional
	Size *int64 `json:"size,omitempty"`

	// Metadata of the upstream, such as OCI annotations.
	// +optional
	Metadata map[string]string `json:"metadata,omitempty"`
}
