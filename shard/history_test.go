package shard_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/headwater-dev/headwater/shard"
)

// fleet is a random history: what there is, and who owns it.
type fleet struct {
	random *rand.Rand
	in     shard.Input
	next   int
	// classes, weights, pins, away and pools say what the history may use.
	classes, weights, pins, away, pools bool
	// equal gives every key the same cost.
	equal bool
	// joined and left name the agent that the last step added or removed.
	joined, left string
}

// step changes one thing.
func (f *fleet) step() {
	f.joined, f.left = "", ""
	if f.random.IntN(2) == 0 {
		f.changeAgents()
		return
	}
	f.changeKeys()
}

func (f *fleet) changeAgents() {
	r := f.random
	f.in.Agents = slices.Clone(f.in.Agents)
	switch pick := r.IntN(7); {
	case pick < 2 && len(f.in.Agents) < 12:
		f.next++
		agent := shard.Agent{Name: fmt.Sprintf("agent-%d", f.next), Labels: f.zone(), Pool: f.pool()}
		if f.weights {
			agent.Weight = 1 + r.Int64N(5)
		}
		f.in.Agents, f.joined = append(f.in.Agents, agent), agent.Name
	case pick < 4 && len(f.in.Agents) > 1:
		i := r.IntN(len(f.in.Agents))
		f.left = f.in.Agents[i].Name
		f.in.Agents = slices.Delete(f.in.Agents, i, i+1)
	case pick < 5 && len(f.in.Agents) > 0:
		// The labels of an agent change, and with them what it may own.
		f.in.Agents[r.IntN(len(f.in.Agents))].Labels = f.zone()
	case pick < 6 && len(f.in.Agents) > 0:
		f.in.Agents[r.IntN(len(f.in.Agents))].Pool = f.pool()
	case f.away && len(f.in.Agents) > 0:
		i := r.IntN(len(f.in.Agents))
		f.in.Agents[i].Away = !f.in.Agents[i].Away
	}
}

func (f *fleet) zone() map[string]string {
	return map[string]string{"zone": string(rune('a' + f.random.IntN(3)))}
}

// pool has a budget for all moves, for two, or for none.
func (f *fleet) pool() string {
	if !f.pools {
		return ""
	}
	return []string{"", "paced", "frozen"}[f.random.IntN(3)]
}

func (f *fleet) changeKeys() {
	r := f.random
	f.in.Keys = slices.Clone(f.in.Keys)
	switch pick := r.IntN(5); {
	case pick < 2 && len(f.in.Keys) < 60 || len(f.in.Keys) == 0:
		f.next++
		f.in.Keys = append(f.in.Keys, shard.KeyState{
			Key:  shard.Key{Namespace: "fleet", Name: fmt.Sprintf("cluster-%d", f.next), DataKey: "value"},
			Cost: f.cost(), Pool: f.pool(),
		})
	case pick < 3 && len(f.in.Keys) > 20:
		i := r.IntN(len(f.in.Keys))
		f.in.Keys = slices.Delete(f.in.Keys, i, i+1)
	default:
		k := &f.in.Keys[r.IntN(len(f.in.Keys))]
		k.Cost, k.Pool = f.cost(), f.pool()
		if f.classes {
			k.Class = []string{"", "a", "b", "c"}[r.IntN(4)]
		}
		if f.pins && r.IntN(5) == 0 && len(f.in.Agents) > 0 {
			k.Pin = f.in.Agents[r.IntN(len(f.in.Agents))].Name
		}
	}
}

// cost is mostly small and sometimes much larger, as fleets are.
func (f *fleet) cost() int64 {
	if f.equal {
		return 3
	}
	cost := f.random.Int64N(10)
	if f.random.IntN(10) == 0 {
		cost *= 20
	}
	return cost
}

