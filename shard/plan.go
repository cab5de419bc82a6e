package shard

import (
	"cmp"
	"slices"
)

// none stands for no agent.
const none = int32(-1)

// agent is an Agent in the plan.
type agent struct {
	name   string
	weight int64
	away   bool
	// pool is the index of its pool, and seat the agent's among those of the pool.
	pool, seat int32
	group      int
	// load is the cost of what the agent owns.
	load int64
	// upper and lower are the bounds of the load, mean is its fair share.
	upper, lower, mean float64
}

// key is a KeyState in the plan. It is kept small: every step visits all of
// them.
type key struct {
	hash uint64
	cost int64
	// input is the key's index in Input.Keys.
	input int32
	class int32
	pin   int32
	owner int32
	// at is the key's place in its owner's list.
	at int32
	// guest keys belong to an agent of another pool, and stay there for now.
	guest bool
}

// class is what all keys of one class and pool share.
type class struct {
	pool int32
	// members are the agents that may own the keys, present or away.
	members []int32
	// allowed says of each agent of the pool, by its seat, whether it is a member.
	allowed []bool
}

// pool is a Pool in the plan, and its agents.
type pool struct {
	Pool
	agents []int32
}

// plan is an assignment in the making. Agents and keys are known by their index
// in it; agents are sorted by name and keys by falling cost, so that nothing
// depends on the order of the input.
type plan struct {
	agents []agent
	// hashes are the agents' too, side by side for the one loop that is hot.
	hashes []uint64
	// heaviest is the largest weight.
	heaviest int64
	keys     []key
	// draws are the hashes of the keys, in their order: see candidates.
	draws []uint64
	// moved is why a key is not where it was, empty while it is; by its index
	// in Input.Keys.
	moved   []Reason
	classes []class
	// owned lists the keys of each agent.
	owned [][]int32
	// queue is what fill chooses from, kept for its memory.
	queue queue
	pools []pool
}

// classID is a class by its names.
type classID struct{ pool, class string }

func newPlan(in Input) *plan {
	p := &plan{}
	agents := slices.SortedFunc(slices.Values(in.Agents), func(a, b Agent) int { return cmp.Compare(a.Name, b.Name) })
	index := make(map[string]int32, len(agents))
	pools := map[string]int32{}
	for i, a := range agents {
		index[a.Name] = int32(i)
		weight := max(a.Weight, 1)
		number := p.pool(in, pools, a.Pool)
		of := &p.pools[number]
		p.agents = append(p.agents, agent{name: a.Name, weight: weight, away: a.Away, pool: number, seat: int32(len(of.agents))})
		of.agents = append(of.agents, int32(i))
		p.hashes = append(p.hashes, hash(a.Name))
		p.heaviest = max(p.heaviest, weight)
	}
	p.owned = make([][]int32, len(agents))
	p.addKeys(in, agents, index, pools)
	return p
}

// pool is the index of the pool of that name.
func (p *plan) pool(in Input, pools map[string]int32, name string) int32 {
	number, known := pools[name]
	if !known {
		number = int32(len(pools))
		pools[name] = number
		rules := in.Pools[name]
		if rules.MaxLoadFactor < 1 {
			rules.MaxLoadFactor = DefaultMaxLoadFactor
		}
		if rules.Budget == Unlimited {
			rules.Wishes = Unlimited
		}
		p.pools = append(p.pools, pool{Pool: rules})
	}
	return number
}

// spend takes one move out of the pool's budget, if there is one left.
func (p *plan) spend(pool int32) bool {
	left := &p.pools[pool].Budget
	if *left == 0 {
		return false
	}
	*left--
	return true
}

// spendWish takes one move for a wish out of the pool's budget, if there is one
// left for that.
func (p *plan) spendWish(pool int32) bool {
	left := &p.pools[pool].Wishes
	if *left == 0 || !p.spend(pool) {
		return false
	}
	*left--
	return true
}

// leaveRestToWishes lets wishes have what is left of the budgets.
func (p *plan) leaveRestToWishes() {
	for i := range p.pools {
		p.pools[i].Wishes = p.pools[i].Budget
	}
}

