package why

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/placement"
	"github.com/headwater-dev/headwater/shard"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

func condition(kind, status, reason, message string) metav1.Condition {
	return metav1.Condition{
		Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, Message: message,
		ObservedGeneration: 1, LastTransitionTime: before(time.Minute),
	}
}

func set(of *[]metav1.Condition, c metav1.Condition) {
	for i := range *of {
		if (*of)[i].Type == c.Type {
			(*of)[i] = c
			return
		}
	}
	*of = append(*of, c)
}

func lease(holder string, renewed time.Duration) *coordinationv1.Lease {
	at := metav1.NewMicroTime(now.Add(-renewed))
	return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: new(int32(15)), RenewTime: &at}}
}

// healthy is a Kustomization that is in order.
func healthy() facts {
	key := shard.Key{Namespace: "team", Name: "prod", DataKey: "value"}
	record := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "prod"}}
	record.Status.Agent, record.Status.ServedBy = "agent-0", "agent-0"
	record.Status.Assignments = []fleetv1.Assignment{{Agent: "agent-0", Epoch: 3}}
	record.Status.Conditions = []metav1.Condition{
		condition(fleetv1.ConnectedCondition, "True", "Connected", "connected"),
		condition(fleetv1.AssignedCondition, "True", "Assigned", "owned by agent-0"),
	}
	return facts{
		now: now, system: "flux-system", kind: "Kustomization", name: types.NamespacedName{Namespace: "team", Name: "apps"},
		keys: []shard.Key{key}, record: record,
		subject: &subject{
			meta: metav1.ObjectMeta{Generation: 1, Labels: map[string]string{meta.AgentLabel: "agent-0"}},
			status: meta.Status{ObservedGeneration: 1, Conditions: []metav1.Condition{
				condition(meta.ReadyCondition, "True", "ReconciliationSucceeded", "Applied revision: main@sha1:1"),
			}},
			wanted: key,
		},
		serving: placement.Serving{Pool: "default"},
		members: map[string]*coordinationv1.Lease{"agent-0": lease("agent-0_a", 3*time.Second)},
		fences: []fence{{
			key: key, place: fleetv1.HubFence, read: true, lease: lease("agent-0_a", 2*time.Second),
			name: types.NamespacedName{Namespace: "flux-system", Name: "headwater-fence-1"},
		}},
		needs: []need{{what: "GitRepository team/repo", source: true, found: true, artifact: true}},
	}
}

func TestAnObjectThatIsInOrder(t *testing.T) {
	g := NewWithT(t)
	a := explain(healthy())
	g.Expect(a.amiss).To(BeFalse())
	g.Expect(a.String()).To(Equal(`Kustomization team/apps is ready, 60s ago: Applied revision: main@sha1:1.
Owner
  agent-0: the record, RemoteCluster team/prod, gives it the key team/prod/value with epoch 3.
  The routing label fleet.headwater.dev/agent agrees.
  AgentPool default serves it.
  agent-0 is alive: it renewed its Lease 3s ago.
Fence
  Held by agent-0_a, renewed 2s ago; kept in the hub as Lease flux-system/headwater-fence-1.
Waits for
  Nothing.
`))
}