func TestAssignInRandomHistories(t *testing.T) {
	const steps = 2_000
	for name, f := range map[string]fleet{
		"plain":      {},
		"weights":    {weights: true},
		"selectors":  {classes: true},
		"restarts":   {away: true},
		"pins":       {pins: true},
		"pools":      {pools: true},
		"everything": {classes: true, weights: true, pins: true, away: true, pools: true},
		"equal keys": {equal: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			f.random = rand.New(rand.NewPCG(seed, 0))
			f.in = input(nil, nil, nil)
			f.in.Allows = func(class string, a shard.Agent) bool { return class == "" || a.Labels["zone"] == class }
			f.in.Pools["paced"], f.in.Pools["frozen"] = shard.Pool{MaxLoadFactor: 1.25, Budget: 2, Wishes: 1}, shard.Pool{MaxLoadFactor: 1.25}
			for i := range steps {
				f.step()
				result := shard.Assign(f.in)
				if fault := cmp.Or(f.check(result), f.checkPace(result), f.checkOrder(result)); fault != "" {
					t.Fatalf("seed %d, step %d: %s\ninput: %+v\nowners: %v", seed, i, fault, f.in, result.Owners)
				}
				f.in.Current = result.Owners
				again := shard.Assign(f.in)
				for budgeted := f.pools; budgeted && len(again.Moves) > 0; again = shard.Assign(f.in) {
					// What the budget held back moves in the next runs, and comes to an end.
					f.in.Current = again.Owners
					result = again
				}
				if len(again.Moves) > 0 || !maps.Equal(again.Owners, result.Owners) {
					t.Fatalf("seed %d, step %d: a second run moves %+v", seed, i, again.Moves)
				}
			}
		})
	}
}

// check says which property does not hold.
func (f *fleet) check(result shard.Result) string {
	moves := map[shard.Key]shard.Move{}
	for _, move := range result.Moves {
		if _, twice := moves[move.Key]; twice || move.From == move.To || move.Reason == "" {
			return fmt.Sprintf("move %+v", move)
		}
		moves[move.Key] = move
	}
	bounds := f.bounds(result.Owners)
	for _, k := range f.in.Keys {
		fault := f.checkOwner(k, result.Owners[k.Key])
		if fault == "" {
			fault = f.checkMove(k, result.Owners[k.Key], moves)
		}
		if fault == "" {
			fault = f.checkBalance(k, result.Owners[k.Key], bounds)
		}
		if fault != "" {
			return fmt.Sprintf("%s: %s", k.Key, fault)
		}
	}
	if f.classes || f.away || f.pins || f.pools {
		return "" // the upper bound cannot always be kept
	}
	for name, b := range bounds {
		if b.load > b.upper {
			return fmt.Sprintf("%s carries %v of at most %v", name, b.load, b.upper)
		}
	}
	return ""
}

// checkOwner says whether the key has an owner, and one that it may have.
func (f *fleet) checkOwner(k shard.KeyState, name string) string {
	owner, present := f.agent(name)
	switch {
	case name == "" && slices.ContainsFunc(f.in.Agents, func(a shard.Agent) bool { return !a.Away && f.may(k, a) }):
		return "it has no owner"
	case name != "" && (!present || !f.in.Allows(k.Class, owner) || owner.Pool != k.Pool && name != f.in.Current[k.Key]):
		return "it is owned by " + name + ", which may not"
	case name != "" && owner.Away && name != f.in.Current[k.Key]:
		return "it was given to " + name + ", which is away"
	default:
		return ""
	}
}

// may says whether the agent may be given the key.
func (f *fleet) may(k shard.KeyState, a shard.Agent) bool {
	return a.Pool == k.Pool && f.in.Allows(k.Class, a)
}

// checkPace says whether more keys than the budget moved of their own accord,
// and whether a join or a leave moved more than its share.
func (f *fleet) checkPace(result shard.Result) string {
	voluntary, others := map[string]int{}, 0
	for _, move := range result.Moves {
		i := slices.IndexFunc(f.in.Keys, func(k shard.KeyState) bool { return k.Key == move.Key })
		if move.Reason.Voluntary() {
			voluntary[f.in.Keys[i].Pool]++
		}
		if move.From != f.left {
			others++
		}
	}
	keys, before := float64(len(f.in.Keys)), float64(len(f.in.Agents)-1)
	switch {
	case voluntary["frozen"] > 0, voluntary["paced"] > 2:
		return fmt.Sprintf("moves of their own accord: %v", voluntary)
	case !f.equal:
		return ""
	case f.left != "" && float64(others) > 1+2*keys/float64(len(f.in.Agents)):
		return fmt.Sprintf("losing %s moved %d keys of others", f.left, others)
	case f.joined != "" && before >= 2 && keys >= 10*before && (float64(len(result.Moves)) < 0.5*keys/before || float64(len(result.Moves)) > 1.2*keys/before):
		return fmt.Sprintf("adding one to %v agents moved %d of %v keys", before, len(result.Moves), keys)
	}
	return ""
}

