package placement

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

// cluster is a RemoteCluster for the Secret prod, with a record from the first
// epoch on.
func cluster(name, agent string, epoch int64) fleetv1.RemoteCluster {
	c := fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name, Generation: 3}}
	c.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}}
	if epoch > 0 {
		c.Status.Assignments = []fleetv1.Assignment{{Agent: agent, Epoch: epoch}}
	}
	return c
}

func live(names ...string) []shard.Agent {
	var agents []shard.Agent
	for _, name := range names {
		agent := shard.Agent{Name: name, Labels: map[string]string{"name": name}}
		if strings.HasPrefix(name, "pull.") {
			agent.Pool = name + "."
		}
		agents = append(agents, agent)
	}
	return agents
}

func TestDecideOneCluster(t *testing.T) {
	selecting := func(c fleetv1.RemoteCluster, agent string) fleetv1.RemoteCluster {
		c.Spec.AgentSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"name": agent}}
		return c
	}
	pinned := func(c fleetv1.RemoteCluster, agent string) fleetv1.RemoteCluster {
		c.Labels = map[string]string{"fleet.headwater.dev/pin": agent}
		return c
	}
	invalid := cluster("prod", "", 0)
	invalid.Spec.AgentSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "zone", Operator: "Near"}}}
	pull := fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "edge"}}
	pull.Spec.Mode = fleetv1.PullMode
	long := *pull.DeepCopy()
	long.Name = strings.Repeat("e", 54)
	suspended := cluster("prod", "a", 4)
	suspended.Spec.Suspend = true
	foreign := fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "hub"}}
	foreign.Spec.Mode = fleetv1.HubMode

	for name, tc := range map[string]struct {
		agents  []shard.Agent
		cluster fleetv1.RemoteCluster
		want    []fleetv1.Assignment
		status  string
		reason  string
		message string
		unowned int
	}{
		"the first owner":    {live("a"), cluster("prod", "", 0), []fleetv1.Assignment{{Agent: "a", Epoch: 1}}, "True", "Assigned", "owned by a", 0},
		"an owner is kept":   {live("a", "b"), cluster("prod", "b", 4), []fleetv1.Assignment{{Agent: "b", Epoch: 4}}, "True", "Assigned", "owned by b", 0},
		"an owner is gone":   {live("a"), cluster("prod", "b", 4), []fleetv1.Assignment{{Agent: "a", Epoch: 5}}, "True", "Assigned", "owned by a", 0},
		"an owner is away":   {[]shard.Agent{{Name: "b", Away: true}, {Name: "a"}}, cluster("prod", "b", 4), []fleetv1.Assignment{{Agent: "b", Epoch: 4}}, "True", "Assigned", "owned by b", 0},
		"no agent":           {nil, cluster("prod", "", 0), nil, "False", "NoAgent", "no live agent: none renews its Lease in namespace flux-system", 1},
		"no agent left":      {nil, cluster("prod", "b", 4), []fleetv1.Assignment{{Agent: "b", Epoch: 4}}, "False", "NoAgent", "no live agent: none renews its Lease in namespace flux-system; the last one was b", 1},
		"none matches":       {live("a"), selecting(cluster("prod", "", 0), "z"), nil, "False", "NoAgent", "no live agent matches spec.agentSelector name=z", 1},
		"none matches now":   {live("a"), selecting(cluster("prod", "a", 4), "z"), []fleetv1.Assignment{{Epoch: 5}}, "False", "NoAgent", "no live agent matches spec.agentSelector name=z", 1},
		"one matches again":  {live("a", "z"), selecting(cluster("prod", "", 5), "z"), []fleetv1.Assignment{{Agent: "z", Epoch: 6}}, "True", "Assigned", "owned by z", 0},
		"pinned":             {live("a", "b"), pinned(cluster("prod", "a", 1), "b"), []fleetv1.Assignment{{Agent: "b", Epoch: 2}}, "True", "Assigned", "owned by b", 0},
		"pinned to nobody":   {live("a"), pinned(cluster("prod", "a", 1), "x"), []fleetv1.Assignment{{Agent: "a", Epoch: 1}}, "True", "Assigned", "owned by a; the pin to x has no effect: there is no such live agent, or its AgentPool or spec.agentSelector does not match", 0},
		"a bad selector":     {live("a"), invalid, nil, "False", "NoAgent", `no live agent may act for the cluster: spec.agentSelector: "Near" is not a valid label selector operator`, 1},
		"pull":               {live("a", "pull.apps.edge"), pull, []fleetv1.Assignment{{Agent: "pull.apps.edge", Epoch: 1}}, "True", "Assigned", "owned by pull.apps.edge", 0},
		"pull, not there":    {live("a", "pull.apps.other"), pull, nil, "False", "NoAgent", "no live agent: the one inside of the cluster does not renew its Lease in namespace apps: install it with hub agent install, or look at its log in the cluster", 1},
		"pull, a long name":  {live("a"), long, nil, "False", "NoAgent", "no live agent may act for the cluster: spec.mode is Pull, and metadata.namespace and metadata.name are longer than 57 characters together: choose a shorter name", 1},
		"not for one inside": {live("pull.apps.prod"), cluster("prod", "", 0), nil, "False", "NoAgent", "no live agent: none renews its Lease in namespace flux-system", 1},
		"suspended":          {live("a"), suspended, []fleetv1.Assignment{{Epoch: 5}}, "False", "NoAgent", "no live agent may act for the cluster: spec.suspend is true", 0},
		"somebody's own hub": {live("a"), foreign, nil, "False", "NotTheHub", "spec.mode Hub is for the RemoteCluster flux-system/hub alone", 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			now := metav1.NewTime(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
			w := world{system: "flux-system", agents: tc.agents, clusters: []fleetv1.RemoteCluster{tc.cluster}, now: now}
			d := decide(w)
			g.Expect(d.unowned).To(Equal(tc.unowned))
			g.Expect(d.records).To(HaveLen(1))
			status := d.records[0].status
			g.Expect(status.Assignments).To(Equal(tc.want))
			g.Expect(status.ObservedGeneration).To(Equal(tc.cluster.Generation))
			g.Expect(status.Conditions).To(Equal([]metav1.Condition{{
				Type: "Assigned", Status: metav1.ConditionStatus(tc.status), Reason: tc.reason, Message: tc.message,
				ObservedGeneration: tc.cluster.Generation, LastTransitionTime: now,
			}}))

			// Written, it is right: a second run finds nothing to do, whenever.
			w.clusters[0].Status = status
			w.now = metav1.NewTime(now.Add(time.Hour))
			g.Expect(decide(w).records).To(BeEmpty())
		})
	}
}

