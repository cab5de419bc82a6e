package queue

// delayed is a heap of the entries that are not ready, the soonest first.
type delayed[T, K comparable] []*entry[T, K]

// Len implements heap.Interface, as do the others.
func (d delayed[T, K]) Len() int { return len(d) }

// Less orders by time.
func (d delayed[T, K]) Less(i, j int) bool { return d[i].readyAt.Before(d[j].readyAt) }

// Swap keeps the entries' indexes.
func (d delayed[T, K]) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push adds an entry at the end.
func (d *delayed[T, K]) Push(x any) {
	e, _ := x.(*entry[T, K])
	e.index = len(*d)
	*d = append(*d, e)
}

// Pop takes the last entry.
func (d *delayed[T, K]) Pop() any {
	last := len(*d) - 1
	e := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	e.index = -1
	return e
}
