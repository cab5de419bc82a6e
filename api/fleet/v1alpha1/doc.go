// Package v1alpha1 holds the kinds of the group fleet.headwater.dev: the
// clusters of a fleet and the agents that act for them. They are Headwater's
// own; Flux knows nothing of them.
//
// It never holds logic beyond accessors.
//
// +kubebuilder:object:generate=true
// +groupName=fleet.headwater.dev
package v1alpha1
