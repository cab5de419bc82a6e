// Command bench measures what Headwater adds to the cost of the API calls that
// it cannot do without.
//
// The floor is bare server-side apply: the same objects, with the same
// credentials, by as many parallel calls as finish soonest. Beside it is the
// product, a hub and an agent with default flags: the objects are those of
// Kustomizations, each with its own directory of one Git repository. Each step
// (install, nothing changed, upgrade, delete) is run by both in turn, several
// times over, and the ratio is that of neighbours: what else the machine does
// meanwhile hits both.
//
// The case helm has HelmReleases instead, and the Helm SDK itself as their floor:
// the same chart by 16 actions at a time, with a client for each target whose
// discovery has been done. Some cases are of a hub alone, with sources and no
// targets (polls, pulls), and some of a fleet with sick targets: they say what
// they compare with what.
//
// With -bound a client of its own takes the product's place: it makes the requests
// that follow from what the product promises, and nothing else, and shows which ratio
// can be reached at all.
//
// It prints seconds, the CPU time and peak memory of each process, and the
// requests that each API server answered. It is not part of make test: it
// judges nothing.
package main
