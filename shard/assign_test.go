package shard_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/shard"
)

func agents(n int) []shard.Agent {
	list := make([]shard.Agent, n)
	for i := range list {
		list[i] = shard.Agent{Name: fmt.Sprintf("agent-%d", i)}
	}
	return list
}

// keys makes n keys; cost gives the cost of each.
func keys(n int, cost func(i int) int64) []shard.KeyState {
	list := make([]shard.KeyState, n)
	for i := range list {
		list[i] = shard.KeyState{
			Key:  shard.Key{Namespace: "fleet", Name: fmt.Sprintf("cluster-%d", i), DataKey: "value"},
			Cost: cost(i),
		}
	}
	return list
}

func equal(int) int64 { return 1 }

func input(agents []shard.Agent, keys []shard.KeyState, current map[shard.Key]string) shard.Input {
	return shard.Input{Agents: agents, Keys: keys, Current: current, Pools: spread(1.25, shard.Unlimited)}
}

// spread are the rules of the one pool there is.
func spread(factor float64, budget int) map[string]shard.Pool {
	return map[string]shard.Pool{"": {MaxLoadFactor: factor, Budget: budget}}
}

func loads(in shard.Input, owners map[shard.Key]string) map[string]int64 {
	loads := map[string]int64{}
	for _, k := range in.Keys {
		if owner, ok := owners[k.Key]; ok {
			loads[owner] += k.Cost
		}
	}
	return loads
}

// TestAssignDemo is what the demo shows: three clusters on two agents, one of
// which dies and returns.
func TestAssignDemo(t *testing.T) {
	g := NewWithT(t)
	three := keys(3, equal)

	start := shard.Assign(input(agents(2), three, nil))
	g.Expect(loads(input(nil, three, nil), start.Owners)).To(Or(
		Equal(map[string]int64{"agent-0": 1, "agent-1": 2}), Equal(map[string]int64{"agent-0": 2, "agent-1": 1})))
	for _, move := range start.Moves {
		g.Expect(move.Reason).To(BeEquivalentTo("Placed"))
	}

	alone := shard.Assign(input(agents(1), three, start.Owners))
	for _, owner := range alone.Owners {
		g.Expect(owner).To(Equal("agent-0"))
	}
	for _, move := range alone.Moves {
		g.Expect(move.From).To(Equal("agent-1"))
		g.Expect(move.Reason).To(BeEquivalentTo("OwnerGone"))
	}

	again := shard.Assign(input(agents(2), three, alone.Owners))
	g.Expect(again.Moves).To(HaveLen(1))
	g.Expect(again.Moves[0].From).To(Equal("agent-0"))
	g.Expect(again.Moves[0].To).To(Equal("agent-1"))
	g.Expect(again.Moves[0].Reason).To(BeEquivalentTo("Balanced"))
}

func TestAssignSpecialCases(t *testing.T) {
	one := keys(1, equal)
	key := one[0].Key
	pinned := func(to string) []shard.KeyState {
		k := keys(1, equal)
		k[0].Pin = to
		return k
	}
	away := []shard.Agent{{Name: "agent-0", Away: true}, {Name: "agent-1"}}
	only := func(name string) func(string, shard.Agent) bool {
		return func(_ string, a shard.Agent) bool { return a.Name == name }
	}
	move := func(from, to string, why shard.Reason) []shard.Move {
		return []shard.Move{{Key: key, From: from, To: to, Reason: why}}
	}
	for name, tc := range map[string]struct {
		agents  []shard.Agent
		keys    []shard.KeyState
		allows  func(string, shard.Agent) bool
		current string
		owner   string
		moves   []shard.Move
	}{
		"no agent":                             {nil, one, nil, "", "", nil},
		"no agent left: left to the last one":  {nil, one, nil, "agent-9", "", nil},
		"no agent may: taken away":             {agents(2), one, only("agent-7"), "agent-0", "", move("agent-0", "", "NotAllowed")},
		"no agent may: never owned":            {agents(2), one, only("agent-7"), "", "", nil},
		"another one may":                      {agents(2), one, only("agent-1"), "agent-0", "agent-1", move("agent-0", "agent-1", "NotAllowed")},
		"kept while the owner is away":         {away, one, nil, "agent-0", "agent-0", nil},
		"nothing is given to one that is away": {away, one, nil, "", "agent-1", move("", "agent-1", "Placed")},
		"pinned":                               {agents(3), pinned("agent-2"), nil, "agent-0", "agent-2", move("agent-0", "agent-2", "Pinned")},
		"pinned from the start":                {agents(3), pinned("agent-2"), nil, "", "agent-2", move("", "agent-2", "Placed")},
		"pinned to one that does not exist":    {agents(3), pinned("agent-7"), nil, "agent-0", "agent-0", nil},
		"pinned to one that may not":           {agents(3), pinned("agent-1"), only("agent-0"), "agent-0", "agent-0", nil},
		"pinned to one that is away":           {away, pinned("agent-0"), nil, "agent-1", "agent-1", nil},
		"pinned to its owner that is away":     {away, pinned("agent-0"), nil, "agent-0", "agent-0", nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := input(tc.agents, tc.keys, map[shard.Key]string{key: tc.current})
			in.Allows = tc.allows
			result := shard.Assign(in)
			g.Expect(result.Owners[key]).To(Equal(tc.owner))
			g.Expect(result.Moves).To(Equal(tc.moves))
		})
	}
}

