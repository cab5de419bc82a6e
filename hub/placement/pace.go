package placement

import "time"

// bucket is the budget of moves of one crew: it fills up as time passes, to what
// one minute allows.
type bucket struct {
	moves float64
	at    time.Time
	// perMinute is the rate at which it filled up last.
	perMinute int
}

// fill brings the bucket up to now and says how many moves it holds. A new one
// is full.
func (b *bucket) fill(now time.Time, perMinute int) int {
	if b.at.IsZero() {
		b.moves = float64(perMinute)
	} else {
		b.moves += now.Sub(b.at).Minutes() * float64(perMinute)
	}
	b.moves, b.at, b.perMinute = min(b.moves, float64(perMinute)), now, perMinute
	return int(b.moves)
}

// spend takes moves out, and says when an empty bucket holds a move again; zero
// while it is not empty.
func (b *bucket) spend(moves int) time.Time {
	b.moves -= float64(moves)
	if b.moves >= 1 {
		return time.Time{}
	}
	wait := time.Duration((1 - b.moves) / float64(b.perMinute) * float64(time.Minute))
	return b.at.Add(max(wait, time.Second))
}

// fillBudgets is how many moves each crew may make now.
func (r *Reconciler) fillBudgets(ps *pools, now time.Time) map[string]int {
	if r.buckets == nil {
		r.buckets = map[string]*bucket{}
	}
	budget := map[string]int{}
	for crew, rules := range ps.rules {
		if r.buckets[crew] == nil {
			r.buckets[crew] = &bucket{}
		}
		budget[crew] = r.buckets[crew].fill(now, rules.movesPerMinute)
	}
	return budget
}

// spendBudgets takes the moves of a run out, and says when more may move.
func (r *Reconciler) spendBudgets(budget, moved map[string]int) time.Time {
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
