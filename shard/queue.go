package shard

// candidate is a key that an agent might take.
type candidate struct {
	key int32
	// draw orders the keys of one agent by how much they prefer it.
	draw int64
}

// queue is a binary heap: the key that prefers the agent most is on top. An
// agent takes few of many candidates, so they are not sorted. (container/heap
// costs four times as much here: half of a large rebalance.)
type queue []candidate

// before orders candidates; no two are equal.
func (q queue) before(i, j int) bool {
	if q[i].draw != q[j].draw {
		return q[i].draw > q[j].draw
	}
	return q[i].key < q[j].key
}

// order makes a heap of candidates in any order.
func (q queue) order() {
	for i := len(q)/2 - 1; i >= 0; i-- {
		q.sink(i)
	}
}

// pop takes the top off.
func (q *queue) pop() int32 {
	top, last := (*q)[0].key, len(*q)-1
	(*q)[0] = (*q)[last]
	*q = (*q)[:last]
	q.sink(0)
	return top
}

// sink moves a candidate down to where it belongs.
func (q queue) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(q) {
			return
		}
		if child+1 < len(q) && q.before(child+1, child) {
			child++
		}
		if !q.before(child, i) {
			return
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
}
