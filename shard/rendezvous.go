package shard

import (
	"math"

	"github.com/cespare/xxhash/v2"
)

// Rendezvous hashing gives each key an order of preference among all agents:
// by a hash of the pair. When an agent leaves, its keys go to their next
// choices, evenly; nobody else's order changes.
//
// Agent and key are hashed once each and the pair is mixed from the two, in
// 2 ns. The hash matters: FNV-1a of short names that differ in the last
// character is skewed 2.5 times.

// scale is the number of values that a draw can have.
const scale = 1 << 53

// draw is a number below scale that is the pair's own. It is uniform.
func draw(key, agent uint64) int64 {
	return int64(mix(key^agent) >> 11)
}

// preference is how much a key prefers an agent of that weight: the higher the
// better. The logarithm makes the shares follow the weights; for equal weights
// the order is that of the draws.
func preference(draw int64, weight float64) float64 {
	return -weight / math.Log(float64(draw)/scale)
}

// hopeless is the highest draw with which an agent of that weight or less is
// not preferred to one whose preference is known. It is known without a
// logarithm, because -1/ln(u) <= 1/(1-u), and true of all but a few agents:
// that makes 100,000 keys times 1,000 agents affordable.
func hopeless(known, weight float64) int64 {
	return int64((1 - weight/known) * scale)
}

// mix spreads every bit of x over all of the result (the final step of
// MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

func hash(s string) uint64 { return xxhash.Sum64String(s) }
