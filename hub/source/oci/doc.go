// Package oci makes sources of OCI artifacts: the source.Fetcher of
// OCIRepository, over go-containerregistry.
//
// Resolve asks the registry for the digest that a tag stands for, after it has
// picked the tag from the registry's list where spec.ref.semver is set. A digest
// is what it is: nothing is asked. Fetch reads the manifest by that digest, so
// that a tag which moves meanwhile changes nothing, and one layer.
//
// It promises that logins are sent to the registry and to the token service that
// it names alone, whatever redirects say; that nothing is sent without TLS
// unless spec.insecure is set; that they appear in no error; and that lists,
// manifests and layers are bounded in size, and each run by spec.timeout.
//
// With spec.verify, Resolve also checks the signature of the digest before
// anything of it is fetched, and again when spec.verify, or what its Secrets hold,
// has changed. Where that fails, the artifact that was good is still served.
package oci