func TestWhatIsSaid(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*facts)
		want   []string
		// fine says that nothing is amiss all the same.
		fine bool
	}{
		"suspended": {
			change: func(f *facts) { f.subject.suspended = true },
			want:   []string{"team/apps is suspended.", "Somebody to end the suspension: spec.suspend is true."},
		},
		"the cluster is suspended": {
			change: func(f *facts) { f.record.Spec.Suspend = true },
			want:   []string{"the suspension of RemoteCluster team/prod"},
		},
		"no record": {
			change: func(f *facts) { f.record, f.fences = nil, nil },
			want:   []string{"Nobody: there is no RemoteCluster for team/prod/value.", "the hub makes it at once when it runs"},
		},
		"no agent fits": {
			change: func(f *facts) {
				f.record.Status.Assignments[0].Agent, f.serving.Pool = "", ""
				set(&f.record.Status.Conditions, condition(fleetv1.AssignedCondition, "False", "NoAgent", "no live agent matches spec.agentSelector zone=eu"))
			},
			want: []string{"gives the key team/prod/value to no agent (epoch 3)", "An agent: no live agent matches spec.agentSelector zone=eu."},
		},
		"not placed yet": {
			change: func(f *facts) { f.record.Status = fleetv1.RemoteClusterStatus{} },
			want:   []string{"does not name the key team/prod/value yet", "It does at once when it runs and agents are alive."},
		},
		"the agent is dead": {
			change: func(f *facts) { f.members["agent-0"] = lease("agent-0_a", 5*time.Minute) },
			want:   []string{"agent-0 is dead: it last renewed its Lease 5m ago.", "agent-0, which is not at work, or for another agent"},
		},
		"the agent has stopped": {
			change: func(f *facts) { f.members["agent-0"] = lease("", 5*time.Second) },
			want:   []string{"agent-0 has stopped in an orderly way, 5s ago."},
		},
		"the agent was never there": {
			change: func(f *facts) { delete(f.members, "agent-0") },
			want:   []string{"agent-0 has no Lease"},
		},
		"another label": {
			change: func(f *facts) { f.subject.meta.Labels[meta.AgentLabel] = "agent-9" },
			want:   []string{"says agent-9, which gives that agent no right to act", "The hub to put the routing label right."},
		},
		"no label": {
			change: func(f *facts) { f.subject.meta.Labels = nil },
			want:   []string{"is missing, so that no agent sees the object"},
		},
		"several pools": {
			change: func(f *facts) {
				f.serving = placement.Serving{Pool: "eu", Others: []string{"west"}, Notes: []string{"sharding.fluxcd.io/key=x has no effect"}}
			},
			want: []string{"AgentPool eu serves it, as the first by name of those that select it; the others are west.", "sharding.fluxcd.io/key=x has no effect."},
			fine: true,
		},
		"a wish that many would feel": {
			change: func(f *facts) {
				f.keys = []shard.Key{shard.KeyFor("team", "apps", nil)}
				f.record.Namespace, f.record.Name = "flux-system", "hub"
				f.record.Status.Assignments[0].Partition = f.keys[0].Partition
				f.subject.wanted = f.keys[0]
				f.subject.meta.Labels[meta.PinLabel], f.subject.meta.Labels[meta.ShardLabel] = "agent-1", "east"
			},
			want: []string{
				"Its label fleet.headwater.dev/pin=agent-1 has no effect: objects of others share its partition of the hub, and RemoteCluster flux-system/hub alone says where that is.",
				"Its label sharding.fluxcd.io/key=east has no effect:",
			},
			fine: true,
		},
		"handed over, says the fence": {
			change: func(f *facts) {
				f.fences[0].lease = lease("agent-1_b", time.Second)
				f.fences[0].lease.Annotations = map[string]string{claimAnnotation: "agent-0_a"}
			},
			want: []string{"Held by agent-1_b, renewed 1s ago; kept in the hub as Lease flux-system/headwater-fence-1. agent-0_a claims it.", "agent-1 to release the fence, or the fence to run out."},
		},
		"handed over, says the report": {
			change: func(f *facts) { f.record.Status.ServedBy = "agent-1" },
			want:   []string{"agent-0 to take over from agent-1"},
		},
		"a fence that has run out": {
			change: func(f *facts) { f.fences[0].lease = lease("agent-1_b", time.Hour) },
			want:   []string{"Run out, last held by agent-1_b, renewed 60m ago"},
			fine:   true,
		},
		"a fence that is free": {
			change: func(f *facts) { f.fences[0].lease = lease("", time.Hour) },
			want:   []string{"Nobody holds it; it is kept in the hub"},
			fine:   true,
		},
		"a fence that is gone": {
			change: func(f *facts) { f.fences[0].lease = nil },
			want:   []string{"It is gone, though it was kept in the hub"},
			fine:   true,
		},
		"a fence in the target": {
			change: func(f *facts) { f.fences[0].place, f.fences[0].read = fleetv1.TargetFence, false },
			want:   []string{"It is kept in the target as Lease flux-system/headwater-fence-1; --target-kubeconfig reads who holds it."},
			fine:   true,
		},
		"never a fence": {
			change: func(f *facts) { f.fences[0].place = "" },
			want:   []string{"None was ever made: no agent has written to the target."},
			fine:   true,
		},
		"the target is out of reach": {
			change: func(f *facts) {
				set(&f.record.Status.Conditions, condition(fleetv1.ConnectedCondition, "False", meta.TargetUnreachableReason, "connection refused"))
			},
			want: []string{"The target to be reached: connection refused."},
		},
		"no kubeconfig": {
			change: func(f *facts) {
				set(&f.record.Status.Conditions, condition(fleetv1.ConnectedCondition, "False", meta.KubeConfigInvalidReason, "Secret team/prod does not exist"))
			},
			want: []string{"A kubeconfig that can be used: Secret team/prod does not exist."},
		},
		"no source": {
			change: func(f *facts) { f.needs[0].found = false },
			want:   []string{"Its source, GitRepository team/repo, which does not exist."},
		},
		"a source without an artifact": {
			change: func(f *facts) {
				f.needs[0].artifact, f.needs[0].ready = false, new(condition(meta.ReadyCondition, "False", "GitOperationFailed", "authentication required"))
			},
			want: []string{"Its source, GitRepository team/repo, which has no artifact: authentication required."},
		},
		"a source that fails": {
			change: func(f *facts) {
				f.needs[0].ready = new(condition(meta.ReadyCondition, "False", "GitOperationFailed", "no such host."))
			},
			want: []string{"which fails, so that nothing newer than its last artifact arrives: no such host."},
		},
		"a dependency that is not ready": {
			change: func(f *facts) {
				f.needs = append(f.needs, need{what: "Kustomization team/crds", found: true, ready: new(condition(meta.ReadyCondition, "False", "BuildFailed", "no such file"))})
			},
			want: []string{"Its dependency, Kustomization team/crds, which is not ready: no such file."},
		},
		"a dependency with a newer spec": {
			change: func(f *facts) {
				f.needs = append(f.needs, need{what: "Kustomization team/crds", found: true, outdated: true})
			},
			want: []string{"which was not reconciled since its spec was changed."},
		},
		"a dependency that an expression judges": {
			change: func(f *facts) {
				f.needs = append(f.needs, need{what: "Kustomization team/crds", found: true, outdated: true, expression: "true"})
			},
			fine: true,
		},
		"health": {
			change: func(f *facts) {
				f.subject.waiting = new(before(40 * time.Second))
				set(&f.subject.status.Conditions, condition(meta.ReadyCondition, "Unknown", "Progressing", "waiting for: Deployment/web/web: 0 of 1 ready"))
			},
			want: []string{"What it has applied to become healthy, for which it began to wait 40s ago: waiting for: Deployment/web/web: 0 of 1 ready."},
		},
		"failed": {
			change: func(f *facts) {
				set(&f.subject.status.Conditions, condition(meta.ReadyCondition, "False", "BuildFailed", "kustomization.yaml: no such file"))
			},
			want: []string{"is not ready, 60s ago: BuildFailed.", "the last error is in the way", "Last error\n  BuildFailed, 60s ago: kustomization.yaml: no such file."},
		},
		"stalled": {
			change: func(f *facts) {
				set(&f.subject.status.Conditions, condition(meta.StalledCondition, "True", "AccessDenied", "can't access it"))
				set(&f.subject.status.Conditions, condition(meta.ReadyCondition, "False", "AccessDenied", "can't access it"))
			},
			want: []string{"AccessDenied, 60s ago: can't access it. (it is not tried again until somebody changes that)"},
		},
		"a warning that is over": {
			change: func(f *facts) {
				f.warning = &warning{reason: "HealthCheckFailed", message: "timeout", when: now.Add(-3 * time.Hour)}
			},
			want: []string{"The newest warning, HealthCheckFailed, 3h ago: timeout."},
			fine: true,
		},
		"a new spec": {
			change: func(f *facts) { f.subject.meta.Generation = 2 },
			want:   []string{"A run of its newest spec."},
		},
		"asked for": {
			change: func(f *facts) {
				f.subject.meta.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now"}
			},
			want: []string{"The run that was asked for at now."},
		},
		"deleted": {
			change: func(f *facts) {
				f.subject.meta.DeletionTimestamp, f.subject.meta.Finalizers = new(before(time.Minute)), []string{meta.Finalizer}
			},
			want: []string{"is being deleted, 60s ago.", "the finalizers go: finalizers.fluxcd.io."},
		},
		"moved to another target": {
			change: func(f *facts) { f.subject.wanted.Name = "other" },
			want:   []string{"to be taken away from team/prod/value, before they go to team/other/value."},
		},
		"never seen": {
			change: func(f *facts) { f.subject.status = meta.Status{} },
			want:   []string{"was not looked at by any agent yet", "The first run."},
		},
		"live": {
			change: func(f *facts) {
				f.live = &live{agent: "agent-0", Breaker: "closed", Fence: "held", Queued: 2, Running: 1,
					Waiting: []string{"helmrelease team/apps", "kustomization team/first", "kustomization team/apps"}}
			},
			want: []string{"agent-0 reaches the target (breaker closed).", "2 objects wait for a turn; 1 has a worker: its fence is held.", "It is number 2 of the 2 that wait"},
			fine: true,
		},
		"live, the breaker is open": {
			change: func(f *facts) {
				f.live = &live{agent: "agent-0", Breaker: "open", Error: "connection refused", Fence: "released", Draining: true}
			},
			want: []string{"does not reach the target (breaker open): connection refused.", "It is not among those that wait", "to hand the key over"},
			fine: true,
		},
		"live, another has it": {
			change: func(f *facts) { f.live = &live{agent: "agent-0", unknown: true} },
			want:   []string{"agent-0 does not have the key team/prod/value"},
			fine:   true,
		},
		"a cluster": {
			change: func(f *facts) {
				f.kind, f.name, f.subject, f.needs = "RemoteCluster", types.NamespacedName{Namespace: "team", Name: "prod"}, nil, nil
				f.strays = []string{"Kustomization team/apps"}
			},
			want: []string{"RemoteCluster team/prod is connected, 60s ago.", "of these says something else: Kustomization team/apps."},
			fine: true,
		},
		"a pull cluster": {
			change: func(f *facts) { f.record.Spec.Mode = fleetv1.PullMode },
			want:   []string{"only the agent inside of it may act"},
			fine:   true,
		},
		"the hub": {
			change: func(f *facts) {
				f.kind, f.name, f.subject, f.needs = "RemoteCluster", types.NamespacedName{Namespace: "flux-system", Name: "hub"}, nil, nil
				f.keys = []shard.Key{shard.HubKey(0), shard.HubKey(1), shard.HubKey(2)}
				f.record.Status.Assignments = []fleetv1.Assignment{{Agent: "agent-0", Epoch: 3}, {Partition: 1, Agent: "agent-1", Epoch: 1}}
				f.members["agent-1"] = lease("agent-1_b", time.Second)
				f.fences[0].key = shard.HubKey(0)
				f.fences = append(f.fences, fence{key: shard.HubKey(1)})
			},
			want: []string{
				"agent-0: the record gives it the partitions 0 (epoch 3).", "agent-1: the record gives it the partitions 1 (epoch 1).",
				"Nobody: the record gives it the partitions 2 (epoch 0).", "Partition 0: Held by agent-0_a",
			},
		},
		"what could not be read": {
			change: func(f *facts) { f.unread, f.members = []string{"the Leases: forbidden"}, nil },
			want:   []string{"Could not be read\n  the Leases: forbidden"},
			fine:   true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := healthy()
			tc.change(&f)
			a := explain(f)
			for _, want := range tc.want {
				g.Expect(a.String()).To(ContainSubstring(want))
			}
			g.Expect(a.amiss).To(Equal(!tc.fine), a.String())
		})
	}
}
