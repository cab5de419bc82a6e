package placement

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/shard"
)

// BenchmarkDecidePullClusters is a run in which nothing changes, with an agent
// inside of each cluster: ten times as many cost ten times as much.
func BenchmarkDecidePullClusters(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := world{system: "flux-system", clusters: make([]fleetv1.RemoteCluster, n)}
			for i := range w.clusters {
				c := &w.clusters[i]
				c.ObjectMeta = metav1.ObjectMeta{Namespace: "apps", Name: fmt.Sprintf("edge-%d", i)}
				c.Spec.Mode = fleetv1.PullMode
				m := memberState{name: shard.PullAgent(c.Namespace, c.Name), state: shard.Alive}
				m.crew, _ = w.pools.forAgent(m.name, nil)
				w.members = append(w.members, m)
			}
			w.agents = (&Reconciler{}).agents(w.members)
			for _, rec := range decide(w).records {
				rec.cluster.Status = rec.status
			}
			b.ReportAllocs()
			for b.Loop() {
				if d := decide(w); d.unowned > 0 || len(d.records) > 0 {
					b.Fatalf("%d clusters without an agent, %d records to write", d.unowned, len(d.records))
				}
			}
		})
	}
}
