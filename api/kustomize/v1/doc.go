// Package v1 holds the Kustomization of the group kustomize.toolkit.fluxcd.io:
// what is rendered from a source, and applied to which cluster.
//
// It promises wire compatibility with Flux 2.9 and keeps the fields of the
// older versions v1beta2 and v1beta1, which are served from the same type. It
// never holds logic beyond accessors.
//
// +kubebuilder:object:generate=true
// +groupName=kustomize.toolkit.fluxcd.io
package v1
