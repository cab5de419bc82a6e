package shard_test

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/shard"
)

func TestKeysOf(t *testing.T) {
	for name, tc := range map[string]struct {
		namespace, name string
		spec            fleetv1.RemoteClusterSpec
		want            []string
	}{
		"a Secret":                    {"apps", "x", fleetv1.RemoteClusterSpec{KubeConfig: secret("prod", "")}, []string{"apps/prod/value"}},
		"a data key":                  {"apps", "x", fleetv1.RemoteClusterSpec{KubeConfig: secret("prod", "eu")}, []string{"apps/prod/eu"}},
		"a Cluster of Cluster API":    {"apps", "x", fleetv1.RemoteClusterSpec{ClusterRef: &fleetv1.ClusterReference{Name: "prod"}}, []string{"apps/prod-kubeconfig/value"}},
		"a cluster that pulls":        {"apps", "edge", fleetv1.RemoteClusterSpec{Mode: fleetv1.PullMode}, []string{"apps/edge/value"}},
		"a hub of somebody's own":     {"apps", "hub", fleetv1.RemoteClusterSpec{Mode: fleetv1.HubMode}, nil},
		"a hub under another name":    {"flux-system", "other", fleetv1.RemoteClusterSpec{Mode: fleetv1.HubMode}, nil},
		"nothing that can be reached": {"apps", "x", fleetv1.RemoteClusterSpec{}, nil},
		"the hub": {"flux-system", "hub", fleetv1.RemoteClusterSpec{Mode: fleetv1.HubMode}, []string{
			"hub/0", "hub/1", "hub/2", "hub/3", "hub/4", "hub/5", "hub/6", "hub/7",
			"hub/8", "hub/9", "hub/10", "hub/11", "hub/12", "hub/13", "hub/14", "hub/15"}},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: tc.namespace, Name: tc.name}, Spec: tc.spec}
			var got []string
			for _, key := range shard.KeysOf(cluster, "flux-system") {
				got = append(got, key.String())
			}
			NewWithT(t).Expect(got).To(Equal(tc.want))
		})
	}
}

func TestPullCluster(t *testing.T) {
	for agent, want := range map[string][]string{
		shard.PullAgent("apps", "edge"):    {"apps", "edge"},
		shard.PullAgent("apps", "edge.eu"): {"apps", "edge.eu"},
		"pull.apps":                        nil,
		"agent-0":                          nil,
		"agent.apps.edge":                  nil,
	} {
		namespace, name, found := shard.PullCluster(agent)
		g := NewWithT(t)
		g.Expect(found).To(Equal(want != nil), agent)
		if found {
			g.Expect([]string{namespace, name}).To(Equal(want))
		}
	}
}

func TestPrecedence(t *testing.T) {
	g := NewWithT(t)
	cluster := func(name, managed string, age time.Duration) *fleetv1.RemoteCluster {
		made := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC).Add(-age)
		return &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"fleet.headwater.dev/managed": managed}, CreationTimestamp: metav1.NewTime(made)}}
	}
	list := []*fleetv1.RemoteCluster{
		cluster("managed", "true", 3*time.Hour), cluster("c", "", time.Hour), cluster("b", "", time.Hour), cluster("old", "false", 2*time.Hour),
	}
	slices.SortFunc(list, shard.Precedence)
	var names []string
	for _, c := range list {
		names = append(names, c.Name)
	}
	g.Expect(names).To(Equal([]string{"old", "b", "c", "managed"}))
}
