// Package bases fetches what kustomizations name at other places: files by
// http, and directories of Git repositories by smart HTTP.
//
// It promises that
//   - no program runs: not git, ssh, a hook or a credential helper, so that
//     nothing in a URL can become an argument;
//   - no credentials are sent, for there are none: a private repository is for a
//     GitRepository;
//   - what is fetched is bounded in time and in bytes, and what is large is kept
//     on disk meanwhile;
//   - link-local addresses and those of clouds' metadata are not connected to,
//     whatever a name resolves to. Behind a proxy that is the proxy's to see to;
//   - submodules and symbolic links are left out, and file: URLs and ssh refused;
//   - an error quotes nothing of what was fetched.
//
// It knows nothing of kustomize but how URLs are spelled. It has no cache: a branch
// moves, and whoever asks knows how often that matters.
package bases
