// Package v2 holds the HelmRelease of the group helm.toolkit.fluxcd.io: which
// chart is installed, with which values, on which cluster.
//
// It promises wire compatibility with Flux 2.9 and keeps the fields of the
// older versions v2beta2 and v2beta1, which are served from the same type. It
// never holds logic beyond accessors.
//
// +kubebuilder:object:generate=true
// +groupName=helm.toolkit.fluxcd.io
package v2
