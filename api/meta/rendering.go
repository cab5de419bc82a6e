package meta

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// CommonMetadata is put on every object that is applied.
type CommonMetadata struct {
	// Annotations to add; they win over those of the same key.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// Labels to add; they win over those of the same key.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
}

// Selector picks objects. Each field that is set has to match; name, namespace,
// group, version and kind are regular expressions over the whole value.
type Selector struct {
	// Group of the API.
	// +optional
	Group string `json:"group,omitempty"`

	// Version of the API.
	// +optional
	Version string `json:"version,omitempty"`

	// Kind of the object.
	// +optional
	Kind string `json:"kind,omitempty"`

	// Namespace of the object.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Name of the object.
	// +optional
	Name string `json:"name,omitempty"`

	// AnnotationSelector is a label selector expression over the annotations,
	// such as "tier=web,!legacy".
	// +optional
	AnnotationSelector string `json:"annotationSelector,omitempty"`

	// LabelSelector is a label selector expression, such as "tier in (web, api)".
	// +optional
	LabelSelector string `json:"labelSelector,omitempty"`
}

// Patch changes rendered objects.
type Patch struct {
	// Patch is a strategic merge patch, or a list of JSON 6902 operations, as
	// YAML text.
	// +required
	Patch string `json:"patch"`

	// Target says which objects are patched. When unset, the patch itself
	// names the one object that it is for.
	// +optional
	Target *Selector `json:"target,omitempty"`
}

// JSON6902Patch is a list of operations for the objects that a selector picks.
type JSON6902Patch struct {
	// Patch is the list of operations, in order.
	// +required
	Patch []JSON6902 `json:"patch"`

	// Target says which objects are patched.
	// +required
	Target Selector `json:"target"`
}

// JSON6902 is one operation of RFC 6902.
type JSON6902 struct {
	// Op is the operation.
	// +kubebuilder:validation:Enum=test;remove;add;replace;move;copy
	// +required
	Op string `json:"op"`

	// Path is the JSON pointer to the place that the operation acts on.
	// +required
	Path string `json:"path"`

	// From is the JSON pointer that move and copy read.
	// +optional
	From string `json:"from,omitempty"`

	// Value for test, add and replace.
	// +optional
	Value *apiextensionsv1.JSON `json:"value,omitempty"`
}

// Image replaces the name, tag or digest of an image wherever it is used.
type Image struct {
	// Name of the image, without tag and digest.
	// +required
	Name string `json:"name"`

	// NewName takes the place of the name.
	// +optional
	NewName string `json:"newName,omitempty"`

	// NewTag takes the place of the tag.
	// +optional
	NewTag string `json:"newTag,omitempty"`

	// Digest takes the place of the tag; it wins over newTag.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// CustomHealthCheck says how the health of custom resources is told, in CEL
// over the object's fields. The expressions are asked in the order
// inProgress, failed, current; an object for which none is true is in progress.
type CustomHealthCheck struct {
	// APIVersion of the objects; its group alone is compared.
	// +required
	APIVersion string `json:"apiVersion"`

	// Kind of the objects; all kinds of the group when unset.
	// +optional
	Kind string `json:"kind,omitempty"`

	HealthCheckExpressions `json:",inline"`
}

// HealthCheckExpressions are the CEL expressions of a CustomHealthCheck.
type HealthCheckExpressions struct {
	// InProgress is true while the object has not arrived yet.
	// +optional
	InProgress string `json:"inProgress,omitempty"`

	// Failed is true when the object will not arrive.
	// +optional
	Failed string `json:"failed,omitempty"`

	// Current is true when the object has arrived.
	// +required
	Current string `json:"current"`
}

// IgnoreRule leaves fields of objects to others: they are neither compared nor
// applied.
type IgnoreRule struct {
	// Paths are the JSON pointers (RFC 6901) of the fields.
	// +required
	Paths []string `json:"paths"`

	// Target says for which objects the rule is; all of them when unset.
	// +optional
	Target *Selector `json:"target,omitempty"`
}
