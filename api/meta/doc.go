// Package meta holds what every kind of Headwater's API shares: conditions and
// their reasons, references, the artifact, and the part of the status that the
// reconcile loop owns.
//
// It promises wire compatibility with Flux 2.9 (its shared API fields), and it
// never holds logic beyond accessors.
//
// +kubebuilder:object:generate=true
package meta
