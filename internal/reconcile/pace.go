package reconcile

import (
	"cmp"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/headwater-dev/headwater/internal/queue"
)

// Flux's defaults (FLUX.md §2.6).
const (
	DefaultMinRetryDelay = 750 * time.Millisecond
	DefaultMaxRetryDelay = 15 * time.Minute
)

const (
	defaultConcurrent = 4
	// shares are how many namespaces can have all that is theirs at once. Most
	// workers wait for a network, and one costs little.
	shares = 8
)

// Pace is how hard a controller works. Zero means the default.
type Pace struct {
	// Concurrent is how many objects of one namespace are reconciled at once; 4.
	// Of all namespaces together it is eight times as many.
	Concurrent int
	// MinRetryDelay and MaxRetryDelay bound the backoff of an object that fails
	// and does not say itself when to try again; 750 ms and 15 min.
	MinRetryDelay, MaxRetryDelay time.Duration
	// MaxTimeout bounds the spec.timeout of each object, where the kind has one; no
	// bound.
	MaxTimeout MaxTimeout
}

// Options are those of a controller that keeps the pace, with a queue that is
// fair between the namespaces.
func (p Pace) Options() controller.Options {
	slots := &queue.Slots[string]{Cap: p.concurrent()}
	return controller.Options{
		MaxConcurrentReconciles: shares * p.concurrent(),
		RateLimiter:             p.Limiter(),
		NewQueue: func(name string, limiter workqueue.TypedRateLimiter[ctrl.Request]) workqueue.TypedRateLimitingInterface[ctrl.Request] {
			return queue.New(name, namespaceOf, slots, limiter, clock.RealClock{})
		},
	}
}

// Places are those of a controller that keeps the pace: as many as one namespace can
// take, and one more, so that it never has them all.
func (p Pace) Places() *queue.Places { return queue.NewPlaces(p.concurrent() + 1) }

func (p Pace) concurrent() int { return cmp.Or(p.Concurrent, defaultConcurrent) }

func namespaceOf(request ctrl.Request) string { return request.Namespace }

// Limiter doubles the pause after each failure of an object.
func (p Pace) Limiter() workqueue.TypedRateLimiter[ctrl.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](
		cmp.Or(p.MinRetryDelay, DefaultMinRetryDelay), cmp.Or(p.MaxRetryDelay, DefaultMaxRetryDelay))
}

// Pause is that after so many failures before: doubled each time, as by Limiter.
func (p Pace) Pause(before int) time.Duration {
	pause, most := cmp.Or(p.MinRetryDelay, DefaultMinRetryDelay), cmp.Or(p.MaxRetryDelay, DefaultMaxRetryDelay)
	for range before {
		if pause >= most {
			break
		}
		pause *= 2
	}
	return min(pause, most)
}
