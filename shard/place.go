package shard

import "slices"

// admitGuests lets the keys that are with an agent of another pool come, the
// costly ones first, as long as the budget of the pool that they come to lasts
// and there is somebody for them. The others stay where they are, and count
// nowhere.
func (p *plan) admitGuests() {
	for i := range p.keys {
		k := &p.keys[i]
		if !k.guest {
			continue
		}
		c := &p.classes[k.class]
		pinned := k.pin != none && !p.agents[k.pin].away
		present := slices.ContainsFunc(c.members, func(m int32) bool { return !p.agents[m].away })
		if !present || !p.spend(c.pool) {
			continue
		}
		k.guest, k.owner, p.moved[k.input] = false, none, PoolChanged
		if pinned {
			p.moved[k.input] = Pinned
		}
	}
}

// keepOwners leaves each key where it is if it may stay there, and moves the
// pinned ones to where they are pinned to, the costly ones first, as long as the
// budget lasts.
func (p *plan) keepOwners() {
	for i := range p.keys {
		k := &p.keys[i]
		if k.guest {
			continue
		}
		to := k.owner
		switch {
		case k.pin == none || k.pin == to || p.agents[k.pin].away:
		case to == none:
			to = k.pin
		case p.spend(p.classes[k.class].pool):
			p.moved[k.input] = Pinned
			to = k.pin
		}
		k.owner = none
		if to != none {
			p.give(int32(i), to)
		}
	}
}

// placeRest gives an owner to each key that has none, the costly ones first:
// the agent that the key prefers among those that stay within their bound with
// it; where none does, the one that would have the least to do.
func (p *plan) placeRest() {
	for i := range p.keys {
		if p.keys[i].owner != none {
			continue
		}
		k := int32(i)
		to := p.favourite(k, func(a *agent) bool { return float64(a.load+p.keys[k].cost) <= a.upper })
		if to == none {
			to = p.idlest(k)
		}
		if to != none {
			p.give(k, to)
		}
	}
}

// favourite is the agent that the key prefers among those that are present, may
// own it, and pass the test.
func (p *plan) favourite(k int32, test func(*agent) bool) int32 {
	best, most, hash, ignore := none, 0.0, p.keys[k].hash, int64(-1)
	for _, i := range p.classes[p.keys[k].class].members {
		drawn := draw(hash, p.hashes[i])
		if drawn <= ignore {
			continue
		}
		a := &p.agents[i]
		wish := preference(drawn, float64(a.weight))
		if (best == none || wish > most) && !a.away && test(a) {
			best, most, ignore = i, wish, hopeless(wish, float64(p.heaviest))
		}
	}
	return best
}

// idlest is the agent that would have the least to do with the key.
func (p *plan) idlest(k int32) int32 {
	best, cost := none, p.keys[k].cost
	for _, i := range p.classes[p.keys[k].class].members {
		a := &p.agents[i]
		if !a.away && (best == none || less(a.load+cost, a.weight, p.agents[best].load+cost, p.agents[best].weight)) {
			best = i
		}
	}
	return best
}

// give makes the agent the owner of the key.
func (p *plan) give(k, to int32) {
	given := &p.keys[k]
	if from := given.owner; from != none {
		p.agents[from].load -= given.cost
		keys := p.owned[from]
		last := keys[len(keys)-1]
		keys[given.at], p.keys[last].at = last, given.at
		p.owned[from] = keys[:len(keys)-1]
	}
	given.owner, given.at = to, int32(len(p.owned[to]))
	p.agents[to].load += given.cost
	p.owned[to] = append(p.owned[to], k)
}

// less compares two loads in proportion to the weights that carry them. It is
// exact, so that no rounding lets a key go to and fro.
func less(load, weight, otherLoad, otherWeight int64) bool {
	return load*otherWeight < otherLoad*weight
}
