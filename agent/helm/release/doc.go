// Package release says what a Helm release is called, and what is known of one:
// records of Helm's storage, and the snapshots of them in a HelmRelease's
// status.
//
// It promises that the names are Flux's, so that a fleet can move here, and that
// a snapshot tells whether a record is the one that was left there. It never
// talks to a cluster: everything in it is a function of its arguments, except
// for the reading of the storage's own format.
//
// Digests of snapshots are made otherwise than Flux's, which are made of the
// types of Helm 4. A snapshot that Flux has made is compared field by field.
package release
