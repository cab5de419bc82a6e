// Package registry is how the hub reaches OCI registries: which login fits,
// TLS, proxies, plain HTTP, and one sentence for what fails. The kinds that
// read registries share it; what they read there is theirs.
//
// It promises that logins are sent to the registry and to the token service that
// it names alone, whatever redirects say; that nothing is sent without TLS
// unless spec.insecure is set; that no login appears in an error; and that lists,
// manifests and layers are bounded in size.
//
// Each session reads the Secrets that it needs live. What the registry said of
// how to log in, and the token that it gave, are kept for up to an hour with the
// login that they are for, so that a poll is one request; they serve only who
// brings the same login over the same transport, and are forgotten when anything
// fails but for the time of one object. Asking for them has a time of its own, in
// which each object waits for as long as its own allows. Transports with a certificate or a proxy of a Secret are kept for as
// long, each for the one namespace and the contents of the Secrets, so that nobody
// comes by a connection that somebody else's certificate has opened. Logins of
// clouds are those of internal/cloud, which keeps them for a while; the hub's own
// identity is never used over a connection that a tenant could look into.
package registry