func TestAssignKeepsToTheBudget(t *testing.T) {
	g := NewWithT(t)
	many := keys(100, equal)
	owners := shard.Assign(input(agents(1), many, nil)).Owners
	moved := 0
	for range 20 {
		in := input(agents(2), many, owners)
		in.Pools = spread(1.25, 7)
		result := shard.Assign(in)
		g.Expect(len(result.Moves)).To(BeNumerically("<=", 7))
		moved += len(result.Moves)
		owners = result.Owners
	}
	g.Expect(moved).To(Equal(40), "the new agent is filled up to its lower bound, in several runs")

	in := input(agents(2)[1:], many, owners)
	in.Pools = nil
	g.Expect(shard.Assign(in).Moves).To(HaveLen(60), "what has to move does so whatever the budget")
}

// TestPinsKeepToTheBudget: whoever changes a pin all the time moves no more than
// the pool's budget allows.
func TestPinsKeepToTheBudget(t *testing.T) {
	g := NewWithT(t)
	many := keys(10, equal)
	owners := map[shard.Key]string{}
	for i := range many {
		owners[many[i].Key], many[i].Pin = "agent-0", "agent-1"
	}
	in := input(agents(2), many, owners)
	in.Pools = spread(100, 2)
	result := shard.Assign(in)
	g.Expect(result.Moves).To(HaveLen(2))
	g.Expect(result.Moves).To(HaveEach(HaveField("Reason", shard.Pinned)))

	in.Pools = map[string]shard.Pool{"": {Budget: 0}, "old": {Budget: shard.Unlimited}}
	in.Agents[0].Pool = "old"
	g.Expect(shard.Assign(in).Moves).To(BeEmpty(), "nor from another pool")

	in.Agents = in.Agents[1:]
	g.Expect(shard.Assign(in).Moves).To(HaveLen(10), "what has to move does so whatever the budget")
}

