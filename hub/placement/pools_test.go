package placement

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/shard"
)

func selecting(label, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{label: value}}
}

// agentPool selects clusters and agents by the label region.
func agentPool(name, region string) fleetv1.AgentPool {
	p := fleetv1.AgentPool{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: name, Generation: 2}}
	p.Spec.ClusterSelector, p.Spec.Agents = selecting("region", region), selecting("region", region)
	return p
}

// fleetOf is a world of agents in regions, as agent to region, and of the
// cluster apps/prod, which has labels.
func fleetOf(objects []fleetv1.AgentPool, regions map[string]string, own map[string]string) world {
	prod := cluster("prod", "", 0)
	prod.Labels = own
	w := world{system: "flux-system", clusters: []fleetv1.RemoteCluster{prod}}
	w.pools = readPools(objects, "flux-system", rules{maxLoadFactor: 1.25, movesPerMinute: 10})
	for name, region := range regions {
		m := memberState{name: name, state: shard.Alive}
		agentLabels := map[string]string{"region": region}
		m.crew, m.others = w.pools.forAgent(name, agentLabels)
		w.members = append(w.members, m)
		w.agents = append(w.agents, shard.Agent{Name: name, Pool: m.crew, Labels: agentLabels})
	}
	return w
}

func TestPools(t *testing.T) {
	eu, us := agentPool("eu", "eu"), agentPool("us", "us")
	also := agentPool("europe", "eu")
	everything := fleetv1.AgentPool{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "default"}}
	narrow := agentPool("default", "us")
	clustersOnly := agentPool("eu", "eu")
	clustersOnly.Spec.Agents = nil
	ruled := clustersOnly
	ruled.Spec.Placement.MovesPerMinute = 1
	elsewhere := agentPool("eu", "eu")
	elsewhere.Namespace = "team-a"
	invalid := agentPool("eu", "eu")
	invalid.Spec.Agents = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "zone", Operator: "Near"}}}
	agents := map[string]string{"a-eu": "eu", "b-none": "", "c-us": "us"}
	inEU := map[string]string{"region": "eu"}

	for name, tc := range map[string]struct {
		pools   []fleetv1.AgentPool
		agents  map[string]string
		labels  map[string]string
		owner   string
		message string
		// pool is what the first pool says of itself: its condition Ready, and
		// where it is True the condition Conflicting.
		pool string
	}{
		"the default pool needs no object":   {nil, map[string]string{"b-none": ""}, inEU, "b-none", "owned by b-none", ""},
		"by the cluster's labels":            {[]fleetv1.AgentPool{eu, us}, agents, inEU, "a-eu", "owned by a-eu", "Serving: 1 agents for 1 clusters"},
		"what no pool selects":               {[]fleetv1.AgentPool{eu, us}, agents, nil, "b-none", "owned by b-none", "NoClusters: no RemoteCluster has the labels region=eu of spec.clusterSelector"},
		"a default pool with an object":      {[]fleetv1.AgentPool{everything, eu, us}, agents, nil, "b-none", "owned by b-none", "Serving: 1 agents for 1 clusters"},
		"without agents of its own":          {[]fleetv1.AgentPool{clustersOnly}, map[string]string{"b-none": ""}, inEU, "b-none", "owned by b-none", "Serving: 1 agents for 1 clusters"},
		"rules without agents of its own":    {[]fleetv1.AgentPool{ruled}, map[string]string{"b-none": ""}, inEU, "b-none", "owned by b-none", "Serving: 1 agents for 1 clusters; spec.placement has no effect without spec.agents: AgentPool default has the rules of the agents that no pool selects"},
		"by the shard key of Flux":           {[]fleetv1.AgentPool{eu, us}, agents, map[string]string{"region": "eu", "sharding.fluxcd.io/key": "us"}, "c-us", "owned by c-us", "NoClusters: no RemoteCluster has the labels region=eu of spec.clusterSelector"},
		"a shard key that names no pool":     {[]fleetv1.AgentPool{eu}, agents, map[string]string{"region": "eu", "sharding.fluxcd.io/key": "x"}, "a-eu", "owned by a-eu; sharding.fluxcd.io/key=x, its own label, has no effect: there is no AgentPool x", "Serving: 1 agents for 1 clusters"},
		"two pools that match":               {[]fleetv1.AgentPool{also, eu}, agents, inEU, "a-eu", "owned by a-eu; the AgentPools eu, europe all select it: eu, the first by name, serves it", "NoAgents: no live agent has the labels region=eu of spec.agents: start one with --labels, or change the selector; AgentPools eu and europe both select RemoteCluster apps/prod, agent a-eu: eu, the first by name, has it"},
		"a selector that matches no agent":   {[]fleetv1.AgentPool{eu}, map[string]string{"c-us": "us"}, inEU, "", "no live agent in AgentPool eu: none that renews its Lease in namespace flux-system has the labels region=eu (--labels)", "NoAgents: no live agent has the labels region=eu of spec.agents: start one with --labels, or change the selector"},
		"a pool beside no agents":            {[]fleetv1.AgentPool{elsewhere}, map[string]string{"b-none": ""}, inEU, "b-none", "owned by b-none", "WrongNamespace: AgentPools count in namespace flux-system alone, where the agents are: make it there"},
		"a selector that is none":            {[]fleetv1.AgentPool{invalid}, map[string]string{"b-none": ""}, inEU, "b-none", "owned by b-none", `InvalidSelector: spec.agents: "Near" is not a valid label selector operator`},
		"a default pool that leaves one out": {[]fleetv1.AgentPool{narrow}, map[string]string{"c-us": "us"}, inEU, "", "no AgentPool serves the cluster: none selects its labels, and none is without spec.clusterSelector", "NoClusters: no RemoteCluster has the labels region=us of spec.clusterSelector"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := fleetOf(tc.pools, tc.agents, tc.labels)
			d := decide(w)
			status := d.records[0].status
			g.Expect(status.Agent).To(Equal(tc.owner))
			g.Expect(status.Conditions[0].Message).To(Equal(tc.message))
			g.Expect(status.Conditions[0].Status == metav1.ConditionTrue).To(Equal(tc.owner != ""))
			if tc.pool != "" {
				g.Expect(d.pools).To(HaveLen(len(tc.pools)))
			}
			for _, rec := range d.pools {
				if rec.object.Name != tc.pools[0].Name {
					continue
				}
				said := rec.status.Conditions[0].Reason + ": " + rec.status.Conditions[0].Message
				if rec.status.Conditions[1].Status == metav1.ConditionTrue {
					said += "; " + rec.status.Conditions[1].Message
				}
				g.Expect(said).To(Equal(tc.pool))
				g.Expect(rec.status.ObservedGeneration).To(Equal(tc.pools[0].Generation))
			}

			// Written, it is right: a second run finds nothing to do.
			w.clusters[0].Status = status
			for _, rec := range d.pools {
				rec.object.Status = rec.status
			}
			again := decide(w)
			g.Expect(again.records).To(BeEmpty())
			g.Expect(again.pools).To(BeEmpty())
		})
	}
}

