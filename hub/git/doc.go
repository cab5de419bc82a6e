// Package git is how the hub reaches Git repositories: credentials, TLS, the
// list of references, one commit's objects, and pushes. GitRepositories and
// image automation share it; what they read and write there is theirs.
//
// It promises that credentials are sent to the host of spec.url alone, also
// when that host redirects, that they appear in no error, and that what a remote
// sends is bounded or goes to disk. What a cloud or GitHub gives for spec.provider
// is kept by internal/cloud; the hub's own identity goes to hosts of the cloud's
// alone.
//
// It never runs git or ssh, never reads the machine's configuration of them, and
// never forces a branch: a push names the commit that it replaces, and fails
// when another is there by then.
//
// It uses go-git's transports and object store directly rather than its Clone
// and Push: those take their HTTP client from a variable of the whole process,
// follow a branch that may have moved since it was resolved, and read a history
// that a shallow clone does not have. Over ssh the transport is our own: go-git's
// knows no context before the conversation has begun.
package git
