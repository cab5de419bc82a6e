package reconcile

import (
	"cmp"
	"time"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
)

// Flux's defaults (FLUX.md §2.6).
const (
	DefaultMinRetryDelay = 750 * time.Millisecond
	DefaultMaxRetryDelay = 15 * time.Minute
)

// Pace is how hard a controller works. Zero means the default.
type Pace struct {
	// Concurrent is how many objects are reconciled at once; 4.
	Concurrent int
	// MinRetryDelay and MaxRetryDelay bound the backoff of an object that fails
	// and does not say itself when to try again; 750 ms and 15 min.
	MinRetryDelay, MaxRetryDelay time.Duration
}

// Options are those of a controller that keeps the pace.
func (p Pace) Options() controller.Options {
	const concurrent = 4
	return controller.Options{
		NewQueue:                NewQueue,
		MaxConcurrentReconciles: cmp.Or(p.Concurrent, concurrent),
		RateLimiter:             p.Limiter(),
	}
}

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
