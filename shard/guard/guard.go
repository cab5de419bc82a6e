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
	// Admit says whether work for the key may begin; when not, how soon to
	// look again, zero for not here at all.
	Admit(shard.Key) (ok bool, after time.Duration)
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
	// Key is the key of an object.
	Key func(T) shard.Key
	// Next does the work.
	Next reconcile.Reconciler
}

// Reconcile passes the request on if the object is this agent's.
func (r *Reconciler[T]) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	obj := r.New()
	if err := r.Reader.Get(ctx, request.NamespacedName, obj); err != nil {
		if client.IgnoreNotFound(err) == nil {
			// Gone, or routed elsewhere. The loop drops what it remembers.
			return r.Next.Reconcile(ctx, request)
		}
		return ctrl.Result{}, err
	}
	if ok, after := r.Keeper.Admit(r.Key(obj)); !ok {
		return ctrl.Result{RequeueAfter: after}, nil
	}
	return r.Next.Reconcile(ctx, request)
}