// TestPoolTakesOverByLabels: a cluster whose labels change goes to the pool that
// selects it now, when the budget of that pool allows, and stays where it is
// while nobody is there.
func TestPoolTakesOverByLabels(t *testing.T) {
	g := NewWithT(t)
	agents := map[string]string{"a-eu": "eu", "c-us": "us"}
	w := fleetOf([]fleetv1.AgentPool{agentPool("eu", "eu"), agentPool("us", "us")}, agents, map[string]string{"region": "us"})
	w.clusters[0].Status.Assignments = []fleetv1.Assignment{{Agent: "a-eu", Epoch: 4}}
	w.budget = map[string]allowance{"us": {}}
	d := decide(w)
	g.Expect(d.records[0].moves).To(BeEmpty())
	g.Expect(d.records[0].status.Conditions[0].Message).To(Equal("owned by a-eu; it moves to AgentPool us when spec.placement.movesPerMinute there allows"))
	g.Expect(d.pools[1].status.Moving).To(BeEquivalentTo(1))
	g.Expect(d.pools[1].status.Agents).To(Equal([]fleetv1.AgentStatus{{Name: "c-us", State: "Ready"}}))
	g.Expect(d.pools[0].status.Agents).To(Equal([]fleetv1.AgentStatus{{Name: "a-eu", State: "Ready", Clusters: 1, Cost: 1}}))

	w.budget["us"] = allowance{moves: 1}
	d = decide(w)
	g.Expect(d.records[0].status.Assignments).To(Equal([]fleetv1.Assignment{{Agent: "c-us", Epoch: 5}}))
	g.Expect(d.moved).To(Equal(map[string]int{"us": 1}))
	g.Expect(moveEvents(d.records[0].moves)[0].Message).To(Equal("moved from a-eu to c-us: another AgentPool serves it, by its labels"))

	// An agent that is gone does not wait for the budget.
	w.budget["us"], w.agents = allowance{}, w.agents[:0]
	w.agents = append(w.agents, shard.Agent{Name: "c-us", Pool: "us"})
	g.Expect(decide(w).records[0].status.Agent).To(Equal("c-us"))

	w = fleetOf([]fleetv1.AgentPool{agentPool("eu", "eu"), agentPool("us", "us")}, map[string]string{"a-eu": "eu"}, map[string]string{"region": "us"})
	w.clusters[0].Status.Assignments = []fleetv1.Assignment{{Agent: "a-eu", Epoch: 4}}
	d = decide(w)
	g.Expect(d.records[0].moves).To(BeEmpty())
	g.Expect(d.records[0].status.Conditions[0].Message).To(Equal("owned by a-eu; AgentPool us serves it, but has no live agent: it stays where it is until there is one"))
}

