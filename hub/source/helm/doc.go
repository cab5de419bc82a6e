// Package helm makes sources of Helm charts: the source.Fetchers of
// HelmRepository and HelmChart.
//
// A HelmRepository's artifact is its index; one of the type oci is never
// reconciled. A HelmChart's artifact is a package: of a chart in a repository,
// by its index or by the tags of a registry, or of a directory in the artifact
// of a GitRepository or Bucket, with its dependencies.
//
// It promises that credentials go to the host of the repository alone, whatever
// redirects and indexes say, unless spec.passCredentials is set, and then to the
// hosts of the index; that what an index names is what it says, by name, version
// and digest; that indexes, charts and files are bounded in size and each
// conversation by spec.timeout; and that the same chart gives the same package.
//
// It never renders a chart. Reading indexes is in package index and packaging in
// package chart, both without I/O to a remote. Signatures
// are judged by hub/registry/signature, for registries alone. It knows no cloud's
// login: objects that ask for one are stalled.
package helm
