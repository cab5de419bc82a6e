// Package member is membership among the agents: one Lease for each agent in
// the agents' own namespace. Member keeps the Lease of this process; Tracker
// judges those of all.
//
// It promises that an agent that stops in an orderly way is told from one that
// has died, that a process which restarts under its name joins at once, and
// that two processes of one name do not fight over the Lease.
//
// A Lease carries the agent's labels, by which pools select it, and what its keys
// cost it, by which placement balances. What it says of costs has a bound in bytes:
// names are chosen by tenants, and an agent whose Lease is too large to write is dead.
//
// It never compares the clocks of two machines: an observer counts from when
// it saw a Lease change. And it never says who may write to a target: a member
// that is taken for dead and lives on is kept out by the fence.
package member
