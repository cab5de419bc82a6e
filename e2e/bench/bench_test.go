package main

import (
	"bytes"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestRequestsByVerb(t *testing.T) {
	metrics := `# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="apps",resource="deployments",scope="resource",subresource="",verb="APPLY",version="v1"} 12
apiserver_request_total{code="201",component="apiserver",dry_run="All",group="apps",resource="deployments",scope="resource",subresource="",verb="APPLY",version="v1"} 3
apiserver_request_total{code="200",component="apiserver",dry_run="",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 4
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="",scope="",subresource="/readyz",verb="GET",version=""} 99
apiserver_request_total{code="0",component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="WATCH",version="v1"} 1e+06
apiserver_request_duration_seconds_count{resource="pods",verb="LIST"} 7
`
	NewWithT(t).Expect(requestsByVerb([]byte(metrics))).To(Equal(map[string]float64{"APPLY": 15, "WATCH": 1e6, "PUT of Leases": 4}))
}

func TestReport(t *testing.T) {
	g := NewWithT(t)
	r := &report{each: 2}
	for i, seconds := range []float64{3, 9, 6} {
		r.add("install", pair{
			floor:   measurement{seconds: 2},
			product: measurement{seconds: seconds, cpu: map[string]float64{"agent": float64(i)}, requests: map[string]float64{"hub LIST": seconds}},
		})
	}
	r.add("by interval", pair{floor: measurement{seconds: 1e-7}, product: measurement{seconds: 60}})
	var out bytes.Buffer
	g.Expect(r.print(&out, map[string]float64{"agent": 41.6})).To(Succeed())
	g.Expect(out.String()).To(And(
		MatchRegexp(`install +2\.00 \(2\.00–2\.00\) +6\.00 \(3\.00–9\.00\) +3\.00 \(1\.50–4\.50\)`),
		MatchRegexp(`by interval +0\.00 \(0\.00–0\.00\) +60\.00 \(60\.00–60\.00\)\s+floor`),
		MatchRegexp(`product, CPU seconds +install +by interval\nagent +1\.00`),
		MatchRegexp(`product, CPU seconds of each +install +by interval\nagent +0\.5000`),
		MatchRegexp(`product, requests answered +install +by interval\nhub LIST +6 `),
		MatchRegexp(`peak memory, MiB\s+agent +42`),
	))
}

func TestFilesAreTheObjects(t *testing.T) {
	g := NewWithT(t)
	all, err := files(2, "v1")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(all).To(HaveLen(4))
	g.Expect(all["apps/app-001/app.yaml"]).To(And(
		ContainSubstring("kind: Ingress"), ContainSubstring("image: app:v1"), ContainSubstring("namespace: bench-product")))
	g.Expect(objects("x", 0, "v2")).To(HaveLen(4))
}

func TestCountRuns(t *testing.T) {
	metrics := `# TYPE headwater_reconcile_total counter
headwater_reconcile_total{kind="GitRepository",outcome="ready"} 5
headwater_reconcile_total{kind="KustomizationOther",outcome="ready"} 7
headwater_reconcile_total{kind="Kustomization",outcome="ready"} 12
headwater_reconcile_total{kind="Kustomization",outcome="failed"} 3
`
	NewWithT(t).Expect(countRuns(strings.NewReader(metrics), "Kustomization")).To(Equal(15.0))
}
