package remote

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Registered once per process.
var (
	connectedTargets = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "headwater_targets_connected", Help: "Targets of this agent that are reached.",
	})
	fencesTaken = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "headwater_fences_taken_total", Help: "Times that a fence was taken anew.",
	})
	fencesLost = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "headwater_fences_lost_total", Help: "Fences that were taken away, deleted, or given up to a claim.",
	})
	writesRefused = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "headwater_writes_refused_total", Help: "Writes that the gate refused for want of a fence.",
	})
)

func init() {
	metrics.Registry.MustRegister(connectedTargets, fencesTaken, fencesLost, writesRefused)
}
