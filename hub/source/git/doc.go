// Package git fetches GitRepositories.
//
// Resolve is one request for the list of references; nothing is cloned when the
// reference has not moved. Fetch asks for exactly the commit that was resolved,
// at depth one, keeps the packfile on disk, checks the signatures that the spec
// asks for, and writes the commit's tree, with its submodules and the other
// artifacts that are included. How remotes are reached is in hub/git.
//
// It promises that
//   - no request outlasts spec.timeout;
//   - nothing is written of a commit whose signature is missing or wrong, and
//     a signature is checked over the bytes as git stores them;
//   - credentials are for the host of spec.url alone, submodules or not.
//
// It never checks out symbolic links (an artifact holds none), and writes
// through os.Root, so that no tree, no submodule and no include can name a file
// outside its directory.
package git