func TestDecideHub(t *testing.T) {
	g := NewWithT(t)
	hub := fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "hub"}}
	hub.Spec.Mode = fleetv1.HubMode
	w := world{system: "flux-system", agents: live("a", "b"), clusters: []fleetv1.RemoteCluster{hub}}
	for i := range 100 {
		name := types.NamespacedName{Namespace: "apps", Name: string(rune('a'+i%26)) + string(rune('a'+i/26))}
		w.objects = append(w.objects, object{name: name, key: shard.KeyFor(name.Namespace, name.Name, nil)})
	}
	d := decide(w)
	g.Expect(d.records).To(HaveLen(1))
	status := d.records[0].status
	g.Expect(status.Objects).To(BeEquivalentTo(100))
	g.Expect(status.Assignments).To(HaveLen(16))
	owned := map[string]int{}
	for i, assignment := range status.Assignments {
		g.Expect(assignment.Partition).To(BeEquivalentTo(i))
		g.Expect(assignment.Epoch).To(BeEquivalentTo(1))
		owned[assignment.Agent]++
	}
	g.Expect(owned).To(HaveLen(2))
	g.Expect(status.Agent).To(Equal(status.Assignments[0].Agent))
	g.Expect(status.Conditions[0].Message).To(Equal("owned by a, b"))
	w.clusters[0].Status = status
	g.Expect(decide(w).records).To(BeEmpty())
}

