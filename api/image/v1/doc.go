// Package v1 holds the kinds of the group image.toolkit.fluxcd.io: which images
// there are, which of them is wanted, and who writes that into Git.
//
// It promises wire compatibility with Flux 2.9 and keeps the fields of the
// older versions v1beta2 and v1beta1, which are served from the same types. It
// never holds logic beyond accessors.
//
// +kubebuilder:object:generate=true
// +groupName=image.toolkit.fluxcd.io
package v1