// TestWishesAndBalanceShareTheBudget: whoever pins keys, or has another pool serve
// them, takes no more than the share for that as long as there is something to
// balance, and all of it when there is not.
func TestWishesAndBalanceShareTheBudget(t *testing.T) {
	for name, tc := range map[string]struct {
		pins, guests   int
		joined         bool
		budget, wishes int
		// pinned, changed and balanced are how many move for which reason.
		pinned, changed, balanced int
	}{
		"half for each":                     {20, 0, true, 10, 5, 5, 0, 5},
		"half for each, from another pool":  {0, 20, true, 10, 5, 0, 5, 5},
		"few wishes":                        {3, 1, true, 10, 5, 3, 1, 6},
		"nothing to balance":                {20, 0, false, 10, 5, 10, 0, 0},
		"nothing to balance, from a pool":   {0, 20, false, 10, 5, 0, 10, 0},
		"little to balance":                 {20, 0, true, 40, 5, 20, 0, 16},
		"one, for balance":                  {20, 0, true, 1, 0, 0, 0, 1},
		"one, for wishes":                   {20, 0, true, 1, 1, 1, 0, 0},
		"one, which balance has no use for": {20, 0, false, 1, 0, 1, 0, 0},
		"none":                              {20, 20, true, 0, 0, 0, 0, 0},
		"without a limit":                   {20, 0, true, shard.Unlimited, 0, 20, 0, 16},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			list := keys(60, equal)
			in := input([]shard.Agent{{Name: "agent-0"}, {Name: "agent-1"}, {Name: "other", Pool: "other"}}, list, map[shard.Key]string{})
			in.Pools = map[string]shard.Pool{"": {MaxLoadFactor: 1.25, Budget: tc.budget, Wishes: tc.wishes}}
			for i := range list {
				in.Current[list[i].Key] = fmt.Sprintf("agent-%d", i%2)
				switch {
				case i < tc.pins:
					list[i].Pin = fmt.Sprintf("agent-%d", (i+1)%2)
				case i >= 60-tc.guests:
					in.Current[list[i].Key] = "other"
				}
			}
			if tc.joined {
				in.Agents = append(in.Agents, shard.Agent{Name: "agent-2"})
			}
			moved := map[shard.Reason]int{}
			for _, move := range shard.Assign(in).Moves {
				moved[move.Reason]++
			}
			g.Expect(moved[shard.Pinned]).To(Equal(tc.pinned), "Pinned")
			g.Expect(moved[shard.PoolChanged]).To(Equal(tc.changed), "PoolChanged")
			g.Expect(moved[shard.Balanced]+moved[shard.Overloaded]).To(Equal(tc.balanced), "Balanced")
		})
	}
}

// TestAssignPools: a key goes to the pool that serves it now, as fast as that
// pool's budget allows, and stays while that pool has nobody for it.
func TestAssignPools(t *testing.T) {
	g := NewWithT(t)
	list := keys(6, equal)
	in := input([]shard.Agent{{Name: "old"}, {Name: "new", Pool: "eu"}}, list, nil)
	in.Current = shard.Assign(in).Owners
	g.Expect(loads(in, in.Current)).To(Equal(map[string]int64{"old": 6}))
	for i := range in.Keys {
		in.Keys[i].Pool = "eu"
	}
	in.Pools["eu"] = shard.Pool{Budget: 2}
	for moved := int64(2); moved <= 6; moved += 2 {
		result := shard.Assign(in)
		g.Expect(result.Moves).To(HaveLen(2))
		g.Expect(result.Moves[0]).To(And(HaveField("From", "old"), HaveField("To", "new"), HaveField("Reason", shard.Reason("PoolChanged"))))
		in.Current = result.Owners
		g.Expect(loads(in, in.Current)["new"]).To(Equal(moved))
	}

	in.Keys[0].Pool, in.Pools["empty"] = "empty", shard.Pool{Budget: shard.Unlimited}
	g.Expect(shard.Assign(in).Moves).To(BeEmpty(), "a pool without agents takes nothing")
	in.Allows = func(_ string, a shard.Agent) bool { return a.Name == "old" }
	g.Expect(shard.Assign(in).Moves).To(HaveLen(6), "who may not own a key loses it at once, whatever the budget")
	in.Allows, in.Agents = nil, []shard.Agent{{Name: "other", Pool: "eu"}}
	in.Pools = nil
	g.Expect(loads(in, shard.Assign(in).Owners)).To(Equal(map[string]int64{"other": 5}), "nor does the loss of an agent wait")
}

func TestAssignFollowsWeights(t *testing.T) {
	g := NewWithT(t)
	list := agents(3)
	list[2].Weight = 2
	in := input(list, keys(4000, equal), nil)
	got := loads(in, shard.Assign(in).Owners)
	g.Expect(got["agent-0"]).To(BeNumerically("~", 1000, 100))
	g.Expect(got["agent-1"]).To(BeNumerically("~", 1000, 100))
	g.Expect(got["agent-2"]).To(BeNumerically("~", 2000, 100))
}

