package v1

import (
	"github.com/headwater-dev/headwater/api/meta"
)

// Values of PostBuild.SubstituteStrategy; an empty one means WithVariables.
const (
	SubstituteStrategyWithVariables = "WithVariables"
	SubstituteStrategyAlways        = "Always"
)

// BuildMetadataOption names annotations that kustomize can put on objects.
//
// +kubebuilder:validation:Enum=originAnnotations;transformerAnnotations
type BuildMetadataOption string

// Decryption says how encrypted files and Secrets are opened.
type Decryption struct {
	// Provider of the encryption.
	// +kubebuilder:validation:Enum=sops
	// +required
	Provider string `json:"provider"`

	// SecretRef names the Secret with the keys: *.asc for OpenPGP, *.agekey
	// for age, and sops.vault-token, sops.aws-kms, sops.azure-kv and
	// sops.gcp-kms for key services. They win over serviceAccountName.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// ServiceAccountName is the ServiceAccount whose workload identity logs in
	// at a cloud's key service.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
}

// PostBuild changes the text of the rendered objects.
type PostBuild struct {
	// Substitute are variables: ${name} in an object becomes the value. They
	// win over substituteFrom.
	// +optional
	Substitute map[string]string `json:"substitute,omitempty"`

	// SubstituteFrom are ConfigMaps and Secrets whose keys are variables. Of
	// the same variable in several the last one counts.
	// +optional
	SubstituteFrom []SubstituteReference `json:"substituteFrom,omitempty"`

	// SubstituteStrategy says when substitution takes place. WithVariables:
	// when there is at least one variable. Always: also when there is none, so
	// that defaults in the text are filled in. Default WithVariables.
	// +kubebuilder:validation:Enum=WithVariables;Always
	// +optional
	SubstituteStrategy string `json:"substituteStrategy,omitempty"`
}

// SubstituteReference names a ConfigMap or Secret of variables, in the
// Kustomization's namespace.
type SubstituteReference struct {
	// Kind of the referent.
	// +kubebuilder:validation:Enum=Secret;ConfigMap
	// +required
	Kind string `json:"kind"`

	// Name of the referent.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// Optional takes an absent referent for an empty one.
	// +kubebuilder:default=false
	// +optional
	Optional bool `json:"optional,omitempty"`
}
