package reconcile

import (
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/headwater-dev/headwater/internal/queue"
)

// NewQueue is for the controller option of that name, of controllers that need not be
// fair (Pace.Options are). That of controller-runtime v0.24.1 can lock up when it is shut
// down while an item becomes ready (issue 3538 there), so that the manager never ends.
func NewQueue(name string, limiter workqueue.TypedRateLimiter[ctrl.Request]) workqueue.TypedRateLimitingInterface[ctrl.Request] {
	itself := func(item ctrl.Request) ctrl.Request { return item }
	return queue.New(name, itself, &queue.Slots[ctrl.Request]{Cap: 1}, limiter, clock.RealClock{})
}
