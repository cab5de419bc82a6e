package placement

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/shard"
	"github.com/headwater-dev/headwater/shard/member"
)

// news says whether anything has happened since the last run that it depends
// on, besides the passing of time. It is safe for concurrent use, but for due and
// members.
type news struct {
	mu sync.Mutex
	// watched says that watches tell of every change.
	watched bool
	fresh   bool
	// members are the agents at the last run, and due is when time alone changes
	// what it decided.
	members []memberState
	due     time.Time
}

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fresh = true
}

// take says whether there is news, which then is none any more.
func (n *news) take() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	fresh := n.fresh || !n.watched
	n.fresh = false
	return fresh
}

// quiet says whether a run now would decide what the last one did.
func (n *news) quiet(members []memberState, now time.Time) bool {
	return (n.due.IsZero() || now.Before(n.due)) && reflect.DeepEqual(n.members, members)
}

func (n *news) remember(members []memberState, due time.Time) { n.members, n.due = members, due }

// lookAtAgents reads the pools and how the agents are doing, and says when that
// changes by the mere passing of time.
func (r *Reconciler) lookAtAgents(ctx context.Context, now time.Time) (pools, []memberState, time.Time, error) {
	var objects fleetv1.AgentPoolList
	if err := r.Client.List(ctx, &objects); err != nil {
		return pools{}, nil, time.Time{}, fmt.Errorf("list the AgentPools: %w", err)
	}
	ps := readPools(objects.Items, r.Namespace, rules{
		maxLoadFactor: shard.DefaultMaxLoadFactor, movesPerMinute: defaultMovesPerMinute, reassignAfter: r.ReassignAfter,
	})
	var leases coordinationv1.LeaseList
	if err := r.own.List(ctx, &leases, client.MatchingLabels{member.Label: "true"}); err != nil {
		return ps, nil, time.Time{}, fmt.Errorf("list the Leases of agents: %w", err)
	}
	r.members.Sync(leases.Items, now)
	replicas, err := r.replicas(ctx)
	if err != nil {
		return ps, nil, time.Time{}, err
	}
	var members []memberState
	var soonest time.Time
	for _, a := range r.members.Agents() {
		counts, err := r.counts(ctx, a.Name)
		if err != nil {
			return ps, nil, time.Time{}, err
		}
		if !counts {
			continue
		}
		m := memberState{name: a.Name, joined: a.Joined, retired: replicas.retired(a.Name)}
		m.crew, m.others = ps.forAgent(a.Name, a.Labels)
		var next time.Time
		m.state, next = a.Lease.State(now, ps.rulesFor(m.crew).reassignAfter)
		soonest = sooner(soonest, next)
		members = append(members, m)
	}
	return ps, members, soonest, nil
}

// counts says whether an agent of that name can have something to act for. That of
// a pull cluster can where there is one: tenants make up any number of Leases.
func (r *Reconciler) counts(ctx context.Context, agent string) (bool, error) {
	namespace, name, pulls := shard.PullCluster(agent)
	if !pulls {
		return true, nil
	}
	var cluster fleetv1.RemoteCluster
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &cluster, client.UnsafeDisableDeepCopy)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read the RemoteCluster of agent %s: %w", agent, err)
	}
	return err == nil && cluster.GetMode() == fleetv1.PullMode, nil
}

// ordinals are the ordinal of the first replica of each StatefulSet, and the one
// after the last.
type ordinals map[string][2]int

// replicas are the StatefulSets in the namespace of the agents.
func (r *Reconciler) replicas(ctx context.Context) (ordinals, error) {
	var sets appsv1.StatefulSetList
	if err := r.own.List(ctx, &sets, client.InNamespace(r.Namespace)); err != nil {
		return nil, fmt.Errorf("list the StatefulSets in %s: %w", r.Namespace, err)
	}
	of := ordinals{}
	for i := range sets.Items {
		set, first, count := &sets.Items[i], 0, 1
		if set.Spec.Replicas != nil {
			count = int(*set.Spec.Replicas)
		}
		if set.Spec.Ordinals != nil {
			first = int(set.Spec.Ordinals.Start)
		}
		of[set.Name] = [2]int{first, first + count}
	}
	return of, nil
}

// retired says whether an agent has the name of a replica that its StatefulSet
// does not have any more.
func (o ordinals) retired(agent string) bool {
	i := strings.LastIndexByte(agent, '-')
	if i < 0 {
		return false
	}
	ordinal, err := strconv.Atoi(agent[i+1:])
	bounds, known := o[agent[:i]]
	return err == nil && known && (ordinal < bounds[0] || ordinal >= bounds[1])
}

// retiredNames are the agents whose StatefulSets have been made smaller.
func (w *world) retiredNames() []string {
	retired := map[string]bool{}
	for _, m := range w.members {
		if m.retired {
			retired[m.name] = true
		}
	}
	return slices.Sorted(maps.Keys(retired))
}
