// Package action does things to one Helm release on one cluster, by the Helm
// SDK: install, upgrade, roll back, uninstall, test, unlock. Each has a file of
// that name; what they share is a Session.
//
// It promises that
//   - an action ends soon after its context: Helm itself takes none for most of
//     what it does, so every request of a Session is bound to it, and whatever
//     waits, waits here;
//   - no request that could change the cluster is sent once Hold has refused one:
//     what was begun in one tenure of a target is not continued in another;
//   - Helm's order is kept: hooks, objects, waiting, hooks, and only then the
//     record that says deployed.
//   - the records are those that the helm CLI reads.
//
// It never decides what is to be done, and writes no status.
package action
