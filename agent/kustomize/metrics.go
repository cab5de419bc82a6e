package kustomize

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// missed counts what fingerprints have not shown.
var missed = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "headwater_drift_missed_total",
	Help: "Objects of which a full check found a difference that their fingerprint had not shown.",
})

func init() {
	metrics.Registry.MustRegister(missed)
}
