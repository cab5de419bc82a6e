package placement

import "time"

// bucket is the budget of moves of one crew: it fills up as time passes, to what
// one minute allows.
type bucket struct {
	moves float64
	at    time.Time
	// perMinute is the rate at which it filled up last.
	perMinute int
	// turn says that wishes have the larger half of an odd number of moves, which
	// balance had the last time.
	turn bool
}

// allowance is how many keys of a crew may move of their own accord now: at most
// moves, and of these wishes before balance has had its turn, to agents that
// they are pinned to or because they came from another pool.
type allowance struct{ moves, wishes int }

// fill brings the bucket up to now. A new one is full.
func (b *bucket) fill(now time.Time, perMinute int) {
	if b.at.IsZero() {
		b.moves = float64(perMinute)
	} else {
		b.moves += now.Sub(b.at).Minutes() * float64(perMinute)
	}
	b.moves, b.at, b.perMinute = min(b.moves, float64(perMinute)), now, perMinute
}

// allowance is what the bucket holds: half of it for wishes.
func (b *bucket) allowance() allowance {
	moves := int(b.moves)
	if b.turn {
		return allowance{moves: moves, wishes: moves - moves/2}
	}
	return allowance{moves: moves, wishes: moves / 2}
}

// spend takes moves out, and says when an empty bucket holds a move again; zero
// while it is not empty.
func (b *bucket) spend(moves int) time.Time {
	if odd := int(b.moves)%2 == 1; odd && moves > 0 {
		b.turn = !b.turn
	}
	b.moves -= float64(moves)
	if b.moves >= 1 {
		return time.Time{}
	}
	wait := time.Duration((1 - b.moves) / float64(b.perMinute) * float64(time.Minute))
	return b.at.Add(max(wait, time.Second))
}

// fillBudgets is how many moves each crew may make now.
func (r *Reconciler) fillBudgets(ps *pools, now time.Time) map[string]allowance {
	if r.buckets == nil {
		r.buckets = map[string]*bucket{}
	}
	budget := map[string]allowance{}
	for crew, rules := range ps.rules {
		if r.buckets[crew] == nil {
			r.buckets[crew] = &bucket{}
		}
		r.buckets[crew].fill(now, rules.movesPerMinute)
		budget[crew] = r.buckets[crew].allowance()
	}
	return budget
}

// spendBudgets takes the moves of a run out, and says when more may move.
func (r *Reconciler) spendBudgets(budget map[string]allowance, moved map[string]int) time.Time {
	var next time.Time
	for crew := range budget {
		next = sooner(next, r.buckets[crew].spend(moved[crew]))
	}
	return next
}

// sooner is the earlier of two times; a zero time is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
