package reconcile

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Registered once per process; the loop of each kind adds its own labels.
var (
	durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "gotk_reconcile_duration_seconds",
		Help:    "Seconds that a run of the reconcile loop took, by object.",
		Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 10),
	}, []string{"kind", "name", "namespace"})

	outcomes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_reconcile_total",
		Help: "Runs of the reconcile loop, by kind and outcome.",
	}, []string{"kind", "outcome"})
)

func init() {
	metrics.Registry.MustRegister(durations, outcomes)
}
