// Package apply brings a set of objects into one cluster and keeps account of
// it: plan, server-side apply, prune, inventory, health. It knows the cluster
// and the objects, and nothing of the API that asks for them.
//
// It promises that
//   - what is to happen is known before it happens: a stage is planned by
//     server-side dry-runs, and one object that the server rejects stops the
//     stage before anything of it is written, unless the caller wants less
//     checked;
//   - nothing that was done is forgotten: Apply and Prune say what they did
//     also when they fail;
//   - an object that was replaced since it was looked at is not touched: an
//     apply carries the uid it was planned for, a delete the uid and the
//     resourceVersion;
//   - nothing is pruned that carries somebody else's owner labels.
//
// It never prints the data of a Secret, waits for health only where a later stage
// needs what an earlier one has applied, and never decides who owns an object: it
// reports the other owner and leaves the decision to the caller.
//
// The order, the inventory ids and the meaning of the labels on single objects
// are Flux's, so that a fleet moves between the two without a write. The pure
// parts (order, ids, difference, judgement of health) are functions of their
// arguments; the Applier is the thin layer that talks to the server.
package apply
