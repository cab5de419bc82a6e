package meta

// AccessFrom says from which other namespaces an object may be referred to.
type AccessFrom struct {
	// NamespaceSelectors is a list of which one has to match the namespace. An
	// empty item matches every namespace; an empty list matches none.
	// +required
	NamespaceSelectors []NamespaceSelector `json:"namespaceSelectors"`
}

// NamespaceSelector matches namespaces by their labels.
type NamespaceSelector struct {
	// MatchLabels have all to be on the namespace.
	// +optional
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
}