func TestRulesOfPools(t *testing.T) {
	g := NewWithT(t)
	own := agentPool("eu", "eu")
	own.Spec.Placement = fleetv1.Placement{MaxLoadFactor: "2", MovesPerMinute: 3, ReassignAfter: &metav1.Duration{Duration: time.Minute}}
	shared := agentPool("shared", "x")
	shared.Spec.Agents, shared.Spec.Placement.MovesPerMinute = nil, 99
	ps := readPools([]fleetv1.AgentPool{own, shared}, "flux-system", rules{1.25, 10, 30 * time.Second})
	g.Expect(ps.rulesFor("eu")).To(Equal(rules{2, 3, time.Minute}))
	g.Expect(ps.rulesFor("")).To(Equal(rules{1.25, 10, 30 * time.Second}), "pools without agents of their own follow the default pool's")
}

func TestBudgetFillsUpWithTime(t *testing.T) {
	g := NewWithT(t)
	start := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	var b bucket
	fill := func(after time.Duration) allowance {
		b.fill(start.Add(after), 10)
		return b.allowance()
	}
	g.Expect(fill(0)).To(Equal(allowance{moves: 10, wishes: 5}))
	g.Expect(b.spend(9)).To(BeZero())
	g.Expect(b.spend(1)).To(Equal(start.Add(6*time.Second)), "when the next one may move")
	g.Expect(fill(5 * time.Second).moves).To(Equal(0))
	g.Expect(fill(30 * time.Second).moves).To(Equal(5))
	g.Expect(fill(time.Hour).moves).To(Equal(10))
}

// TestWishesAndBalanceTakeTurns: where there is a single move at a time, wishes
// have every other one.
func TestWishesAndBalanceTakeTurns(t *testing.T) {
	g := NewWithT(t)
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	var b bucket
	b.fill(now, 1)
	var wishes []int
	for range 4 {
		wishes = append(wishes, b.allowance().wishes)
		b.spend(0) // a run in which nothing moves takes no turn
		b.spend(b.allowance().moves)
		now = now.Add(time.Minute)
		b.fill(now, 1)
	}
	g.Expect(wishes).To(Equal([]int{0, 1, 0, 1}))
}

// TestAPinWaitsForTheBudget: and the cluster says so.
func TestAPinWaitsForTheBudget(t *testing.T) {
	g := NewWithT(t)
	w := fleetOf(nil, map[string]string{"a": "", "b": ""}, map[string]string{"fleet.headwater.dev/pin": "b"})
	w.clusters[0].Status.Assignments = []fleetv1.Assignment{{Agent: "a", Epoch: 1}}
	w.budget = map[string]allowance{commonCrew: {}}
	d := decide(w)
	g.Expect(d.records[0].status.Agent).To(Equal("a"))
	g.Expect(d.records[0].status.Conditions[0].Message).To(Equal("owned by a; it moves to b, which it is pinned to, when spec.placement.movesPerMinute of its AgentPool allows"))

	w.budget[commonCrew] = allowance{moves: 1}
	d = decide(w)
	g.Expect(d.records[0].status.Agent).To(Equal("b"))
	g.Expect(d.moved).To(Equal(map[string]int{commonCrew: 1}))
}

