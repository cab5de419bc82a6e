package fleet

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/event"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/shard"
)

func TestNameFor(t *testing.T) {
	for name, tc := range map[string]struct {
		key   shard.Key
		taken string
		want  string
	}{
		"the Secret's":             {shard.Key{Namespace: "apps", Name: "prod.eu", DataKey: "value"}, "", "prod.eu"},
		"with a data key":          {shard.Key{Namespace: "apps", Name: "prod", DataKey: "EU_west.yaml"}, "", "prod-eu-west-yaml"},
		"of a ConfigMap":           {shard.Key{Namespace: "apps", Name: "prod", DataKey: "@configmap"}, "", "prod-configmap"},
		"taken":                    {shard.Key{Namespace: "apps", Name: "prod", DataKey: "value"}, "prod", "prod-40bbab4d"},
		"a data key of signs":      {shard.Key{Namespace: "apps", Name: "prod", DataKey: "__"}, "", "prod-"},
		"a name that cannot exist": {shard.Key{Namespace: "apps", Name: "Prod EU", DataKey: "value"}, "", "prod-eu-"},
		"a name of signs":          {shard.Key{Namespace: "apps", Name: "..", DataKey: "value"}, "", "cluster-"},
		"too long":                 {shard.Key{Namespace: "apps", Name: strings.Repeat("x", 250), DataKey: "other"}, "", strings.Repeat("x", 244) + "-"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := nameFor(tc.key, map[string]bool{tc.taken: true})
			g.Expect(got).To(HavePrefix(tc.want))
			g.Expect(len(got) == len(tc.want) || len(got) == len(strings.TrimSuffix(tc.want, "-"))+9).To(BeTrue(), got)
			g.Expect(validation.IsDNS1123Subdomain(got)).To(BeEmpty())
			g.Expect(nameFor(tc.key, map[string]bool{tc.taken: true})).To(Equal(got))
		})
	}
}

func TestNamesOfKeysThatLookAlike(t *testing.T) {
	g := NewWithT(t)
	s := state{namespace: "apps", system: "flux-system", used: map[shard.Key]bool{
		{Namespace: "apps", Name: "a-b", DataKey: "value"}: true,
		{Namespace: "apps", Name: "a", DataKey: "b"}:       true,
		{Namespace: "apps", Name: "a", DataKey: "B"}:       true,
	}}
	c, err := plan(s)
	g.Expect(err).NotTo(HaveOccurred())
	got := map[string]string{}
	for _, cluster := range c.create {
		got[cluster.Name] = cluster.Spec.KubeConfig.SecretRef.Name + " " + cluster.Spec.KubeConfig.SecretRef.Key
	}
	g.Expect(got).To(HaveLen(3))
	g.Expect(got).To(HaveKeyWithValue("a-b", "a-b "))
}

func TestAPlanLeavesAloneWhatUsersMade(t *testing.T) {
	key := shard.Key{Namespace: "apps", Name: "prod", DataKey: "value"}
	cluster := func(name string, managed bool, records int) fleetv1.RemoteCluster {
		c := fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name}}
		c.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}}
		c.Status.Assignments = make([]fleetv1.Assignment, records)
		if managed {
			c.Labels = map[string]string{"fleet.headwater.dev/managed": "true"}
		}
		return c
	}
	for name, tc := range map[string]struct {
		used     bool
		clusters []fleetv1.RemoteCluster
		created  int
		removed  []string
	}{
		"none":                          {true, nil, 1, nil},
		"one of a user's":               {true, []fleetv1.RemoteCluster{cluster("mine", false, 0)}, 0, nil},
		"one of a user's, not used":     {false, []fleetv1.RemoteCluster{cluster("mine", false, 1)}, 0, nil},
		"ours":                          {true, []fleetv1.RemoteCluster{cluster("prod", true, 1)}, 0, nil},
		"ours, not used":                {false, []fleetv1.RemoteCluster{cluster("prod", true, 1)}, 0, []string{"prod"}},
		"both, the record is with ours": {true, []fleetv1.RemoteCluster{cluster("mine", false, 0), cluster("prod", true, 1)}, 0, nil},
		"both, the record is with user": {true, []fleetv1.RemoteCluster{cluster("mine", false, 1), cluster("prod", true, 1)}, 0, []string{"prod"}},
		"two of users'":                 {true, []fleetv1.RemoteCluster{cluster("mine", false, 1), cluster("yours", false, 0)}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := state{namespace: "apps", system: "flux-system", used: map[shard.Key]bool{}, clusters: tc.clusters}
			if tc.used {
				s.used[key] = true
			}
			c, err := plan(s)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(c.create).To(HaveLen(tc.created))
			g.Expect(c.relabel).To(BeEmpty())
			var removed []string
			for _, cluster := range c.remove {
				removed = append(removed, cluster.Name)
			}
			g.Expect(removed).To(Equal(tc.removed))
		})
	}
}

