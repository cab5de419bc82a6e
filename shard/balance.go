package shard

import (
	"cmp"
	"slices"
)

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
				return p.factor*float64(a.load+cost)*float64(donor.weight) < float64(donor.load)*float64(a.weight)
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
	keys := p.candidates(to)
	for len(*keys) > 0 && float64(receiver.load) < receiver.lower {
		k := keys.pop()
		if float64(receiver.load+p.keys[k].cost) > receiver.mean {
			rest = append(rest, k)
			continue
		}
		moved = p.fits(&p.keys[k], to) && p.move(k, to, Balanced) || moved
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

// movable says whether balance may move the key.
func (p *plan) movable(k *key) bool {
	return k.cost > 0 && k.pin != k.owner && (p.budget != 0 || p.moved[k.input] != "")
}

// candidates are the keys of others that fit the agent. The answer is good
// until the next call. One pass over all keys in their order in memory is much
// faster than to follow the lists of the donors.
func (p *plan) candidates(to int32) *queue {
	p.queue = p.queue[:0]
	spare := make([]bool, len(p.agents))
	for i := range p.agents {
		spare[i] = !p.agents[i].away && float64(p.agents[i].load) > p.agents[i].mean
	}
	for i := range p.keys {
		k := &p.keys[i]
		if k.owner != none && spare[k.owner] && p.fits(k, to) && p.movable(k) && p.classes[k.class].allowed[to] {
			p.queue = append(p.queue, candidate{key: int32(i), draw: draw(k.hash, p.hashes[to])})
		}
	}
	p.queue.order()
	return &p.queue
}

// move makes the agent the owner of a key that has one, for the sake of
// balance, if the budget allows it. A key that has to move anyway costs none.
func (p *plan) move(k, to int32, why Reason) bool {
	if moved := &p.moved[p.keys[k].input]; *moved == "" {
		if p.budget == 0 {
			return false
		}
		p.budget--
		*moved = why
	}
	p.give(k, to)
	return true
}
