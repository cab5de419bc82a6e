package placement

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
	"github.com/headwater-dev/headwater/shard/member"
)

// again is when a run is repeated that was overtaken by another write. Its
// cause is a cache that lags, by milliseconds.
const again = 200 * time.Millisecond

// countAfter is how old a change of numbers of objects gets before they are written
// for their own sake: they are for people, and change with each object that comes or
// goes. Objects come in many at a time, when the hub has enough to do.
const countAfter = 30 * time.Second

// rewrite is when a run is repeated in which a write failed.
const rewrite = 10 * time.Second

// Reconciler places the whole fleet at each run.
type Reconciler struct {
	// Client reads RemoteClusters, AgentPools and what deploys to them from the
	// cache, and writes; the manager's when nil.
	Client client.Client
	// Events publishes moves.
	Events *reconcile.Recorder
	// Namespace of the agents' Leases and pools, and of the hub's RemoteCluster.
	Namespace string
	// MemberLease is how long an agent may be silent; 15 s when zero.
	MemberLease time.Duration
	// ReassignAfter is how long an agent that has left may stay away until others
	// take over, unless its pool says otherwise; 30 s when zero. One that is silent
	// has half of it.
	ReassignAfter time.Duration
	// Settle is how long the first agents of a fleet that has no owners yet wait
	// for more to join; AddToManager sets 3 s when zero.
	Settle time.Duration
	// Clock is the real one when nil.
	Clock clock.PassiveClock

	// own reads the members' Leases and the StatefulSets of the agents.
	own     client.Reader
	members member.Tracker
	buckets map[string]*bucket
	// epochs are the highest epochs seen of each key. They are never forgotten: one
	// above 1 has whoever is given the key wait for a former owner, and nothing says
	// how long one that is cut off goes on.
	epochs map[shard.Key]int64
	// costs are the last known costs of keys that have a RemoteCluster, as their
	// agents reported them.
	costs map[shard.Key]int64
	// routed are the objects after the last run, by uid.
	routed map[types.UID]route
	// miscounted is since when a number of objects is not what its record says; zero
	// when all are.
	miscounted time.Time
	// handovers are the records that changed and whose new agents have not
	// reported yet.
	handovers map[types.NamespacedName]handover
	news      news
}

// Reconcile decides who acts for what, and writes what has changed. Where only
// time has passed and no agent has come or gone for it, nothing can have changed
// and nothing is read but the pools and the agents' Leases.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	now := r.Clock.Now()
	fresh := r.news.take()
	ps, members, next, err := r.lookAtAgents(ctx, now)
	if err != nil {
		r.news.tell()
		return ctrl.Result{}, err
	}
	if !fresh && r.news.quiet(members, now) {
		return r.wait(now, sooner(next, r.news.due)), nil
	}
	w, err := r.look(ctx, now, ps, members)
	if err != nil {
		r.news.tell()
		return ctrl.Result{}, err
	}
	d := decide(w)
	r.miscounted = d.miscounted
	unownedKeys.Set(float64(d.unowned))
	doubledKeys.Set(float64(d.doubled))
	overtaken, err := r.write(ctx, w, d)
	r.news.remember(members, sooner(d.next, r.spendBudgets(w.budget, d.moved)))
	next = sooner(next, r.news.due)
	switch {
	case err != nil:
		// Not returned: the backoff would also put off what time alone changes,
		// the end of an agent.
		log.FromContext(ctx).Error(err, "not everything was written")
		r.news.tell()
		return r.wait(now, sooner(next, now.Add(rewrite))), nil
	case overtaken:
		r.news.tell()
		return ctrl.Result{RequeueAfter: again}, nil
	}
	return r.wait(now, next), nil
}

// wait comes back at the given time; zero is when there is news.
func (r *Reconciler) wait(now, next time.Time) ctrl.Result {
	if next.IsZero() {
		return ctrl.Result{}
	}
	return ctrl.Result{RequeueAfter: max(next.Sub(now), time.Millisecond)}
}

// look reads the world.
func (r *Reconciler) look(ctx context.Context, now time.Time, ps pools, members []memberState) (world, error) {
	w := world{
		system: r.Namespace, now: metav1.NewTime(now), miscounted: r.miscounted, pools: ps, members: members, settle: r.Settle,
		agents: r.agents(members), budget: r.fillBudgets(&ps, now),
	}
	var clusters fleetv1.RemoteClusterList
	if err := r.Client.List(ctx, &clusters, client.UnsafeDisableDeepCopy); err != nil {
		return w, fmt.Errorf("list the RemoteClusters: %w", err)
	}
	w.clusters = clusters.Items
	var kustomizations kustomizev1.KustomizationList
	if err := r.Client.List(ctx, &kustomizations, client.UnsafeDisableDeepCopy); err != nil {
		return w, fmt.Errorf("list the Kustomizations: %w", err)
	}
	var releases helmv2.HelmReleaseList
	if err := r.Client.List(ctx, &releases, client.UnsafeDisableDeepCopy); err != nil {
		return w, fmt.Errorf("list the HelmReleases: %w", err)
	}
	w.objects = make([]object, 0, len(kustomizations.Items)+len(releases.Items))
	for i := range kustomizations.Items {
		w.objects = append(w.objects, objectOf(&kustomizations.Items[i]))
	}
	for i := range releases.Items {
		w.objects = append(w.objects, releaseOf(&releases.Items[i]))
	}
	r.remember(&w, now)
	return w, nil
}

