package shard

// DefaultMaxLoadFactor is how many times the mean an agent may carry, besides
// one key more.
const DefaultMaxLoadFactor = 1.25

// Unlimited is the Budget that lets every move happen that balance asks for.
const Unlimited = -1

// Agent is one that can own keys.
type Agent struct {
	// Name is the same after a restart.
	Name string
	// Pool that the agent belongs to; empty is a pool like any other.
	Pool string
	// Labels of the agent, for Input.Allows.
	Labels map[string]string
	// Weight is the agent's share of the work in proportion to the others';
	// zero means 1.
	Weight int64
	// Away agents keep what they own and are given nothing: they are expected
	// back.
	Away bool
}

// KeyState is a key that needs an owner.
type KeyState struct {
	Key Key
	// Cost of the key, in any unit that is the same for all keys. A key that
	// costs nothing is never moved for balance.
	Cost int64
	// Pool that serves the key: only its agents are given it. An owner that is in
	// another pool keeps it until that pool's budget lets it move, or has nobody
	// for it.
	Pool string
	// Class stands for all keys of a pool that the same agents may own.
	Class string
	// Pin is the agent that should own the key as long as it is present and
	// allowed; empty for none. A key that has an owner goes there when the pool's
	// budget lets it.
	Pin string
}

// Input is all that an assignment depends on.
type Input struct {
	// Agents that are present or expected back. Names are unique.
	Agents []Agent
	// Keys, each once.
	Keys []KeyState
	// Allows says whether an agent may own the keys of a class, whatever their
	// pools; nil means that each agent may. It is asked once for each pair.
	Allows func(class string, agent Agent) bool
	// Current is the owner of each key that has one, present or not.
	Current map[Key]string
	// Pools say how the keys of each pool are spread. One that is missing has
	// the default factor and no budget.
	Pools map[string]Pool
}

// Pool says how keys are spread over the agents of one pool.
type Pool struct {
	// MaxLoadFactor is at least 1; anything less means the default.
	MaxLoadFactor float64
	// Budget is how many keys of the pool may move for balance, to an agent that
	// they are pinned to, or because they came from another pool; Unlimited for no
	// limit. Keys that must move do so in any case and do not count.
	Budget int
	// Wishes is how many of these may move to an agent that they are pinned to, or
	// because they came from another pool, before balance has had its turn. What
	// balance leaves of the Budget is theirs too. Without a limit of the Budget
	// there is none here.
	Wishes int
}

// Reason is why a key changes its owner.
type Reason string

// Reasons of a Move.
const (
	// Placed keys had no owner before.
	Placed Reason = "Placed"
	// OwnerGone keys belonged to an agent that is gone.
	OwnerGone Reason = "OwnerGone"
	// NotAllowed keys belonged to an agent that may not own them any more.
	NotAllowed Reason = "NotAllowed"
	// PoolChanged keys belonged to an agent of another pool.
	PoolChanged Reason = "PoolChanged"
	// Pinned keys go to the agent that they are pinned to.
	Pinned Reason = "Pinned"
	// Overloaded agents give keys away.
	Overloaded Reason = "Overloaded"
	// Balanced keys go to an agent that has too little to do.
	Balanced Reason = "Balanced"
)

// Voluntary says whether moves of that reason wait for the budget.
func (r Reason) Voluntary() bool {
	return r == Balanced || r == Overloaded || r == PoolChanged || r == Pinned
}

// Move is one key's change of owner.
type Move struct {
	Key Key
	// From is empty for a key that had no owner.
	From string
	// To is empty when the owner loses the key and nobody else may have it.
	To     string
	Reason Reason
}

// Result is an assignment.
type Result struct {
	// Owners of the keys. A key that no present agent may own is not in it.
	Owners map[Key]string
	// Moves are the differences to Input.Current, in the order of Input.Keys.
	// A key whose owner is gone and that nobody can take is not among them: it
	// is left to an owner that may come back.
	Moves []Move
}

// Assign gives each key to one of the agents of its pool. An owner is kept
// unless it is gone, may not own the key, is in another pool, carries more than
// the upper bound, or another agent carries less than the lower bound.
//
// With mean as the cost for one unit of weight among the agents that share a
// class of keys directly or through others, an agent's upper bound is
// MaxLoadFactor × mean × weight plus the largest cost of one key, and its lower
// bound is mean × weight ÷ MaxLoadFactor. A key fits an agent below the lower
// bound if its owner is above its own mean and the agent would have less to do
// with the key than the owner has now, in proportion to the weights. Each such
// move makes the fuller of the two less full, so that balancing comes to an end
// and a second run finds nothing to do.
//
// It changes nothing of its input and may run concurrently with itself.
func Assign(in Input) Result {
	p := newPlan(in)
	p.keepOwners()
	p.grantWishes()
	p.spread()
	p.leaveRestToWishes()
	if p.grantWishes() {
		p.spread()
	}
	return p.result(in)
}
