package remote

import (
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/headwater-dev/headwater/internal/queue"
	"github.com/headwater-dev/headwater/shard"
)

// Options are those of a controller whose objects belong to the keys that keyOf
// finds: many workers, and a queue that is fair between the keys. It is called
// after AddToManager.
func (c *Clusters) Options(keyOf func(ctrl.Request) shard.Key) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: c.Workers,
		RateLimiter:             c.Retries.Limiter(),
		NewQueue: func(name string, limiter workqueue.TypedRateLimiter[ctrl.Request]) workqueue.TypedRateLimitingInterface[ctrl.Request] {
			made := queue.New(name, keyOf, c.slots, limiter, clock.RealClock{})
			c.mu.Lock()
			defer c.mu.Unlock()
			c.queues = append(c.queues, made)
			return made
		},
	}
}
