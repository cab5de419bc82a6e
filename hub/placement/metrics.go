package placement

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Registered once per process.
var (
	unownedKeys = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "headwater_placement_keys_unowned",
		Help: "Targets, and partitions of the hub, that no live agent acts for.",
	})

	movedKeys = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_placement_moves_total",
		Help: "Changes of the agent that acts for a target, by reason.",
	}, []string{"reason"})
)

func init() {
	metrics.Registry.MustRegister(unownedKeys, movedKeys)
}
