package guard

import (
	"context"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headwater-dev/headwater/shard"
)

// Keeper knows which keys this agent owns.
type Keeper interface {
	// Admit begins a run for the key, which the function ends. Where it may
	// not begin the function is nil; look again after the given time, or with
	// a time of zero not here at all.
	Admit(shard.Key) (end func(), after time.Duration)
}

// Reconciler runs Next for the objects whose key this agent owns, and forgets
// the others without a write.
type Reconciler[T client.Object] struct {
	// Reader reads from the cache.
	Reader client.Reader
	// Keeper knows what is owned.
	Keeper Keeper
	// New makes an empty object to read into.
	New func() T
	// Meter measures the work for a key, and the function that it returns ends
	// that; nil for no measurement.
	Meter func(shard.Key) (end func())
	// Key is the key of an object.
	Key func(T) shard.Key
	// Next does the work.
	Next reconcile.Reconciler
}

// Reconcile passes the request on if the object is this agent's.
func (r *Reconciler[T]) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	obj := r.New()
	// Not copied: nothing but the key is taken from it.
	if err := r.Reader.Get(ctx, request.NamespacedName, obj, client.UnsafeDisableDeepCopy); err != nil {
		if client.IgnoreNotFound(err) == nil {
			// Gone, or routed elsewhere. The loop drops what it remembers.
			return r.Next.Reconcile(ctx, request)
		}
		return ctrl.Result{}, err
	}
	key := r.Key(obj)
	end, after := r.Keeper.Admit(key)
	if end == nil {
		return ctrl.Result{RequeueAfter: after}, nil
	}
	defer end()
	if r.Meter != nil {
		defer r.Meter(key)()
	}
	return r.Next.Reconcile(ctx, request)
}
