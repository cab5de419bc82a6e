// Package render turns the files of an artifact into objects, as kustomize does,
// and fills in variables.
//
// It promises that
//   - a build sees the files of its artifact and nothing else: no path leads
//     out of them. Where the Renderer has Remotes, what a kustomization names at
//     another place is fetched before, and kustomize sees files as well;
//   - a build that asks for too much (aliases that multiply their anchors,
//     overlays that multiply their bases, variables that multiply) ends with an
//     error that names the file or the object;
//   - a build that waits for the network, be it for the artifact, a remote base or a
//     key, holds none of what other builds wait for, and ends in time or when nobody
//     waits for it any more;
//   - a build that takes long keeps only others of that kind waiting;
//   - an error quotes no content of a file, which may be a Secret's;
//   - a kustomization that brings a schema of its own changes no other build;
//   - what many ask for is built once, and kept within a bound in bytes;
//   - what was decrypted is shown to those alone who have the same keys.
//
// It knows no cluster and no kind of ours: what a build depends on is in its
// Request, so that equal requests have equal results. That is also why it can
// keep them: under the digest of the artifact, the settings, the keys and the
// variables, in two layers, since clusters of a fleet often differ in variables
// alone.
//
// Builds run beside each other: package build runs kustomize in processes of its own.
// Where kustomize would only parse, it is not called: most of what it needs for a small
// directory is its own configuration. A test holds the two ways against each other.
package render
