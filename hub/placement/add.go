package placement

import (
	"context"
	"maps"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/shard/member"
)

const (
	defaultMemberLease   = 15 * time.Second
	defaultReassignAfter = 30 * time.Second
)

// AddToManager sets the defaults and starts the controller with the manager. It
// runs on the leader alone.
func (r *Reconciler) AddToManager(mgr ctrl.Manager) error {
	if r.Client == nil {
		r.Client = mgr.GetClient()
	}
	if r.MemberLease == 0 {
		r.MemberLease = defaultMemberLease
	}
	if r.ReassignAfter == 0 {
		r.ReassignAfter = defaultReassignAfter
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	r.members.Duration, r.members.Namespace = r.MemberLease, r.Namespace
	leases, err := r.cacheLeases(mgr)
	if err != nil {
		return err
	}
	r.leases = leases
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []ctrl.Request { return []ctrl.Request{place()} })
	return ctrl.NewControllerManagedBy(mgr).
		Named("placement").
		Watches(&fleetv1.RemoteCluster{}, all, builder.WithPredicates(clusterChanged())).
		Watches(&kustomizev1.Kustomization{}, all, builder.WithPredicates(objectChanged())).
		WatchesRawSource(source.Kind(leases, &coordinationv1.Lease{}, r.leaseHandler())).
		Complete(r)
}

// place is the one item of work.
func place() ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Name: "place"}}
}

// cacheLeases is a cache of the members' Leases alone: those of nodes and
// leaders are many and are renewed all the time. The agents of pull clusters have
// theirs in the namespaces of their RemoteClusters.
func (r *Reconciler) cacheLeases(mgr ctrl.Manager) (cache.Cache, error) {
	members := labels.SelectorFromSet(labels.Set{member.Label: "true"})
	leases, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(),
		Scheme:     mgr.GetScheme(),
		Mapper:     mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{
			&coordinationv1.Lease{}: {Label: members},
		},
		DefaultTransform: cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, err
	}
	return leases, mgr.Add(leases)
}

// leaseHandler notes each renewal when it comes, and asks for a run only when
// there is more news than that.
func (r *Reconciler) leaseHandler() handler.TypedEventHandler[*coordinationv1.Lease, ctrl.Request] {
	type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]
	observe := func(lease *coordinationv1.Lease, q queue) {
		if r.members.Observe(lease, r.Clock.Now()) {
			q.Add(place())
		}
	}
	return handler.TypedFuncs[*coordinationv1.Lease, ctrl.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*coordinationv1.Lease], q queue) {
			observe(e.Object, q)
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*coordinationv1.Lease], q queue) {
			observe(e.ObjectNew, q)
		},
		DeleteFunc: func(_ context.Context, _ event.TypedDeleteEvent[*coordinationv1.Lease], q queue) { q.Add(place()) },
	}
}

// clusterChanged passes what the decision depends on, and what it has written:
// a record that somebody else changed is looked at again.
func clusterChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*fleetv1.RemoteCluster)
		after, also := e.ObjectNew.(*fleetv1.RemoteCluster)
		return !ok || !also || before.Generation != after.Generation || !maps.Equal(before.Labels, after.Labels) ||
			!slices.Equal(before.Status.Assignments, after.Status.Assignments)
	}}
}

// objectChanged passes the Kustomizations that come, go, change their target,
// or whose routing somebody has changed.
func objectChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*kustomizev1.Kustomization)
		after, also := e.ObjectNew.(*kustomizev1.Kustomization)
		if !ok || !also {
			return true
		}
		was, is := objectOf(before), objectOf(after)
		return was.key != is.key || was.agent != is.agent || was.pin != is.pin
	}}
}
