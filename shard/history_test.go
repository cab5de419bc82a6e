package shard_test

import (
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
	// classes, weights, pins and away say what the history may use.
	classes, weights, pins, away bool
}

// step changes one thing.
func (f *fleet) step() {
	if f.random.IntN(2) == 0 {
		f.changeAgents()
		return
	}
	f.changeKeys()
}

func (f *fleet) changeAgents() {
	r := f.random
	f.in.Agents = slices.Clone(f.in.Agents)
	switch pick := r.IntN(5); {
	case pick < 2 && len(f.in.Agents) < 12:
		f.next++
		agent := shard.Agent{Name: fmt.Sprintf("agent-%d", f.next), Labels: map[string]string{"zone": string(rune('a' + r.IntN(3)))}}
		if f.weights {
			agent.Weight = 1 + r.Int64N(5)
		}
		f.in.Agents = append(f.in.Agents, agent)
	case pick < 4 && len(f.in.Agents) > 1:
		i := r.IntN(len(f.in.Agents))
		f.in.Agents = slices.Delete(f.in.Agents, i, i+1)
	case f.away && len(f.in.Agents) > 0:
		i := r.IntN(len(f.in.Agents))
		f.in.Agents[i].Away = !f.in.Agents[i].Away
	}
}

func (f *fleet) changeKeys() {
	r := f.random
	f.in.Keys = slices.Clone(f.in.Keys)
	switch pick := r.IntN(5); {
	case pick < 2 && len(f.in.Keys) < 60 || len(f.in.Keys) == 0:
		f.next++
		f.in.Keys = append(f.in.Keys, shard.KeyState{
			Key:  shard.Key{Namespace: "fleet", Name: fmt.Sprintf("cluster-%d", f.next), DataKey: "value"},
			Cost: f.cost(),
		})
	case pick < 3 && len(f.in.Keys) > 20:
		i := r.IntN(len(f.in.Keys))
		f.in.Keys = slices.Delete(f.in.Keys, i, i+1)
	default:
		k := &f.in.Keys[r.IntN(len(f.in.Keys))]
		k.Cost = f.cost()
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
	cost := f.random.Int64N(10)
	if f.random.IntN(10) == 0 {
		cost *= 20
	}
	return cost
}

func TestAssignInRandomHistories(t *testing.T) {
	const steps = 3_000
	for name, f := range map[string]fleet{
		"plain":      {},
		"weights":    {weights: true},
		"selectors":  {classes: true},
		"restarts":   {away: true},
		"pins":       {pins: true},
		"everything": {classes: true, weights: true, pins: true, away: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			f.random = rand.New(rand.NewPCG(seed, 0))
			f.in = input(nil, nil, nil)
			f.in.Allows = func(class string, a shard.Agent) bool { return class == "" || a.Labels["zone"] == class }
			for i := range steps {
				f.step()
				result := shard.Assign(f.in)
				if fault := f.check(result); fault != "" {
					t.Fatalf("seed %d, step %d: %s\ninput: %+v\nowners: %v", seed, i, fault, f.in, result.Owners)
				}
				f.in.Current = result.Owners
				again := shard.Assign(f.in)
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
	if f.classes || f.away || f.pins {
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
	case name == "" && slices.ContainsFunc(f.in.Agents, func(a shard.Agent) bool { return !a.Away && f.in.Allows(k.Class, a) }):
		return "it has no owner"
	case name != "" && (!present || !f.in.Allows(k.Class, owner)):
		return "it is owned by " + name + ", which may not"
	case name != "" && owner.Away && name != f.in.Current[k.Key]:
		return "it was given to " + name + ", which is away"
	default:
		return ""
	}
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
	if !owned || owner.Away || k.Cost == 0 || k.Pin == name {
		return ""
	}
	from := bounds[name]
	for _, a := range f.in.Agents {
		if a.Away || a.Name == name || !f.in.Allows(k.Class, a) {
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
			if f.in.Allows(k.Class, a) {
				return group[a.Name]
			}
		}
		return ""
	}
	for _, k := range f.in.Keys {
		one := groupOf(k)
		for _, a := range f.in.Agents {
			if other := group[a.Name]; f.in.Allows(k.Class, a) && other != one {
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
