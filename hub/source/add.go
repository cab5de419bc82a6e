package source

import (
	"reflect"
	"strings"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// fieldOwner is Flux's field manager of sources.
const fieldOwner = "source-controller"

// AddToManager runs the kind in the loop: when an object's spec changes, or a
// watched Secret that it names, when somebody asks, and at its interval.
func (r *Reconciler[T]) AddToManager(mgr ctrl.Manager) error {
	r.places = r.Pace.Places()
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
		Quiet:    func(before, now T) bool { return isNew(before.GetArtifact(), now.GetArtifact()) },
	}
	var zero T
	obj := reflect.New(reflect.TypeOf(zero).Elem()).Interface().(T)
	controller := ctrl.NewControllerManagedBy(mgr).
		Named(strings.ToLower(r.Fetcher.Kind())).
		For(obj, builder.WithPredicates(reconcile.Changed())).
		WithOptions(r.Pace.Options())
	WatchSecrets(controller, mgr.GetClient(), obj, nil)
	if r.Watches != nil {
		r.Watches(controller)
	}
	if r.Wrap != nil {
		return controller.Complete(r.Wrap(loop))
	}
	return controller.Complete(loop)
}
