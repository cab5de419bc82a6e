package queue

// Idle is how many workers wait for an item.
func (q *Queue[T, K]) Idle() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.idle
}
