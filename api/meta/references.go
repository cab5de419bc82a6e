package meta

// LocalObjectReference names an object in the same namespace.
type LocalObjectReference struct {
	// Name of the referent.
	// +required
	Name string `json:"name"`
}

// NamespacedObjectReference names an object, by default in the namespace of
// the object that refers to it.
type NamespacedObjectReference struct {
	// Name of the referent.
	// +required
	Name string `json:"name"`

	// Namespace of the referent; the referring object's own when unset.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// NamespacedObjectKindReference names an object of any kind in any namespace.
type NamespacedObjectKindReference struct {
	// APIVersion of the referent, as group/version. What an empty one means is
	// up to the field that holds the reference.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the referent.
	// +required
	Kind string `json:"kind"`

	// Name of the referent.
	// +required
	Name string `json:"name"`

	// Namespace of the referent. What an empty one means is up to the field
	// that holds the reference.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// DependencyReference names an object of the same kind that has to be ready
// first.
type DependencyReference struct {
	// Name of the referent.
	// +required
	Name string `json:"name"`

	// Namespace of the referent; the referring object's own when unset.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// ReadyExpr is a CEL expression over self (the referring object) and dep
	// (the referent) that takes the place of the usual readiness check.
	// +optional
	ReadyExpr string `json:"readyExpr,omitempty"`
}

// SecretKeyReference names a Secret in the same namespace and, optionally, one
// of its keys.
type SecretKeyReference struct {
	// Name of the Secret.
	// +required
	Name string `json:"name"`

	// Key in the Secret. When unset, the consumer's own default applies.
	// +optional
	Key string `json:"key,omitempty"`
}

// KubeConfigReference says how a target cluster is reached.
//
// +kubebuilder:validation:XValidation:rule="has(self.configMapRef) || has(self.secretRef)", message="exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"
// +kubebuilder:validation:XValidation:rule="!has(self.configMapRef) || !has(self.secretRef)", message="exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"
type KubeConfigReference struct {
	// ConfigMapRef names a ConfigMap that says how to authenticate with the
	// cloud's workload identity. Its keys are provider, cluster, address,
	// ca.crt, audiences and serviceAccountName.
	// +optional
	ConfigMapRef *LocalObjectReference `json:"configMapRef,omitempty"`

	// SecretRef names a Secret that holds a kubeconfig. When the key is unset,
	// value is read, then value.yaml.
	// +optional
	SecretRef *SecretKeyReference `json:"secretRef,omitempty"`
}
