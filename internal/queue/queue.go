package queue

import (
	"container/heap"
	"container/list"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
)

// Queue is a work queue that is fair between keys. It is safe for concurrent
// use; New makes one.
type Queue[T, K comparable] struct {
	// Name is the one that it was made with.
	Name string

	keyOf   func(T) K
	slots   *Slots[K]
	limiter workqueue.TypedRateLimiter[T]
	clock   clock.WithDelayedExecution
	metrics metrics
	// user is which of the slots' users it is.
	user int

	mu    sync.Mutex
	ready *sync.Cond
	// entries are all that is queued, by item.
	entries map[T]*entry[T, K]
	// running are the items that workers have, and the keys whose slots they
	// take.
	running map[T]running[K]
	ring    ring[T, K]
	waiting delayed[T, K]
	// idle is how many workers wait for an item, and begun are running items that
	// they have not seen yet.
	idle  int
	begun []*entry[T, K]
	// timer ends the wait of the soonest one.
	timer clock.Timer
	shut  bool
}

type running[K comparable] struct {
	key   K
	since time.Time
}

// entry is an item in the queue: in the ring, among the waiting, or in neither
// while a worker still has the item.
type entry[T, K comparable] struct {
	item     T
	key      K
	priority int
	// readyAt is zero for what is ready; since is when that came.
	readyAt, since time.Time
	index          int // in waiting, -1 when not there

	level *level[T, K]
	lane  *lane[T, K]
	place *list.Element
}

var _ priorityqueue.PriorityQueue[string] = &Queue[string, string]{}

// New makes a queue. The name stands in its metrics; keyOf finds the key of an
// item and is called without a lock.
func New[T, K comparable](name string, keyOf func(T) K, slots *Slots[K], limiter workqueue.TypedRateLimiter[T], by clock.WithDelayedExecution) *Queue[T, K] {
	q := &Queue[T, K]{
		Name: name, keyOf: keyOf, slots: slots, limiter: limiter, clock: by, metrics: metricsOf(name),
		entries: map[T]*entry[T, K]{}, running: map[T]running[K]{},
	}
	q.ready = sync.NewCond(&q.mu)
	q.user = slots.subscribe(user[K]{offer: q.offer, freed: q.freed})
	return q
}

// AddWithOpts puts items into the queue, or changes those that are in it: the
// higher priority and the sooner time count.
func (q *Queue[T, K]) AddWithOpts(o priorityqueue.AddOpts, items ...T) {
	for _, item := range items {
		after := o.After
		if o.RateLimited {
			if limited := q.limiter.When(item); after == 0 || limited < after {
				after = limited
			}
		}
		q.add(item, q.keyOf(item), ptr.Deref(o.Priority, 0), after)
	}
}

func (q *Queue[T, K]) add(item T, key K, priority int, after time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.shut {
		return
	}
	now := q.clock.Now()
	var readyAt time.Time
	if after > 0 {
		readyAt = now.Add(after)
	}
	e := q.entries[item]
	if e == nil {
		e = &entry[T, K]{item: item, priority: priority, readyAt: readyAt, index: -1}
		q.entries[item] = e
	} else {
		if e.lane != nil && e.key == key && priority <= e.priority {
			return // it keeps its place
		}
		q.take(e)
		e.priority = max(e.priority, priority)
		if readyAt.Before(e.readyAt) {
			e.readyAt = readyAt
		}
	}
	e.key = key
	q.place(e, now)
}

// take takes an entry out of where it is.
func (q *Queue[T, K]) take(e *entry[T, K]) {
	if e.index >= 0 {
		heap.Remove(&q.waiting, e.index)
	}
	if e.lane != nil {
		q.ring.remove(e)
	}
}

// place puts an entry where it belongs. An entry whose item a worker has stays
// outside until it is done.
func (q *Queue[T, K]) place(e *entry[T, K], now time.Time) {
	if e.readyAt.After(now) {
		heap.Push(&q.waiting, e)
		q.arm(now)
		return
	}
	e.readyAt = time.Time{}
	if e.since.IsZero() {
		e.since = now
		q.metrics.adds.Inc()
	}
	if _, busy := q.running[e.item]; !busy {
		q.ring.put(e)
		q.ready.Signal()
	}
	q.metrics.depth.Set(float64(q.ring.size))
}

// arm sets the timer to the soonest of the waiting.
func (q *Queue[T, K]) arm(now time.Time) {
	if q.timer != nil {
		q.timer.Stop()
	}
	if len(q.waiting) > 0 {
		q.timer = q.clock.AfterFunc(q.waiting[0].readyAt.Sub(now), func() { go q.elapsed() })
	}
}

