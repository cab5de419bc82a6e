package queue

import (
	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

// metrics are those of one queue.
type metrics struct {
	adds           prometheus.Counter
	depth, running prometheus.Gauge
	waited, worked prometheus.Observer
}

var (
	addsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_queue_adds_total", Help: "Items that became ready.",
	}, []string{"controller"})
	depthGauge = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "headwater_queue_depth", Help: "Items that are ready and wait for their turn.",
	}, []string{"controller"})
	runningGauge = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "headwater_queue_running", Help: "Items that are worked on.",
	}, []string{"controller"})
	waitSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "headwater_queue_wait_seconds", Help: "Time from ready to begun.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
	}, []string{"controller"})
	workSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "headwater_queue_work_seconds", Help: "Time from begun to done.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
	}, []string{"controller"})
)

func init() {
	ctrlmetrics.Registry.MustRegister(addsTotal, depthGauge, runningGauge, waitSeconds, workSeconds)
}

func metricsOf(name string) metrics {
	return metrics{
		adds:    addsTotal.WithLabelValues(name),
		depth:   depthGauge.WithLabelValues(name),
		running: runningGauge.WithLabelValues(name),
		waited:  waitSeconds.WithLabelValues(name),
		worked:  workSeconds.WithLabelValues(name),
	}
}