func (p *plan) addKeys(in Input, agents []Agent, index, pools map[string]int32) {
	classes := map[classID]int32{}
	p.keys = make([]key, len(in.Keys))
	p.moved = make([]Reason, len(in.Keys))
	for i, k := range in.Keys {
		id := classID{pool: k.Pool, class: k.Class}
		number, known := classes[id]
		if !known {
			number = int32(len(classes))
			classes[id] = number
			p.classes = append(p.classes, p.newClass(k.Class, p.pool(in, pools, k.Pool), agents, in.Allows))
		}
		added := &p.keys[i]
		*added = key{hash: hash(k.Key.String()), cost: max(k.Cost, 0), input: int32(i), class: number, pin: none, owner: none}
		if pin, ok := index[k.Pin]; ok && p.mayOwn(number, pin) {
			added.pin = pin
		}
		current := in.Current[k.Key]
		switch owner, present := index[current]; {
		case current == "":
			p.moved[i] = Placed
		case !present:
			p.moved[i] = OwnerGone
		case p.mayOwn(number, owner):
			added.owner = owner
		case p.agents[owner].pool != p.classes[number].pool && (in.Allows == nil || in.Allows(k.Class, agents[owner])):
			added.owner, added.guest = owner, true
		default:
			p.moved[i] = NotAllowed
		}
	}
	slices.SortFunc(p.keys, func(a, b key) int {
		if order := cmp.Or(cmp.Compare(b.cost, a.cost), cmp.Compare(a.hash, b.hash)); order != 0 {
			return order
		}
		return in.Keys[a.input].Key.Compare(in.Keys[b.input].Key)
	})
	p.draws = make([]uint64, len(p.keys))
	for i := range p.keys {
		p.draws[i] = p.keys[i].hash
	}
}

// newClass looks at the agents of the pool alone: there may be as many pools as
// agents.
func (p *plan) newClass(name string, pool int32, agents []Agent, allows func(string, Agent) bool) class {
	own := p.pools[pool].agents
	c := class{pool: pool, allowed: make([]bool, len(own))}
	for seat, i := range own {
		if allows == nil || allows(name, agents[i]) {
			c.members = append(c.members, i)
			c.allowed[seat] = true
		}
	}
	return c
}

// mayOwn says whether the agent may own the keys of the class.
func (p *plan) mayOwn(class, agent int32) bool {
	c, a := &p.classes[class], &p.agents[agent]
	return c.pool == a.pool && c.allowed[a.seat]
}

// setBounds computes the bounds of each agent's load. Agents that have no class
// in common, directly or through others, cannot share work: each such group has
// a mean of its own.
func (p *plan) setBounds() {
	p.group()
	cost, weight, largest := map[int]int64{}, map[int]int64{}, map[int]int64{}
	for _, k := range p.keys {
		if members := p.classes[k.class].members; len(members) > 0 && !k.guest {
			group := p.agents[members[0]].group
			cost[group] += k.cost
			largest[group] = max(largest[group], k.cost)
		}
	}
	for _, a := range p.agents {
		weight[a.group] += a.weight
	}
	for i := range p.agents {
		a := &p.agents[i]
		a.mean = float64(cost[a.group]) / float64(weight[a.group]) * float64(a.weight)
		a.upper = p.factor(a)*a.mean + float64(largest[a.group])
		a.lower = a.mean / p.factor(a)
	}
}

// group numbers the agents by the groups that share classes: the number is the
// smallest index of a member.
func (p *plan) group() {
	parent := make([]int, len(p.agents))
	for i := range parent {
		parent[i] = i
	}
	root := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	for _, c := range p.classes {
		for _, m := range c.members {
			a, b := root(int(c.members[0])), root(int(m))
			parent[max(a, b)] = min(a, b)
		}
	}
	for i := range p.agents {
		p.agents[i].group = root(i)
	}
}

// factor is the maximum load factor in the agent's pool.
func (p *plan) factor(a *agent) float64 { return p.pools[a.pool].MaxLoadFactor }

// draw of the key and the agent.
func (p *plan) draw(k, a int32) int64 { return draw(p.keys[k].hash, p.hashes[a]) }

// result compares the plan with the owners before.
func (p *plan) result(in Input) Result {
	owners := make([]int32, len(p.keys))
	for _, k := range p.keys {
		owners[k.input] = k.owner
	}
	result := Result{Owners: make(map[Key]string, len(p.keys))}
	for i, owner := range owners {
		name := in.Keys[i].Key
		from, to := in.Current[name], ""
		if owner != none {
			to = p.agents[owner].name
			result.Owners[name] = to
		}
		if to == from || to == "" && p.moved[i] == OwnerGone {
			continue
		}
		result.Moves = append(result.Moves, Move{Key: name, From: from, To: to, Reason: p.moved[i]})
	}
	return result
}
