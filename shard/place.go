package shard

import "slices"

// keepOwners leaves each key where it is, if it may stay there. Guests count
// nowhere.
func (p *plan) keepOwners() {
	for i := range p.keys {
		k := &p.keys[i]
		if owner := k.owner; owner != none && !k.guest {
			k.owner = none
			p.give(int32(i), owner)
		}
	}
}

// grantWishes moves keys to the agents that they are pinned to, and lets those
// come that are with an agent of another pool: the costly ones first, as long as
// the pool's share for wishes lasts. The others stay where they are. It says
// whether there was any.
func (p *plan) grantWishes() bool {
	granted := false
	for i := range p.keys {
		k := &p.keys[i]
		why := p.wish(k)
		if why == "" || !p.spendWish(p.classes[k.class].pool) {
			continue
		}
		granted, p.moved[k.input] = true, why
		if k.guest {
			k.guest, k.owner = false, none
		} else {
			p.give(int32(i), k.pin)
		}
	}
	return granted
}

// wish is why the key is to leave an agent that may keep it for now; empty when
// it is to stay, or when nobody is there for it.
func (p *plan) wish(k *key) Reason {
	present := func(m int32) bool { return !p.agents[m].away }
	switch {
	case k.owner == none || k.owner == k.pin:
		return ""
	case p.pinned(k):
		return Pinned
	case k.guest && slices.ContainsFunc(p.classes[k.class].members, present):
		return PoolChanged
	default:
		return ""
	}
}

// pinned says whether there is an agent that the key is to go to, or to stay with.
func (p *plan) pinned(k *key) bool { return k.pin != none && !p.agents[k.pin].away }

// placeRest gives an owner to each key that has none: the agent that it is pinned
// to, and then to the others, the costly ones first, the agent that the key prefers
// among those that stay within their bound with it; where none does, the one that
// would have the least to do.
func (p *plan) placeRest() {
	for i := range p.keys {
		if k := &p.keys[i]; k.owner == none && p.pinned(k) {
			p.give(int32(i), k.pin)
		}
	}
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
