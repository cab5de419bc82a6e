package reconcile

import (
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// NewQueue is for the controller option of that name, of controllers that are fair
// to nobody (Pace.Options are): the priority queue that controllers have anyway, but one that lets its workers go. That of
// controller-runtime v0.24.1 can lock up when it is shut down while an item
// becomes ready (issue 3538 there): whoever asks it for anything afterwards
// waits for ever, so that the manager never ends.
func NewQueue(name string, limiter workqueue.TypedRateLimiter[ctrl.Request]) workqueue.TypedRateLimitingInterface[ctrl.Request] {
	return &endable{
		PriorityQueue: priorityqueue.New(name, func(o *priorityqueue.Opts[ctrl.Request]) {
			o.Log = log.Log.WithValues("controller", name)
			o.RateLimiter = limiter
		}),
		down: make(chan struct{}),
	}
}

// endable waits for the one inside only while it is not shut down.
type endable struct {
	priorityqueue.PriorityQueue[ctrl.Request]
	down chan struct{}
}

type handedOut struct {
	item     ctrl.Request
	priority int
	shutdown bool
}

// GetWithPriority waits for an item.
func (q *endable) GetWithPriority() (item ctrl.Request, priority int, shutdown bool) {
	got := make(chan handedOut, 1)
	go func() {
		var h handedOut
		h.item, h.priority, h.shutdown = q.PriorityQueue.GetWithPriority()
		got <- h
	}()
	select {
	case h := <-got:
		return h.item, h.priority, h.shutdown
	case <-q.down:
		return ctrl.Request{}, 0, true
	}
}

// Get waits for an item.
func (q *endable) Get() (item ctrl.Request, shutdown bool) {
	item, _, shutdown = q.GetWithPriority()
	return item, shutdown
}

// Done takes an item back.
func (q *endable) Done(item ctrl.Request) {
	taken := make(chan struct{})
	go func() {
		q.PriorityQueue.Done(item)
		close(taken)
	}()
	select {
	case <-taken:
	case <-q.down:
	}
}

// ShutDown lets everybody go.
func (q *endable) ShutDown() {
	close(q.down)
	q.PriorityQueue.ShutDown()
}

// ShutDownWithDrain is ShutDown, as it is in the queue inside.
func (q *endable) ShutDownWithDrain() { q.ShutDown() }