// elapsed moves those whose time has come into the ring.
func (q *Queue[T, K]) elapsed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.shut {
		return
	}
	now := q.clock.Now()
	for len(q.waiting) > 0 && !q.waiting[0].readyAt.After(now) {
		e, _ := heap.Pop(&q.waiting).(*entry[T, K])
		q.place(e, now)
	}
	q.arm(now)
}

// GetWithPriority waits for an item whose turn it is. Each is given back with
// Done.
func (q *Queue[T, K]) GetWithPriority() (item T, priority int, shutdown bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.shut {
			return item, 0, true
		}
		if e := q.next(); e != nil {
			return e.item, e.priority, false
		}
		q.idle++
		q.ready.Wait()
		q.idle--
	}
}

// next is an entry that a worker may begin with.
func (q *Queue[T, K]) next() *entry[T, K] {
	if len(q.begun) > 0 {
		e := q.begun[0]
		q.begun = q.begun[1:]
		return e
	}
	e := q.ring.next(q.slots.Take)
	if e != nil {
		q.begin(e)
	}
	return e
}

// begin notes that an entry is worked on, which has a slot and is out of the ring.
func (q *Queue[T, K]) begin(e *entry[T, K]) {
	now := q.clock.Now()
	delete(q.entries, e.item)
	q.running[e.item] = running[K]{key: e.key, since: now}
	q.metrics.waited.Observe(now.Sub(e.since).Seconds())
	q.metrics.depth.Set(float64(q.ring.size))
	q.metrics.running.Set(float64(len(q.running)))
}

// offer takes the slot over where a worker waits, and would come
// too late for it.
func (q *Queue[T, K]) offer(key K) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.ring.first(key)
	if e == nil || q.shut || q.idle <= len(q.begun) {
		return false
	}
	q.ring.remove(e)
	q.begin(e)
	q.begun = append(q.begun, e)
	q.ready.Signal()
	return true
}

// freed lets workers look at what waits for the key.
func (q *Queue[T, K]) freed(key K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ring.freed(key) {
		q.ready.Signal()
	}
}

// Done gives an item back, and its slot.
func (q *Queue[T, K]) Done(item T) {
	q.mu.Lock()
	had, ok := q.running[item]
	if !ok {
		q.mu.Unlock()
		return
	}
	delete(q.running, item)
	q.metrics.worked.Observe(q.clock.Since(had.since).Seconds())
	q.metrics.running.Set(float64(len(q.running)))
	if e := q.entries[item]; e != nil && e.index < 0 && e.lane == nil {
		q.place(e, q.clock.Now())
	}
	q.mu.Unlock()
	q.slots.free(had.key, q.user)
}

// Waiting are the items of the key that are ready and wait for their turn, in the
// order in which they get it.
func (q *Queue[T, K]) Waiting(key K) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ring.waiting(key)
}

// Len is how many items are ready.
func (q *Queue[T, K]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ring.size
}

// Get is GetWithPriority for those who do not mind the priority.
func (q *Queue[T, K]) Get() (item T, shutdown bool) {
	item, _, shutdown = q.GetWithPriority()
	return item, shutdown
}

// Add adds an item that is ready.
func (q *Queue[T, K]) Add(item T) { q.AddWithOpts(priorityqueue.AddOpts{}, item) }

// AddAfter adds an item that will be ready after the time.
func (q *Queue[T, K]) AddAfter(item T, after time.Duration) {
	q.AddWithOpts(priorityqueue.AddOpts{After: after}, item)
}

// AddRateLimited adds an item that will be ready when the limiter says.
func (q *Queue[T, K]) AddRateLimited(item T) {
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, item)
}

// Forget makes the limiter forget the item's failures.
func (q *Queue[T, K]) Forget(item T) { q.limiter.Forget(item) }

// NumRequeues is how often the limiter was asked for the item.
func (q *Queue[T, K]) NumRequeues(item T) int { return q.limiter.NumRequeues(item) }

// ShutDown ends all waits. Items that workers have are finished by them.
func (q *Queue[T, K]) ShutDown() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shut = true
	if q.timer != nil {
		q.timer.Stop()
	}
	q.ready.Broadcast()
}

// ShutDownWithDrain is ShutDown: controllers wait for their workers themselves.
func (q *Queue[T, K]) ShutDownWithDrain() { q.ShutDown() }

// ShuttingDown says whether ShutDown was called.
func (q *Queue[T, K]) ShuttingDown() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.shut
}
