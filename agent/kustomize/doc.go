// Package kustomize reconciles Kustomizations: it fetches a source's artifact,
// builds its manifests, finds out what differs at the target cluster, applies
// that, prunes what has left the source, and verifies health. Each phase has a
// file of that name.
//
// It promises that
//   - nothing that is ours is forgotten: what a run is about to create, or to take
//     over, is in the inventory, in the hub, before the first of it is written;
//   - a stage of objects is applied as a whole or, when the server rejects one
//     of them, not at all, and what was applied before stays, unless
//     spec.validation asks for less;
//   - lastAppliedRevision names a revision that was applied and, where asked
//     for, found healthy;
//   - a run that finds nothing to do writes nothing, neither at the target nor
//     in the hub;
//   - a build sees the files of its artifact and nothing else.
//
// It never waits for health inside of a run: it looks once and asks to be run
// again, so that any number of Kustomizations can wait with a few workers. It
// never writes to a target without its fence (package remote), and takes no
// object that another Kustomization has.
package kustomize