// A number of objects alone is written half a minute after the first that has
// changed, and with whatever else there is to write.
func TestNumbersOfObjectsAreWrittenLater(t *testing.T) {
	g := NewWithT(t)
	began := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	w := world{system: "flux-system", agents: live("a"), clusters: []fleetv1.RemoteCluster{cluster("prod", "a", 4)}, now: metav1.NewTime(began)}
	w.clusters[0].Status = decide(w).records[0].status
	key := shard.KeyFor("apps", "", w.clusters[0].Spec.KubeConfig)
	w.objects = []object{{name: types.NamespacedName{Namespace: "apps", Name: "one"}, key: key}}

	changed := began.Add(time.Hour)
	w.now = metav1.NewTime(changed)
	d := decide(w)
	g.Expect(d.records).To(BeEmpty())
	w.miscounted, w.now = d.miscounted, metav1.NewTime(changed.Add(29*time.Second))
	w.objects = append(w.objects, object{name: types.NamespacedName{Namespace: "apps", Name: "two"}, key: key})
	d = decide(w)
	g.Expect(d.records).To(BeEmpty())
	g.Expect(d.next).To(Equal(changed.Add(30*time.Second)), "not put off by the next one")
	w.miscounted, w.now = d.miscounted, metav1.NewTime(d.next)
	d = decide(w)
	g.Expect(d.records).To(HaveLen(1))
	g.Expect(d.miscounted).To(BeZero(), "the next half minute has not begun")
	g.Expect(d.records[0].status.Objects).To(BeEquivalentTo(2))

	w.now, w.miscounted, w.agents = metav1.NewTime(changed), time.Time{}, live("b")
	d = decide(w)
	g.Expect(d.records).To(HaveLen(1), "another owner")
	g.Expect(d.records[0].status.Objects).To(BeEquivalentTo(2))
}

func TestDecideDuplicates(t *testing.T) {
	g := NewWithT(t)
	ours, mine := cluster("prod", "b", 7), cluster("mine", "", 0)
	ours.Labels = map[string]string{"fleet.headwater.dev/managed": "true"}
	w := world{system: "flux-system", agents: live("a", "b"), clusters: []fleetv1.RemoteCluster{ours, mine}}
	d := decide(w)
	g.Expect(d.records).To(HaveLen(2))
	g.Expect(d.records[0].status.Assignments).To(BeEmpty(), "the hub's own gives way")
	g.Expect(d.records[0].status.Conditions[0].Reason).To(Equal("DuplicateTarget"))
	g.Expect(d.records[1].status.Assignments).To(Equal([]fleetv1.Assignment{{Agent: "b", Epoch: 7}}), "to the user's, which takes the record over")
	g.Expect(d.records[1].moves).To(BeEmpty())

	w.clusters[0].Status, w.clusters[1].Status = d.records[0].status, d.records[1].status
	g.Expect(decide(w).records).To(BeEmpty())
}

func TestPinOfObjects(t *testing.T) {
	g := NewWithT(t)
	key := shard.KeyFor("apps", "", &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}})
	pinned := func(name, pin string) object {
		return object{name: types.NamespacedName{Namespace: "apps", Name: name}, key: key, pin: pin}
	}
	w := world{system: "flux-system", agents: live("a", "b", "c"), clusters: []fleetv1.RemoteCluster{cluster("prod", "a", 1)}}
	w.objects = []object{pinned("two", "c"), pinned("one", "b"), pinned("none", "")}
	d := decide(w)
	g.Expect(d.owners[key]).To(Equal("b"), "the first by name decides")
	g.Expect(d.records[0].status.Objects).To(BeEquivalentTo(3))

	w.clusters[0].Labels = map[string]string{"fleet.headwater.dev/pin": "c"}
	g.Expect(decide(w).owners[key]).To(Equal("c"), "the cluster's own pin goes first")
}

