package automation

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// fieldOwner is Flux's field manager of automations.
	fieldOwner = "image-automation-controller"
)

// AddToManager runs an automation when its spec changes, when a policy of its
// namespace has chosen another image, when its source has another revision,
// when somebody asks, and at its interval.
func (r *Reconciler) AddToManager(mgr ctrl.Manager) error {
	if r.Client == nil {
		r.Client = mgr.GetClient()
	}
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	if r.Remotes == nil {
		r.Remotes = &git.Opener{Secrets: r.Live, Transport: access.NewTransport(), SSH: r.SSH, Clouds: cloud.Or(r.Clouds, mgr)}
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	r.places = r.Pace.Places()
	return ctrl.NewControllerManagedBy(mgr).
		Named("imageupdateautomation").
		For(&imagev1.ImageUpdateAutomation{}, builder.WithPredicates(reconcile.Changed())).
		Watches(&imagev1.ImagePolicy{}, r.those(func(obj *imagev1.ImageUpdateAutomation, policy client.Object) bool {
			return obj.Namespace == policy.GetNamespace()
		}), builder.WithPredicates(changed(imageOf))).
		Watches(&sourcev1.GitRepository{}, r.those(func(obj *imagev1.ImageUpdateAutomation, source client.Object) bool {
			ref := obj.Spec.SourceRef
			return ref.Name == source.GetName() &&
				(ref.Namespace == source.GetNamespace() || ref.Namespace == "" && obj.Namespace == source.GetNamespace())
		}), builder.WithPredicates(changed(revisionOf))).
		WithOptions(r.Pace.Options()).
		Complete(&reconcile.Loop[*imagev1.ImageUpdateAutomation]{
			Client: r.Client,
			Status: &reconcile.Status{Client: r.Client, Live: mgr.GetAPIReader(), FieldOwner: fieldOwner},
			Kind:   r,
			Events: r.Events,
		})
}

// those enqueues the automations that a change matters to.
func (r *Reconciler) those(matters func(*imagev1.ImageUpdateAutomation, client.Object) bool) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, changed client.Object) []ctrl.Request {
		var list imagev1.ImageUpdateAutomationList
		if err := r.Client.List(ctx, &list); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list ImageUpdateAutomations", "for", client.ObjectKeyFromObject(changed))
			return nil
		}
		var requests []ctrl.Request
		for i := range list.Items {
			if matters(&list.Items[i], changed) {
				requests = append(requests, ctrl.Request{NamespacedName: types.NamespacedName{
					Namespace: list.Items[i].Namespace, Name: list.Items[i].Name,
				}})
			}
		}
		return requests
	})
}

// changed passes updates of what the function says.
func changed(of func(client.Object) string) predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return of(e.ObjectOld) != of(e.ObjectNew) },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

func imageOf(obj client.Object) string {
	policy, ok := obj.(*imagev1.ImagePolicy)
	if !ok || policy.Status.LatestRef == nil {
		return ""
	}
	return policy.Status.LatestRef.String()
}

func revisionOf(obj client.Object) string {
	source, ok := obj.(*sourcev1.GitRepository)
	if !ok || source.Status.Artifact == nil {
		return ""
	}
	return source.Status.Artifact.Revision
}
