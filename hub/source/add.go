package source

import (
	"reflect"
	"strings"
	"time"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// fieldOwner is Flux's field manager of sources.
const fieldOwner = "source-controller"

// Flux's defaults.
const (
	defaultConcurrent    = 2
	defaultMinRetryDelay = 750 * time.Millisecond
	defaultMaxRetryDelay = 15 * time.Minute
)

// Pace is how hard a controller works. Zero means the default.
type Pace struct {
	// Concurrent is how many objects are reconciled at once; 2.
	Concurrent int
	// MinRetryDelay and MaxRetryDelay bound the backoff of an object that
	// fails; 750 ms and 15 min.
	MinRetryDelay, MaxRetryDelay time.Duration
}

func (p Pace) options() controller.Options {
	if p.Concurrent == 0 {
		p.Concurrent = defaultConcurrent
	}
	if p.MinRetryDelay == 0 {
		p.MinRetryDelay = defaultMinRetryDelay
	}
	if p.MaxRetryDelay == 0 {
		p.MaxRetryDelay = defaultMaxRetryDelay
	}
	return controller.Options{
		NewQueue:                reconcile.NewQueue,
		MaxConcurrentReconciles: p.Concurrent,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](p.MinRetryDelay, p.MaxRetryDelay),
	}
}

// AddToManager runs the kind in the loop: when an object's spec changes, or a
// watched Secret that it names, when somebody asks, and at its interval.
func (r *Reconciler[T]) AddToManager(mgr ctrl.Manager) error {
	loop := &reconcile.Loop[T]{
		Client: mgr.GetClient(),
		Status: &reconcile.Status{
			Client:     mgr.GetClient(),
			Live:       mgr.GetAPIReader(),
			FieldOwner: fieldOwner,
		},
		Kind:     r,
		Events:   r.Events,
		Revision: r.Revision,
		Quiet:    true,
	}
	var zero T
	obj := reflect.New(reflect.TypeOf(zero).Elem()).Interface().(T)
	controller := ctrl.NewControllerManagedBy(mgr).
		Named(strings.ToLower(r.Fetcher.Kind())).
		For(obj, builder.WithPredicates(reconcile.Changed())).
		WithOptions(r.Pace.options())
	WatchSecrets(controller, mgr.GetClient(), obj, nil)
	if r.Watches != nil {
		r.Watches(controller)
	}
	if r.Wrap != nil {
		return controller.Complete(r.Wrap(loop))
	}
	return controller.Complete(loop)
}
