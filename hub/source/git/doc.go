// Package git fetches GitRepositories over smart HTTP.
//
// Resolve is one request for the list of references; nothing is cloned when the
// reference has not moved. Fetch asks for exactly the commit that was resolved,
// at depth one, keeps the packfile on disk, and writes the commit's tree.
//
// It promises that credentials are sent to the host of spec.url alone, also
// when that host redirects, that they appear in no error, and that no request
// outlasts spec.timeout.
//
// It never runs git, never checks out symbolic links or submodules (an artifact
// holds neither), and writes through os.Root, so that no tree can name a file
// outside its directory.
//
// It uses go-git's transport and object store directly rather than its Clone:
// that takes its HTTP client from a variable of the whole process, follows a
// branch that may have moved since it was resolved, and keeps an index that
// nobody reads.
package git
