// Package shard decides which agent owns what. It is arithmetic: keys, their
// order of preference among agents, the assignment of keys to agents, and the
// state of a lease at a given time. Nothing here does I/O, reads a clock or
// talks to an API server, so every promise is a property that a test can check.
//
// It promises: the same input gives the same output; a key has at most one
// owner, which is present and matches; no agent carries more than its bound
// unless a pin or a selector leaves no other way; more moves for balance, or
// for the sake of pins, than the budget of a pool allows do not happen at
// once, and pins leave balance its share of it; and a second run on its own
// output moves nothing.
//
// What it never promises is safety at run time: the record that placement
// writes from an assignment says who should act. Who may act is the fence's
// matter.
//
// Rendezvous order alone spreads 10 keys an agent with a maximum of 1.5 times
// the mean; a ring needs some hundred tokens an agent for the same. With a
// bound on top, one placer that sees the whole picture gets to 1.25 with a
// handful of moves more, and needs no state but the current owners.
package shard
