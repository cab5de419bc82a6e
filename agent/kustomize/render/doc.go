// Package render turns the files of an artifact into objects, as kustomize does.
//
// It promises that
//   - a build sees the files of its artifact and nothing else: no path leads
//     out of them, and nothing is fetched over the network;
//   - a build that asks for too much (aliases that multiply their anchors,
//     overlays that multiply their bases) ends with an error that names the file;
//   - an error quotes no content of a file, which may be a Secret's;
//   - a kustomization that brings a schema of its own changes no other build.
//
// It knows no cluster and no API of ours: what a build depends on is in its
// Request, so that equal requests have equal results.
package render
