package policy

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// fieldOwner is Flux's field manager of scans and choices.
	fieldOwner = "image-reflector-controller"
	// byRepository indexes policies by the ImageRepository they choose from.
	byRepository = "imageRepository"
)

// AddToManager chooses when a policy changes, when a scan has found other tags,
// when somebody asks, and at the interval of the digest.
func (r *Reconciler) AddToManager(mgr ctrl.Manager) error {
	if r.Client == nil {
		r.Client = mgr.GetClient()
	}
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	if r.Registry == nil {
		r.Registry = &registry.Opener{Secrets: r.Live, Transport: access.NewTransport(), Clouds: cloud.Or(r.Clouds, mgr)}
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &imagev1.ImagePolicy{}, byRepository, repositoryOf); err != nil {
		return fmt.Errorf("index ImagePolicies by their ImageRepository: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("imagepolicy").
		For(&imagev1.ImagePolicy{}, builder.WithPredicates(reconcile.Changed())).
		Watches(&imagev1.ImageRepository{}, handler.EnqueueRequestsFromMapFunc(r.policiesOf), builder.WithPredicates(scanned())).
		WithOptions(r.Pace.Options()).
		Complete(&reconcile.Loop[*imagev1.ImagePolicy]{
			Client: r.Client,
			Status: &reconcile.Status{Client: r.Client, Live: mgr.GetAPIReader(), FieldOwner: fieldOwner},
			Kind:   r,
			Events: r.Events,
		})
}

func repositoryOf(obj client.Object) []string {
	policy, ok := obj.(*imagev1.ImagePolicy)
	if !ok {
		return nil
	}
	namespace := policy.Spec.ImageRepositoryRef.Namespace
	if namespace == "" {
		namespace = policy.Namespace
	}
	return []string{namespace + "/" + policy.Spec.ImageRepositoryRef.Name}
}

// policiesOf are the policies that choose from the repository.
func (r *Reconciler) policiesOf(ctx context.Context, repository client.Object) []ctrl.Request {
	var policies imagev1.ImagePolicyList
	if err := r.Client.List(ctx, &policies, client.MatchingFields{byRepository: repository.GetNamespace() + "/" + repository.GetName()}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list ImagePolicies", "repository", client.ObjectKeyFromObject(repository))
		return nil
	}
	requests := make([]ctrl.Request, len(policies.Items))
	for i := range policies.Items {
		requests[i].NamespacedName = types.NamespacedName{Namespace: policies.Items[i].Namespace, Name: policies.Items[i].Name}
	}
	return requests
}

// scanned passes repositories whose scan has found something else than before, or
// the same again after it was lost, and those that allow others than before to read them.
func scanned() predicate.Predicate {
	result := func(obj client.Object) string {
		repository, ok := obj.(*imagev1.ImageRepository)
		if !ok || repository.Status.LastScanResult == nil {
			return ""
		}
		found := repository.Status.LastScanResult
		return repository.Status.CanonicalImageName + "@" + found.Revision + " " + found.ScanTime.String()
	}
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return result(e.ObjectOld) != result(e.ObjectNew) || e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration()
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// requestOf is the reconcile request that the object carries.
func requestOf(obj *imagev1.ImagePolicy) string {
	return obj.Annotations[meta.ReconcileRequestAnnotation]
}