// TestFirstAgentWaitsForOthers: the first agent of a fleet is not given all of
// it, to give most of it away a second later; one that comes to others waits for
// nothing.
func TestFirstAgentWaitsForOthers(t *testing.T) {
	g := NewWithT(t)
	joined := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	w := fleetOf(nil, map[string]string{"a": ""}, nil)
	w.members[0].joined, w.settle = joined, 3*time.Second
	w.now = metav1.NewTime(joined.Add(time.Second))
	d := decide(w)
	g.Expect(d.records[0].status.Agent).To(BeEmpty())
	g.Expect(d.records[0].status.Conditions[0].Message).To(Equal("the first agents are joining: waiting a moment for more"))
	g.Expect(d.next).To(Equal(joined.Add(3 * time.Second)))

	w.now = metav1.NewTime(joined.Add(3 * time.Second))
	g.Expect(decide(w).records[0].status.Agent).To(Equal("a"))

	w.now = metav1.NewTime(joined.Add(time.Second))
	owned := cluster("owned", "a", 1)
	owned.Spec.KubeConfig.SecretRef.Name = "owned"
	w.clusters = append(w.clusters, owned)
	g.Expect(decide(w).records[0].status.Agent).To(Equal("a"))
}

func TestReplicasThatAreGone(t *testing.T) {
	g := NewWithT(t)
	sets := ordinals{"agent": {0, 2}, "late": {5, 7}}
	for agent, retired := range map[string]bool{
		"agent-0": false, "agent-1": false, "agent-2": true, "agent-10": true, "agent-x": false, "agent": false,
		"late-4": true, "late-5": false, "late-7": true, "other-9": false, "agent-eu-9": false,
	} {
		g.Expect(sets.retired(agent)).To(Equal(retired), agent)
	}
	w := fleetOf(nil, map[string]string{"agent-0": ""}, nil)
	w.clusters[0].Status.Assignments = []fleetv1.Assignment{{Agent: "agent-2", Epoch: 1}}
	w.members = append(w.members, memberState{name: "agent-2", state: shard.Alive, retired: true})
	d := decide(w)
	g.Expect(d.records[0].status.Agent).To(Equal("agent-0"))
	g.Expect(moveEvents(d.records[0].moves)[0].Message).To(Equal("moved from agent-2 to agent-0: the StatefulSet of agent-2 has no such replica any more"))
}

func TestEpochNeverFalls(t *testing.T) {
	g := NewWithT(t)
	w := fleetOf(nil, map[string]string{"a": ""}, nil)
	key := shard.KeyFor("apps", "", w.clusters[0].Spec.KubeConfig)
	w.epochs = map[shard.Key]int64{key: 7}
	g.Expect(decide(w).records[0].status.Assignments).To(Equal([]fleetv1.Assignment{{Agent: "a", Epoch: 8}}), "the RemoteCluster was deleted and made again")
	w.clusters[0].Status.Assignments = []fleetv1.Assignment{{Agent: "mallory", Epoch: 1}}
	g.Expect(decide(w).records[0].status.Assignments).To(Equal([]fleetv1.Assignment{{Agent: "a", Epoch: 8}}), "its status was edited")
}

// TestTwoRecordsOfOneKey: while another RemoteCluster still holds a record of the
// key, the key does not move, so that no two agents find themselves in records.
func TestTwoRecordsOfOneKey(t *testing.T) {
	g := NewWithT(t)
	w := fleetOf(nil, map[string]string{"b": ""}, nil)
	w.clusters[0].Status.Assignments = []fleetv1.Assignment{{Agent: "a", Epoch: 3}}
	managed := cluster("other", "z", 2)
	managed.Labels = map[string]string{"fleet.headwater.dev/managed": "true"}
	w.clusters = append(w.clusters, managed)
	d := decide(w)
	g.Expect(d.doubled).To(Equal(1))
	g.Expect(d.records[0].status.Assignments).To(Equal([]fleetv1.Assignment{{Agent: "a", Epoch: 3}}))
	g.Expect(d.records[1].status.Assignments).To(BeEmpty())
	g.Expect(d.records[1].foreign).To(Equal([]int32{0}))

	w.clusters[1].Status = d.records[1].status
	d = decide(w)
	g.Expect(d.doubled).To(BeZero())
	g.Expect(d.records[0].status.Assignments).To(Equal([]fleetv1.Assignment{{Agent: "b", Epoch: 4}}))
}
