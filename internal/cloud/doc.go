// Package cloud gets credentials from Amazon's, Microsoft's and Google's clouds,
// over fluxcd/pkg/auth: for registries, Git repositories and buckets on the hub,
// and the words and the client that the agents' way to clusters shares with it.
//
// A login is by the identity of a ServiceAccount that the cloud trusts (workload
// identity), or, where an object names none, by the process's own: what its Pod
// or its machine is at the cloud. The first is its tenant's. The second is
// everybody's, so who uses it checks with Own that it goes nowhere but to the
// cloud's own hosts. A token service that an object names is checked here, for both:
// it is sent the proof of who asks.
//
// It promises that credentials are kept in memory alone, at most for the bounds
// of the cache and four fifths of their life; that one identity never gets what
// was given to another, nor a ServiceAccount that was changed or made anew what
// it had before; and that an error says the same at every attempt.
//
// It never keeps a token of a ServiceAccount itself, only what the cloud gave for
// it, and runs no programs.
package cloud
