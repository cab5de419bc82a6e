package placement

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
	"github.com/headwater-dev/headwater/shard/member"
)

// again is when a run is repeated that was overtaken by another write. Its
// cause is a cache that lags, by milliseconds.
const again = 200 * time.Millisecond

// rewrite is when a run is repeated in which a write failed.
const rewrite = 10 * time.Second

// Reconciler places the whole fleet at each run.
type Reconciler struct {
	// Client reads RemoteClusters and Kustomizations from the cache and
	// writes; the manager's when nil.
	Client client.Client
	// Events publishes moves.
	Events *reconcile.Recorder
	// Namespace of the agents' Leases and of the hub's RemoteCluster.
	Namespace string
	// MemberLease is how long an agent may be silent; 15 s when zero.
	MemberLease time.Duration
	// ReassignAfter is how long an agent that is silent, or has left, may stay
	// away until others take over; 30 s when zero.
	ReassignAfter time.Duration
	// Clock is the real one when nil.
	Clock clock.PassiveClock

	// leases reads the members' Leases.
	leases  client.Reader
	members member.Tracker
}

// Reconcile decides who acts for what, and writes what has changed.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	w, next, err := r.look(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	d := decide(w)
	unownedKeys.Set(float64(d.unowned))
	overtaken, err := r.write(ctx, w, d)
	switch {
	case err != nil:
		// Not returned: the backoff would also put off what time alone changes,
		// the end of an agent.
		log.FromContext(ctx).Error(err, "not everything was written")
		after := rewrite
		if !next.IsZero() {
			after = min(after, max(next.Sub(w.now.Time), time.Millisecond))
		}
		return ctrl.Result{RequeueAfter: after}, nil
	case overtaken:
		return ctrl.Result{RequeueAfter: again}, nil
	case next.IsZero():
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: max(next.Sub(w.now.Time), time.Millisecond)}, nil
}

// look reads the world, and says when it changes by the mere passing of time.
func (r *Reconciler) look(ctx context.Context) (world, time.Time, error) {
	now := r.Clock.Now()
	w := world{system: r.Namespace, now: metav1.NewTime(now)}
	var leases coordinationv1.LeaseList
	if err := r.leases.List(ctx, &leases, client.MatchingLabels{member.Label: "true"}); err != nil {
		return w, time.Time{}, fmt.Errorf("list the Leases of agents: %w", err)
	}
	r.members.Sync(leases.Items, now)
	var clusters fleetv1.RemoteClusterList
	if err := r.Client.List(ctx, &clusters); err != nil {
		return w, time.Time{}, fmt.Errorf("list the RemoteClusters: %w", err)
	}
	w.clusters = clusters.Items
	var kustomizations kustomizev1.KustomizationList
	if err := r.Client.List(ctx, &kustomizations, client.UnsafeDisableDeepCopy); err != nil {
		return w, time.Time{}, fmt.Errorf("list the Kustomizations: %w", err)
	}
	w.objects = make([]object, len(kustomizations.Items))
	for i := range kustomizations.Items {
		w.objects[i] = objectOf(&kustomizations.Items[i])
	}
	var next time.Time
	w.agents, next = r.agents(now)
	return w, next, nil
}

// agents are those that count: the live ones, and those that may come back soon.
func (r *Reconciler) agents(now time.Time) ([]shard.Agent, time.Time) {
	var agents []shard.Agent
	var soonest time.Time
	for _, a := range r.members.Agents() {
		state, next := a.Lease.State(now, r.ReassignAfter)
		if !next.IsZero() && (soonest.IsZero() || next.Before(soonest)) {
			soonest = next
		}
		if state != shard.Gone {
			agents = append(agents, shard.Agent{Name: a.Name, Labels: a.Labels, Away: state != shard.Alive})
		}
	}
	return agents, soonest
}

func objectOf(k *kustomizev1.Kustomization) object {
	return object{
		name:            types.NamespacedName{Namespace: k.Namespace, Name: k.Name},
		uid:             k.UID,
		resourceVersion: k.ResourceVersion,
		key:             shard.CurrentKey(k.Namespace, k.Name, k.Spec.KubeConfig, k.Status.Target),
		agent:           k.Labels[meta.AgentLabel],
		pin:             k.Labels[meta.PinLabel],
		applied:         k.Status.Target != "",
	}
}
