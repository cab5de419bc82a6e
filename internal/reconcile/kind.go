package reconcile

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
)

// Object is what the loop needs to know of a kind's Go type.
type Object interface {
	client.Object
	// CommonStatus is the part of the status that the loop owns.
	CommonStatus() *meta.Status
	// Suspended says whether spec.suspend holds.
	Suspended() bool
	// Interval is the time between two runs when nothing happens.
	Interval() time.Duration
	// RetryInterval is the time until a failed run is repeated; zero means the
	// controller's exponential backoff.
	RetryInterval() time.Duration
}

// Kind is what a controller supplies to the loop. Its methods change the
// object's status in memory and return how it went: nil, Wait, Fail, Stall,
// ErrNotOwner, or a bare error, which is a Fail. They never touch the Ready,
// Reconciling, Stalled and Suspended conditions, observedGeneration or
// lastHandledReconcileAt, and never write the final status themselves.
type Kind[T Object] interface {
	// Reconcile brings the world in line with the object.
	Reconcile(ctx context.Context, obj T) error
	// Finalize undoes it. The finalizer is dropped when it returns nil.
	Finalize(ctx context.Context, obj T) error
	// Ready is the reason and message of the Ready condition of an object
	// whose Reconcile returned nil.
	Ready(obj T) (reason, message string)
}

// Forgetter is a Kind that remembers things between runs.
type Forgetter interface {
	// Forget is called when the object is gone, or is no longer this process's.
	// It may be called for objects that were never seen.
	Forget(types.NamespacedName)
}

// Settler is a Kind that has to know when what a run has put into the status is
// written.
type Settler interface {
	// Settled is called at the end of a run with the object that the run had.
	Settled(client.Object)
}