func TestTheNameOfTheHubIsReserved(t *testing.T) {
	g := NewWithT(t)
	s := state{namespace: "flux-system", system: "flux-system", used: map[shard.Key]bool{
		{Namespace: "flux-system", Name: "hub", DataKey: "value"}: true,
	}}
	c, err := plan(s)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.create).To(HaveLen(2))
	g.Expect(c.create[0].Name).To(Equal("hub"))
	g.Expect(c.create[0].Spec.Mode).To(BeEquivalentTo("Hub"))
	g.Expect(c.create[1].Name).To(HavePrefix("hub-"))

	s.clusters = []fleetv1.RemoteCluster{{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "hub"}}}
	_, err = plan(s)
	g.Expect(err).To(MatchError(ContainSubstring("flux-system/hub has spec.mode Push, but its name is reserved")))
}

// The Kustomization of a Cluster may come before it: they are in one commit. The
// record of ownership stays where it is.
func TestAClusterThatComesAfterItsKustomization(t *testing.T) {
	g := NewWithT(t)
	key := declaredKey("apps", "prod")
	s := state{namespace: "apps", system: "flux-system", used: map[shard.Key]bool{key: true}}
	c, err := plan(s)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.create).To(HaveLen(1))
	g.Expect(c.create[0].Name).To(Equal("prod-kubeconfig"))

	s.clusters = []fleetv1.RemoteCluster{*c.create[0]}
	s.declared = map[shard.Key]declared{key: {name: "prod", labels: map[string]string{"tier": "gold"}}}
	c, err = plan(s)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.create).To(BeEmpty(), "one RemoteCluster for one target")
	g.Expect(c.remove).To(BeEmpty())
	g.Expect(c.relabel).To(HaveLen(1))
	g.Expect(c.relabel[0].labels).To(HaveKeyWithValue("tier", HaveValue(Equal("gold"))))
}

func TestFollow(t *testing.T) {
	text := func(s string) *string { return &s }
	for name, tc := range map[string]struct {
		have   map[string]string
		list   string
		secret map[string]string
		labels map[string]*string
		copied *string
		change bool
	}{
		"nothing":            {nil, "", nil, map[string]*string{}, nil, false},
		"new":                {map[string]string{"mine": "x"}, "", map[string]string{"env": "prod", "empty": ""}, map[string]*string{"env": text("prod"), "empty": text("")}, text("empty,env"), true},
		"the same":           {map[string]string{"env": "prod"}, "env", map[string]string{"env": "prod"}, map[string]*string{}, text("env"), false},
		"changed":            {map[string]string{"env": "prod"}, "env", map[string]string{"env": "test"}, map[string]*string{"env": text("test")}, text("env"), true},
		"edited by somebody": {map[string]string{"env": "mine"}, "env", map[string]string{"env": "prod"}, map[string]*string{"env": text("prod")}, text("env"), true},
		"gone":               {map[string]string{"env": "prod", "mine": "x"}, "env", nil, map[string]*string{"env": nil}, nil, true},
		"not copied": {nil, "", map[string]string{"fleet.headwater.dev/cluster": "true", "kustomize.toolkit.fluxcd.io/name": "infra"},
			map[string]*string{}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cluster := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Labels: tc.have, Annotations: map[string]string{"fleet.headwater.dev/copied-labels": tc.list}}}
			got, change := follow(cluster, tc.secret)
			g.Expect(change).To(Equal(tc.change))
			g.Expect(got.labels).To(Equal(tc.labels))
			g.Expect(got.copied).To(Equal(tc.copied))
		})
	}
}

// An object that moves needs the target that it comes from and the one that it goes
// to: only who has reached both knows whether they are one cluster.
func TestAnObjectThatMovesUsesBothTargets(t *testing.T) {
	g := NewWithT(t)
	to := func(name string) *meta.KubeConfigReference {
		return &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: name}}
	}
	moving := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "web"}}
	moving.Spec.KubeConfig, moving.Status.Target = to("new"), "apps/old/value"
	s := &state{used: map[shard.Key]bool{}}
	s.use(moving)
	g.Expect(s.used).To(Equal(map[shard.Key]bool{
		shard.KeyFor("apps", "web", to("new")): true, shard.KeyFor("apps", "web", to("old")): true,
	}))
	before := moving.DeepCopy()
	before.Spec.KubeConfig = to("old")
	g.Expect(keyChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: moving})).To(BeTrue())
}
