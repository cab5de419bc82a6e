// Package signature says whether an artifact in an OCI registry was signed by
// somebody whom a spec trusts: by cosign, with keys or without, and by notation.
// The kinds that pull from registries share it.
//
// It promises that a signature is good for one digest alone, that of the
// artifact asked about; that one good signature is enough, however many others
// there are; that signatures are bounded in number and size; and that all that
// is trusted comes from the spec's Secrets, or, for cosign without keys and
// without spec.verify.trustedRootSecretRef, from the roots of the public Sigstore.
//
// It never asks by tag, so nothing that moves meanwhile can be taken for what was
// checked, and it never writes conditions.
//
// The projects' own libraries judge: sigstore-go and sigstore for cosign,
// notation-go for notation. Only how signatures are stored in registries is read
// here, with the session that the artifact itself is pulled with; cosign's own
// module would bring several times as many packages to build.
package signature