// checkOrder says whether the order of the input matters.
func (f *fleet) checkOrder(result shard.Result) string {
	shuffled := f.in
	shuffled.Agents, shuffled.Keys = slices.Clone(f.in.Agents), slices.Clone(f.in.Keys)
	f.random.Shuffle(len(shuffled.Agents), func(i, j int) {
		shuffled.Agents[i], shuffled.Agents[j] = shuffled.Agents[j], shuffled.Agents[i]
	})
	f.random.Shuffle(len(shuffled.Keys), func(i, j int) { shuffled.Keys[i], shuffled.Keys[j] = shuffled.Keys[j], shuffled.Keys[i] })
	if !maps.Equal(shard.Assign(shuffled).Owners, result.Owners) {
		return "another order of the same input gives other owners"
	}
	return ""
}

// checkMove says whether the moves tell the difference to before.
func (f *fleet) checkMove(k shard.KeyState, name string, moves map[shard.Key]shard.Move) string {
	before := f.in.Current[k.Key]
	move, moved := moves[k.Key]
	if moved && (move.From != before || move.To != name) || !moved && before != name && name != "" {
		return fmt.Sprintf("it went from %q to %q, and the move says %+v", before, name, move)
	}
	return ""
}

// checkBalance says whether the key should have gone to another agent.
func (f *fleet) checkBalance(k shard.KeyState, name string, bounds map[string]bound) string {
	owner, owned := f.agent(name)
	if !owned || f.stays(k, owner) {
		return ""
	}
	from := bounds[name]
	for _, a := range f.in.Agents {
		if a.Away || a.Name == name || !f.may(k, a) {
			continue
		}
		to := bounds[a.Name]
		with := to.load + float64(k.Cost)
		if from.load > from.upper && with <= to.upper {
			return fmt.Sprintf("%s is above its bound although %s could take it", name, a.Name)
		}
		if to.load < to.mean/1.25 && from.load > from.mean && with*from.weight < from.load*to.weight {
			return fmt.Sprintf("%s is below its bound although it fits and %s could spare it", a.Name, name)
		}
	}
	return ""
}

// stays says whether balance leaves the key where it is.
func (f *fleet) stays(k shard.KeyState, owner shard.Agent) bool {
	return owner.Away || k.Cost == 0 || k.Pin == owner.Name || owner.Pool != k.Pool || f.in.Pools[k.Pool].Budget != shard.Unlimited
}

func (f *fleet) agent(name string) (shard.Agent, bool) {
	i := slices.IndexFunc(f.in.Agents, func(a shard.Agent) bool { return a.Name == name })
	if i < 0 {
		return shard.Agent{}, false
	}
	return f.in.Agents[i], true
}

type bound struct{ load, weight, mean, upper float64 }

// bounds computes loads and bounds in another way than the code under test:
// groups grow by repetition.
func (f *fleet) bounds(owners map[shard.Key]string) map[string]bound {
	group := map[string]string{}
	for _, a := range f.in.Agents {
		group[a.Name] = a.Name
	}
	groupOf := func(k shard.KeyState) string {
		for _, a := range f.in.Agents {
			if f.may(k, a) {
				return group[a.Name]
			}
		}
		return ""
	}
	for _, k := range f.in.Keys {
		one := groupOf(k)
		for _, a := range f.in.Agents {
			if other := group[a.Name]; f.may(k, a) && other != one {
				for name, g := range group {
					if g == other {
						group[name] = one
					}
				}
			}
		}
	}
	cost, weight, largest := map[string]float64{}, map[string]float64{}, map[string]float64{}
	load := map[string]float64{}
	for _, k := range f.in.Keys {
		if a, ok := f.agent(owners[k.Key]); ok && a.Pool != k.Pool {
			continue // on its way to its pool
		}
		cost[groupOf(k)] += float64(k.Cost)
		largest[groupOf(k)] = max(largest[groupOf(k)], float64(k.Cost))
		load[owners[k.Key]] += float64(k.Cost)
	}
	for _, a := range f.in.Agents {
		weight[group[a.Name]] += float64(max(a.Weight, 1))
	}
	b := map[string]bound{}
	for _, a := range f.in.Agents {
		own := group[a.Name]
		w := float64(max(a.Weight, 1))
		mean := cost[own] / weight[own] * w
		b[a.Name] = bound{load: load[a.Name], weight: w, mean: mean, upper: 1.25*mean + largest[own]}
	}
	return b
}
