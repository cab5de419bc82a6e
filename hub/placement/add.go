package placement

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
	"github.com/headwater-dev/headwater/shard/member"
)

const (
	defaultMemberLease   = 15 * time.Second
	defaultReassignAfter = 30 * time.Second
	defaultSettle        = 3 * time.Second
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
	if r.Settle == 0 {
		r.Settle = defaultSettle
	}
	own, err := r.cacheOwn(mgr)
	if err != nil {
		return err
	}
	r.own, r.news.watched = own, true
	r.news.tell()
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []ctrl.Request {
		r.news.tell()
		return []ctrl.Request{place()}
	})
	replicas := handler.TypedEnqueueRequestsFromMapFunc(func(context.Context, *appsv1.StatefulSet) []ctrl.Request { return []ctrl.Request{place()} })
	return ctrl.NewControllerManagedBy(mgr).
		Named("placement").
		Watches(&fleetv1.RemoteCluster{}, all, builder.WithPredicates(clusterChanged())).
		Watches(&kustomizev1.Kustomization{}, all, builder.WithPredicates(objectChanged())).
		Watches(&helmv2.HelmRelease{}, all, builder.WithPredicates(objectChanged())).
		Watches(&fleetv1.AgentPool{}, all, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(source.Kind(own, &coordinationv1.Lease{}, r.leaseHandler())).
		WatchesRawSource(source.Kind(own, &appsv1.StatefulSet{}, replicas, predicate.TypedGenerationChangedPredicate[*appsv1.StatefulSet]{})).
		WithOptions(controller.Options{NewQueue: reconcile.NewQueue}).
		Complete(r)
}

// place is the one item of work.
func place() ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Name: "place"}}
}

// cacheOwn is a cache of the members' Leases alone, since those of nodes and
// leaders are many and are renewed all the time, and of the StatefulSets beside
// the agents. The agents of pull clusters have their Leases in the namespaces of
// their RemoteClusters.
func (r *Reconciler) cacheOwn(mgr ctrl.Manager) (cache.Cache, error) {
	members := labels.SelectorFromSet(labels.Set{member.Label: "true"})
	own, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(),
		Scheme:     mgr.GetScheme(),
		Mapper:     mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{
			&coordinationv1.Lease{}: {Label: members, Transform: r.stripLease},
			&appsv1.StatefulSet{}:   {Namespaces: map[string]cache.Config{r.Namespace: {}}},
		},
		DefaultTransform: cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, err
	}
	return own, mgr.Add(own)
}

// maxHolder is how much is kept of who holds a tenant's Lease; an agent writes
// half of that.
const maxHolder = 256

// stripLease takes everything from a Lease that makes nobody an agent: tenants
// can make any number of them. It is stored without the label, and not listed. That
// of a pull cluster's agent, which a tenant can make up too, keeps the one label, and
// how it is renewed: its key can have no other owner, whatever it says of itself and
// of costs.
func (r *Reconciler) stripLease(obj any) (any, error) {
	lease, ok := obj.(*coordinationv1.Lease)
	if !ok {
		return obj, nil
	}
	lease.ManagedFields = nil
	joins := shard.MayJoin(member.AgentOf(lease), lease.Namespace, r.Namespace)
	if joins && lease.Namespace == r.Namespace {
		return lease, nil
	}
	kept := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: lease.Namespace, Name: lease.Name, UID: lease.UID, ResourceVersion: lease.ResourceVersion,
	}}
	if joins {
		kept.Labels = map[string]string{member.Label: "true"}
		kept.Spec.RenewTime, kept.Spec.LeaseDurationSeconds = lease.Spec.RenewTime, lease.Spec.LeaseDurationSeconds
		if holder := ptr.Deref(lease.Spec.HolderIdentity, ""); holder != "" {
			kept.Spec.HolderIdentity = new(strings.Clone(holder[:min(len(holder), maxHolder)]))
		}
	}
	return kept, nil
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
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*coordinationv1.Lease], q queue) {
			r.refuse(ctx, e.Object)
			observe(e.Object, q)
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*coordinationv1.Lease], q queue) {
			observe(e.ObjectNew, q)
		},
		DeleteFunc: func(_ context.Context, _ event.TypedDeleteEvent[*coordinationv1.Lease], q queue) { q.Add(place()) },
	}
}

// refuse says on a Lease that pretends to be an agent's, in a namespace where
// none of that name may have one, that it counts for nothing: once, however often
// it is renewed.
func (r *Reconciler) refuse(ctx context.Context, lease *coordinationv1.Lease) {
	if agent := member.AgentOf(lease); agent == "" || shard.MayJoin(agent, lease.Namespace, r.Namespace) {
		return
	}
	log.FromContext(ctx).Info("a Lease that is no agent's was ignored", "lease", client.ObjectKeyFromObject(lease).String())
	r.Events.Publish(ctx, lease, forgedEvent(r.Namespace))
}

// clusterChanged passes what the decision depends on, and what it has written:
// a record that somebody else changed is looked at again.
func clusterChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*fleetv1.RemoteCluster)
		after, also := e.ObjectNew.(*fleetv1.RemoteCluster)
		return !ok || !also || before.Generation != after.Generation || !maps.Equal(before.Labels, after.Labels) ||
			!slices.Equal(before.Status.Assignments, after.Status.Assignments) || before.Status.ServedBy != after.Status.ServedBy
	}}
}

// objectChanged passes the Kustomizations and HelmReleases that come, go, change
// their target, or whose routing somebody has changed.
func objectChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := objectFrom(e.ObjectOld), objectFrom(e.ObjectNew)
		return was.key != is.key || was.agent != is.agent || was.pin != is.pin || was.pool != is.pool
	}}
}

func objectFrom(obj client.Object) object {
	switch o := obj.(type) {
	case *kustomizev1.Kustomization:
		return objectOf(o)
	case *helmv2.HelmRelease:
		return releaseOf(o)
	default:
		return object{}
	}
}
