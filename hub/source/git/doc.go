// Package git fetches GitRepositories.
//
// Resolve is one request for the list of references; nothing is cloned when the
// reference has not moved. Fetch asks for exactly the commit that was resolved,
// at depth one, keeps the packfile on disk, and writes the commit's tree. How
// remotes are reached is in hub/git.
//
// It promises that no request outlasts spec.timeout.
//
// It never checks out symbolic links or submodules (an artifact holds neither),
// and writes through os.Root, so that no tree can name a file outside its
// directory.
package git
