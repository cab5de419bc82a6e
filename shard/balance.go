package shard

import (
	"cmp"
	"slices"
)

// widening is how much wider each look for candidates is than the one before.
const widening = 8

// spread gives the keys without an owner to agents, and balances them all.
func (p *plan) spread() {
	p.setBounds()
	p.placeRest()
	p.balance()
}

// balance moves keys to agents below their lower bound, and then from agents
// that are still above their upper bound, until nothing is left to do or the budget is used up.
//
// It ends: shed lowers what lies above the upper bounds in sum, and fill, which
// never adds to that, makes the fuller of two agents less full.
func (p *plan) balance() {
	for {
		moved := false
		for i := range p.agents {
			a := int32(i)
			moved = p.fill(a) || moved
		}
		for i := range p.agents {
			a := int32(i)
			moved = p.shed(a) || moved
		}
		if !moved {
			return
		}
	}
}

// shed takes from an agent above its upper bound the keys that prefer it least.
// They go to agents that stay within their bound, or, where selectors leave no
// such agent, to one that is less full by more than the load factor.
func (p *plan) shed(from int32) bool {
	donor := &p.agents[from]
	if float64(donor.load) <= donor.upper || donor.away {
		return false
	}
	keys := slices.DeleteFunc(slices.Clone(p.owned[from]), func(k int32) bool { return !p.movable(&p.keys[k]) })
	slices.SortFunc(keys, func(a, b int32) int {
		return cmp.Or(cmp.Compare(p.draw(a, from), p.draw(b, from)), cmp.Compare(a, b))
	})
	moved := false
	for _, k := range keys {
		excess := float64(donor.load) - donor.upper
		if excess <= 0 {
			break
		}
		cost := p.keys[k].cost
		to := p.favourite(k, func(a *agent) bool { return float64(a.load+cost) <= a.upper })
		if to == none && float64(cost) <= excess {
			to = p.favourite(k, func(a *agent) bool {
				return p.factor(donor)*float64(a.load+cost)*float64(donor.weight) < float64(donor.load)*float64(a.weight)
			})
		}
		moved = to != none && p.move(k, to, Overloaded) || moved
	}
	return moved
}

// fill gives keys to an agent below its lower bound until it has reached that,
// from agents above their mean: first those that leave it at or below its own
// mean, and of these the ones that prefer it most; then the cheapest that fit.
func (p *plan) fill(to int32) bool {
	receiver := &p.agents[to]
	if float64(receiver.load) >= receiver.lower || receiver.away {
		return false
	}
	moved := false
	var rest []int32
	spare, least := p.spare(to)
	for below := int64(scale); below > 0 && float64(receiver.load) < receiver.lower; below, least = least, widen(least) {
		keys := p.candidates(to, spare, least, below)
		for len(*keys) > 0 && float64(receiver.load) < receiver.lower {
			k := keys.pop()
			if float64(receiver.load+p.keys[k].cost) > receiver.mean {
				rest = append(rest, k)
				continue
			}
			moved = p.fits(&p.keys[k], to) && p.move(k, to, Balanced) || moved
		}
	}
	slices.SortStableFunc(rest, func(a, b int32) int { return cmp.Compare(p.keys[a].cost, p.keys[b].cost) })
	for _, k := range rest {
		if float64(receiver.load) >= receiver.lower {
			break
		}
		moved = p.fits(&p.keys[k], to) && p.move(k, to, Balanced) || moved
	}
	return moved
}

// fits says whether the key's owner can spare it and the agent would still be
// less full with it than its owner is now.
func (p *plan) fits(k *key, to int32) bool {
	donor, receiver := &p.agents[k.owner], &p.agents[to]
	return !donor.away && float64(donor.load) > donor.mean &&
		less(receiver.load+k.cost, receiver.weight, donor.load, donor.weight)
}

// movable says whether balance may move the key. One that waits to go to where it
// is pinned to would have to move twice.
func (p *plan) movable(k *key) bool {
	return k.cost > 0 && !k.guest && !p.pinned(k) && (p.pools[p.agents[k.owner].pool].Budget != 0 || p.moved[k.input] != "")
}

// spare says which agents have keys to spare for the agent, and estimates the
// draw from which on there are enough of their keys.
func (p *plan) spare(to int32) (donors []bool, least int64) {
	receiver, load := &p.agents[to], int64(0)
	donors = make([]bool, len(p.agents))
	for i := range p.agents {
		a := &p.agents[i]
		if a.group == receiver.group && !a.away && float64(a.load) > a.mean {
			donors[i] = true
			load += a.load
		}
	}
	share := (receiver.lower - float64(receiver.load)) / float64(load)
	return donors, widen(scale - int64(min(share/2, 1)*scale))
}

// widen makes a range of draws that ends at the highest widening times as wide.
func widen(least int64) int64 { return max(scale-widening*(scale-least), 0) }

// candidates are the keys of the donors that fit the agent, and whose draw is at
// least one number and below another. The answer is good until the next call.
//
// An agent takes few of many keys, those that prefer it most. So this goes by
// the draw first, which needs nothing but the hashes in their order in memory:
// for 500 agents that join 500 others with 100,000 keys, that is most of the time.
func (p *plan) candidates(to int32, donors []bool, least, below int64) *queue {
	p.queue = p.queue[:0]
	own := p.hashes[to]
	for i, hash := range p.draws {
		drawn := draw(hash, own)
		if drawn < least || drawn >= below {
			continue
		}
		k := &p.keys[i]
		if k.owner != none && donors[k.owner] && p.movable(k) && p.fits(k, to) && p.mayOwn(k.class, to) {
			p.queue = append(p.queue, candidate{key: int32(i), draw: drawn})
		}
	}
	p.queue.order()
	return &p.queue
}

// move makes the agent the owner of a key that has one, for the sake of
// balance, if the budget allows it. A key that has to move anyway costs none.
func (p *plan) move(k, to int32, why Reason) bool {
	if moved := &p.moved[p.keys[k].input]; *moved == "" {
		if !p.spend(p.agents[to].pool) {
			return false
		}
		*moved = why
	}
	p.give(k, to)
	return true
}
