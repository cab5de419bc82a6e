// Package placement decides which agent acts for which target, and says so in
// two places: the record, in the status of the target's RemoteCluster, and the
// routing label on each object that deploys to the target.
//
// It promises that a key with work has a live agent in the record as long as
// there is one that may act for it; that a record is written only against the
// version of it that the decision was made from, so that two leaders at a
// failover cannot split a key; that a label follows the record and never goes
// before it; and that nothing is written while nothing changes.
//
// It never looks at a target, never reads a Secret, and never waits for an
// agent: that an owner really has stopped before the next one starts is the
// matter of the fence.
//
// There is one item of work, the whole fleet, because balance is a property of
// the whole. To decide it is arithmetic in package shard; a run in which nothing
// changes reads caches and is done in milliseconds.
package placement
