package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// AddToManager sets the defaults and starts the controller with the manager. It
// runs on the leader alone.
func (r *Reconciler) AddToManager(mgr ctrl.Manager) error {
	if r.Client == nil {
		r.Client = mgr.GetClient()
	}
	// The hub's own RemoteCluster is wanted although nothing refers to it.
	start := make(chan event.GenericEvent, 1)
	start <- event.GenericEvent{Object: &fleetv1.RemoteCluster{}}
	first := func(context.Context, client.Object) []ctrl.Request { return request(r.Namespace) }
	news, err := r.followClusterAPI(mgr)
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("fleet").
		WatchesRawSource(source.Channel(news, handler.EnqueueRequestsFromMapFunc(namespaceOf))).
		WatchesRawSource(source.Channel(start, handler.EnqueueRequestsFromMapFunc(first))).
		Watches(&kustomizev1.Kustomization{}, handler.EnqueueRequestsFromMapFunc(namespaceOf), builder.WithPredicates(keyChanged())).
		Watches(&helmv2.HelmRelease{}, handler.EnqueueRequestsFromMapFunc(namespaceOf), builder.WithPredicates(keyChanged())).
		Watches(&fleetv1.RemoteCluster{}, handler.EnqueueRequestsFromMapFunc(namespaceOf), builder.WithPredicates(clusterChanged())).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(namespaceOf), builder.OnlyMetadata, builder.WithPredicates(secretChanged())).
		WithOptions(controller.Options{NewQueue: reconcile.NewQueue}).
		Complete(r)
}

// followClusterAPI starts the controller of the CRD of Cluster API's Clusters,
// and returns the news of these.
func (r *Reconciler) followClusterAPI(mgr ctrl.Manager) (chan event.GenericEvent, error) {
	kinds := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(kinds); err != nil {
		return nil, err
	}
	crds, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(),
		Scheme:     kinds,
		ByObject: map[client.Object]cache.ByObject{
			&apiextensionsv1.CustomResourceDefinition{}: {Field: fields.OneTermEqualSelector("metadata.name", clusterCRD)},
		},
		DefaultTransform: cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, err
	}
	watcher, err := metadata.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	if err := errors.Join(mgr.Add(crds), mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		<-ctx.Done()
		end()
		return nil
	}))); err != nil {
		end()
		return nil, err
	}
	r.clusterAPI = &clusterAPI{
		crds: crds, fleet: r.Client, metadata: watcher, news: make(chan event.GenericEvent), life: life,
	}
	// Without the CRD there is no event of it, and that is to be known too.
	start := make(chan event.GenericEvent, 1)
	start <- event.GenericEvent{Object: &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: clusterCRD}}}
	return r.clusterAPI.news, ctrl.NewControllerManagedBy(mgr).
		Named("clusterapi").
		WatchesRawSource(source.Channel(start, &handler.EnqueueRequestForObject{})).
		WatchesRawSource(source.Kind(crds, &apiextensionsv1.CustomResourceDefinition{},
			&handler.TypedEnqueueRequestForObject[*apiextensionsv1.CustomResourceDefinition]{})).
		WithOptions(controller.Options{NewQueue: reconcile.NewQueue}).
		Complete(r.clusterAPI)
}

func request(namespace string) []ctrl.Request {
	return []ctrl.Request{{NamespacedName: types.NamespacedName{Name: namespace}}}
}

func namespaceOf(_ context.Context, obj client.Object) []ctrl.Request {
	return request(obj.GetNamespace())
}

// keyChanged passes the Kustomizations and HelmReleases that come, go, or change
// their target.
func keyChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return !slices.Equal(keysOf(e.ObjectOld), keysOf(e.ObjectNew)) }}
}

// clusterChanged passes what plan looks at: the spec, the labels, the list of
// copied ones, and whether there is a record.
func clusterChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*fleetv1.RemoteCluster)
		after, also := e.ObjectNew.(*fleetv1.RemoteCluster)
		return !ok || !also || before.Generation != after.Generation || !maps.Equal(before.Labels, after.Labels) ||
			before.Annotations[copiedAnnotation] != after.Annotations[copiedAnnotation] ||
			len(before.Status.Assignments) != len(after.Status.Assignments)
	}}
}

// secretChanged passes the Secrets of clusters that come, go, or change their
// labels.
func secretChanged() predicate.Predicate {
	labelled := func(obj client.Object) bool { return obj.GetLabels()[meta.ClusterLabel] == "true" }
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return labelled(e.Object) },
		DeleteFunc:  func(e event.DeleteEvent) bool { return labelled(e.Object) },
		GenericFunc: func(e event.GenericEvent) bool { return labelled(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return (labelled(e.ObjectOld) || labelled(e.ObjectNew)) && !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels())
		},
	}
}