func TestMoveEvents(t *testing.T) {
	g := NewWithT(t)
	prod := shard.Key{Namespace: "apps", Name: "prod", DataKey: "value"}
	events := func(moves ...shard.Move) []reconcile.Event { return moveEvents(moves) }
	one := func(severity, message string) []reconcile.Event {
		return []reconcile.Event{{Severity: severity, Reason: "Moved", Message: message}}
	}
	g.Expect(events()).To(BeEmpty())
	g.Expect(events(shard.Move{Key: prod, To: "a", Reason: "Placed"})).To(Equal(one("info", "given to a")))
	g.Expect(events(shard.Move{Key: prod, From: "a", To: "b", Reason: "OwnerGone"})).To(Equal(one("info", "moved from a to b: a is gone")))
	g.Expect(events(shard.Move{Key: prod, From: "a", To: "b", Reason: "Balanced"})).To(Equal(one("info", "moved from a to b: b has less to do than its share")))
	g.Expect(events(shard.Move{Key: prod, From: "a", To: "b", Reason: "Overloaded"})).To(Equal(one("info", "moved from a to b: a has more to do than its share")))
	g.Expect(events(shard.Move{Key: prod, From: "a", To: "b", Reason: "Pinned"})).To(Equal(one("info", "moved from a to b: it is pinned to b")))
	g.Expect(events(shard.Move{Key: prod, From: "a", Reason: "NotAllowed"})).To(Equal(one("error", "taken from a: spec.agentSelector does not match a")))
	g.Expect(events(
		shard.Move{Key: shard.HubKey(1), From: "a", To: "b", Reason: "OwnerGone"},
		shard.Move{Key: shard.HubKey(4), From: "a", To: "c", Reason: "OwnerGone"},
		shard.Move{Key: shard.HubKey(9), From: "a", To: "b", Reason: "OwnerGone"},
	)).To(Equal(append(
		one("info", "partitions 1, 9: moved from a to b: a is gone"),
		one("info", "partitions 4: moved from a to c: a is gone")...)))
}

func TestStrip(t *testing.T) {
	g := NewWithT(t)
	k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{
		Namespace: "apps", Name: "shop", UID: "u", ResourceVersion: "7", Labels: map[string]string{"fleet.headwater.dev/agent": "a"},
		Annotations:   map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "long"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "x"}},
	}}
	k.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}}
	k.Spec.Suspend, k.Spec.Path = true, "./apps"
	k.Status.LastAppliedRevision = "main@sha1:x"
	want := objectOf(k)

	stripped, err := Strip(k)
	g.Expect(err).NotTo(HaveOccurred())
	got := stripped.(*kustomizev1.Kustomization)
	g.Expect(objectOf(got)).To(Equal(want))
	g.Expect(got.Spec.Suspend).To(BeTrue())
	g.Expect(got.Annotations).To(BeEmpty())
	g.Expect(got.ManagedFields).To(BeEmpty())
	g.Expect(got.Spec.Path).To(BeEmpty())
	g.Expect(got.Status.LastAppliedRevision).To(BeEmpty())

	release := &helmv2.HelmRelease{}
	release.Spec.Interval.Duration = time.Minute
	stripped, err = Strip(release)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(releaseOf(stripped.(*helmv2.HelmRelease))).To(Equal(releaseOf(release)))
	g.Expect(stripped.(*helmv2.HelmRelease).Spec.Interval.Duration).To(BeZero())
	release.Status.History = helmv2.Snapshots{{Name: "shop"}}
	stripped, err = Strip(release)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(releaseOf(stripped.(*helmv2.HelmRelease))).To(Equal(releaseOf(release)))
	g.Expect(releaseOf(release).applied).To(BeTrue())
	g.Expect(stripped.(*helmv2.HelmRelease).Status.History).To(BeEmpty())

	other := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Name: "prod"}}
	g.Expect(Strip(other)).To(BeIdenticalTo(other))
}

func TestARecordMadeAnewHadAnOwnerBefore(t *testing.T) {
	g := NewWithT(t)
	c := cluster("prod", "", 0)
	w := world{system: "flux-system", agents: live("a"), clusters: []fleetv1.RemoteCluster{c}}
	w.objects = []object{{key: shard.KeyFor("apps", "x", c.Spec.KubeConfig), applied: true}}
	g.Expect(decide(w).records[0].status.Assignments).To(Equal([]fleetv1.Assignment{{Agent: "a", Epoch: 2}}),
		"only a first owner need not wait for anybody")
	w.objects[0].applied = false
	g.Expect(decide(w).records[0].status.Assignments).To(Equal([]fleetv1.Assignment{{Agent: "a", Epoch: 1}}))
}