// TestAssignUnevenSelectors: two agents may own most of the work, and what the
// others could carry must not leave one of the two with all of it.
func TestAssignUnevenSelectors(t *testing.T) {
	g := NewWithT(t)
	list := keys(210, equal)
	for i := range list {
		switch {
		case i < 200:
			list[i].Class = "eu"
		case i >= 205:
			list[i].Class = "us"
		}
	}
	in := input(agents(10), list, nil)
	in.Allows = func(class string, a shard.Agent) bool {
		eu := a.Name == "agent-0" || a.Name == "agent-1"
		return class == "" || eu == (class == "eu")
	}
	// All of it starts on one of the two.
	in.Current = map[shard.Key]string{}
	for _, k := range list[:200] {
		in.Current[k.Key] = "agent-0"
	}
	got := loads(in, shard.Assign(in).Owners)
	g.Expect(got["agent-0"] + got["agent-1"]).To(BeNumerically(">=", 200))
	g.Expect(got["agent-1"]).To(BeNumerically(">", 70))
}

// TestAssignIsNotSkewed: short names that differ in one character get even
// shares of the first choices.
func TestAssignIsNotSkewed(t *testing.T) {
	g := NewWithT(t)
	in := input(agents(5), keys(10_000, equal), nil)
	in.Pools = spread(100, shard.Unlimited) // the bound never acts: what is seen is the hash
	for agent, load := range loads(in, shard.Assign(in).Owners) {
		g.Expect(load).To(BeNumerically("~", 2000, 200), agent)
	}
}

func TestAssignLosingAnAgent(t *testing.T) {
	for _, n := range []int{3, 5, 10, 30} {
		for seed := range uint64(20) {
			t.Run(fmt.Sprintf("%d agents, seed %d", n, seed), func(t *testing.T) {
				g := NewWithT(t)
				random := rand.New(rand.NewPCG(seed, uint64(n)))
				list := keys(10*n, func(int) int64 { return 1 + random.Int64N(10) })
				before := shard.Assign(input(agents(n), list, nil)).Owners
				lost := fmt.Sprintf("agent-%d", random.IntN(n))
				var left []shard.Agent
				for _, a := range agents(n) {
					if a.Name != lost {
						left = append(left, a)
					}
				}
				others := 0
				for _, move := range shard.Assign(input(left, list, before)).Moves {
					if move.From != lost {
						others++
					}
				}
				g.Expect(others).To(BeNumerically("<=", 10), "keys of other agents that moved")
			})
		}
	}
}

func TestAssignAddingAnAgent(t *testing.T) {
	for _, n := range []int{2, 3, 4, 9, 25, 100} {
		for _, each := range []int{10, 20, 100} {
			t.Run(fmt.Sprintf("%d agents, %d keys each", n, each), func(t *testing.T) {
				g := NewWithT(t)
				list := keys(n*each, equal)
				before := shard.Assign(input(agents(n), list, nil)).Owners
				result := shard.Assign(input(agents(n+1), list, before))
				share := float64(len(result.Moves)) / float64(len(list))
				g.Expect(share).To(BeNumerically(">=", 0.5/float64(n)))
				g.Expect(share).To(BeNumerically("<=", 1.2/float64(n)))
			})
		}
	}
}

func TestAssignDoesNotDependOnOrder(t *testing.T) {
	g := NewWithT(t)
	random := rand.New(rand.NewPCG(1, 2))
	list := keys(200, func(i int) int64 { return int64(i % 7) })
	in := input(agents(9), list, nil)
	in.Current = maps.Clone(shard.Assign(input(agents(5), list, nil)).Owners)
	want := shard.Assign(in)
	for range 20 {
		random.Shuffle(len(in.Agents), func(i, j int) { in.Agents[i], in.Agents[j] = in.Agents[j], in.Agents[i] })
		random.Shuffle(len(in.Keys), func(i, j int) { in.Keys[i], in.Keys[j] = in.Keys[j], in.Keys[i] })
		got := shard.Assign(in)
		g.Expect(got.Owners).To(Equal(want.Owners))
		g.Expect(got.Moves).To(ConsistOf(want.Moves))
	}
}

func BenchmarkAssign(b *testing.B) {
	list := keys(100_000, func(i int) int64 { return int64(1 + i%10) })
	fleet := agents(1000)
	owners := shard.Assign(input(fleet, list, nil)).Owners
	half := shard.Assign(input(fleet[:500], list, nil)).Owners
	for name, in := range map[string]shard.Input{
		"first placement":      input(fleet, list, nil),
		"nothing to do":        input(fleet, list, owners),
		"a tenth is lost":      input(fleet[100:], list, owners),
		"as many join as were": input(fleet, list, half),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				shard.Assign(in)
			}
		})
	}
}
