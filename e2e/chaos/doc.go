// Command chaos breaks what can break while a fleet is at work, and has the
// record judged: a hub of two replicas, agents as processes, some tens of
// targets on two API servers, some with Helm releases besides, and commits that
// never stop. Processes are killed, stopped and doubled, connections cut, API
// servers restarted, Leases deleted, clusters moved from pool to pool, clocks set.
//
// After each fault it waits until every target has applied a commit that was made
// since, and asks the judge (package judge) about everything so far. It ends with
// a status other than zero if a promise was not kept.
//
// It prints its seed: the same seed does the same to the same agents in the same
// order, though what the processes make of it is up to the machine. It promises
// to leave nothing behind, neither processes nor files, however it ends.
//
// With --agent bin/agent-nofence, a test build in which the fence stops nobody,
// it has to fail; its tests hold it to that.
package main
