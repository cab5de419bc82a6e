package placement

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
)

// Registered once per process.
var (
	unownedKeys = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "headwater_placement_keys_unowned",
		Help: "Targets that are not suspended, and partitions of the hub, that no live agent acts for.",
	})

	doubledKeys = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "headwater_placement_keys_with_two_owners",
		Help: "Targets that the records of two RemoteClusters give to different agents. The fence keeps one of them out.",
	})

	movedKeys = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_placement_moves_total",
		Help: "Changes of the agent that acts for a target, by reason.",
	}, []string{"reason"})

	handoverSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "headwater_placement_handover_seconds",
		Help:    "Time from the change of a record until the new agent has reported on its connection to the target.",
		Buckets: []float64{0.1, 0.3, 1, 3, 10, 20, 30, 45, 60, 120, 300},
	})
)

func init() {
	metrics.Registry.MustRegister(unownedKeys, doubledKeys, movedKeys, handoverSeconds)
}

// handover is a change of the record that the new agent has not answered yet.
type handover struct {
	to    string
	since time.Time
}

// beginHandover notes that the cluster goes from one agent to another.
func (r *Reconciler) beginHandover(rec record, now time.Time) {
	for _, move := range rec.moves {
		if move.From == "" || move.To == "" || move.Key.Partition != 0 {
			continue
		}
		if r.handovers == nil {
			r.handovers = map[types.NamespacedName]handover{}
		}
		r.handovers[client.ObjectKeyFromObject(rec.cluster)] = handover{to: move.To, since: now}
	}
}

// endHandover notes that the new agent serves the cluster.
func (r *Reconciler) endHandover(cluster *fleetv1.RemoteCluster, now time.Time) {
	name := client.ObjectKeyFromObject(cluster)
	if pending, ok := r.handovers[name]; ok && pending.to == cluster.Status.ServedBy {
		handoverSeconds.Observe(now.Sub(pending.since).Seconds())
		delete(r.handovers, name)
	}
}