// remember keeps what the API does not: the epochs of keys, also where the
// RemoteCluster is deleted, the costs that agents reported before they lost a
// key, and how long hand-overs take.
func (r *Reconciler) remember(w *world, now time.Time) {
	if r.epochs == nil {
		r.epochs, r.costs = map[shard.Key]int64{}, map[shard.Key]int64{}
	}
	held, names := make(map[shard.Key]bool, len(w.clusters)), make(map[types.NamespacedName]bool, len(w.clusters))
	for i := range w.clusters {
		cluster := &w.clusters[i]
		r.endHandover(cluster, now)
		r.noteEpochs(cluster, cluster.Status.Assignments)
		names[client.ObjectKeyFromObject(cluster)] = true
		keys := shard.KeysOf(cluster, r.Namespace)
		for _, key := range keys {
			held[key] = true
		}
		for _, a := range cluster.Status.Assignments {
			if a.Partition >= 0 && int(a.Partition) < len(keys) {
				if cost, reported := r.members.Cost(a.Agent, keys[a.Partition].String()); reported {
					r.costs[keys[a.Partition]] = cost
				}
			}
		}
	}
	maps.DeleteFunc(r.costs, func(key shard.Key, _ int64) bool { return !held[key] })
	maps.DeleteFunc(r.handovers, func(name types.NamespacedName, _ handover) bool { return !names[name] })
	w.epochs, w.costs = r.epochs, r.costs
}

// noteEpochs remembers how far the keys of a RemoteCluster have been counted.
func (r *Reconciler) noteEpochs(cluster *fleetv1.RemoteCluster, record []fleetv1.Assignment) {
	keys := shard.KeysOf(cluster, r.Namespace)
	for _, a := range record {
		if a.Partition >= 0 && int(a.Partition) < len(keys) {
			r.epochs[keys[a.Partition]] = max(r.epochs[keys[a.Partition]], a.Epoch)
		}
	}
}

// agents are those that count: the live ones, and those that may come back soon.
// One whose StatefulSet has been made smaller counts no more, so that its keys
// move while it can still hand them over.
func (r *Reconciler) agents(members []memberState) []shard.Agent {
	var agents []shard.Agent
	labels := map[string]map[string]string{}
	for _, a := range r.members.Agents() {
		labels[a.Name] = a.Labels
	}
	for _, m := range members {
		if m.state != shard.Gone && !m.retired {
			agents = append(agents, shard.Agent{Name: m.name, Pool: m.crew, Labels: labels[m.name], Away: m.state != shard.Alive})
		}
	}
	return agents
}

func objectOf(k *kustomizev1.Kustomization) object {
	o := routedObject(kustomizev1.KustomizationKind, k, shard.CurrentKey(k.Namespace, k.Name, k.Spec.KubeConfig, k.Status.Target))
	// The status names the target before anything is written there.
	o.applied = k.Status.Target != ""
	o.finalizers = guarded(k, k.Spec.Suspend)
	return o
}

func releaseOf(h *helmv2.HelmRelease) object {
	o := routedObject(helmv2.HelmReleaseKind, h, shard.KeyFor(h.Namespace, h.Name, h.Spec.KubeConfig))
	o.applied = begun(&h.Status)
	o.finalizers = guarded(h, h.Spec.Suspend)
	return o
}

// begun says whether an agent may have acted for the HelmRelease. Each action is
// written into the status before it begins, whatever it is, and never without
// conditions; the finalizer says nothing, since placement writes it too.
func begun(status *helmv2.HelmReleaseStatus) bool {
	return len(status.Conditions) > 0 || len(status.History) > 0
}

// guarded are the object's finalizers with that of its agent, nil where it has
// that or is to have none.
func guarded(obj client.Object, suspended bool) []string {
	finalizers := obj.GetFinalizers()
	if suspended || !obj.GetDeletionTimestamp().IsZero() || slices.Contains(finalizers, meta.Finalizer) {
		return nil
	}
	return append(slices.Clone(finalizers), meta.Finalizer)
}

// routedObject is what a kind's metadata says. At the hub an object has no wishes:
// the objects of other tenants would go along.
func routedObject(kind string, obj client.Object, key shard.Key) object {
	own := obj.GetLabels()
	o := object{
		kind:            kind,
		name:            client.ObjectKeyFromObject(obj),
		uid:             obj.GetUID(),
		resourceVersion: obj.GetResourceVersion(),
		key:             key,
		agent:           own[meta.AgentLabel],
	}
	if !key.IsHub() {
		o.pin, o.pool = own[meta.PinLabel], own[meta.ShardLabel]
	}
	return o
}
