package repository_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/image"
	"github.com/headwater-dev/headwater/hub/image/repository"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const (
	manyTags = 10_000
	pageSize = 1_000
)

// pages are the answers of a registry with many tags, made beforehand so that
// they cost next to nothing when they are asked for.
func pages(b *testing.B) http.Handler {
	b.Helper()
	answers := make([][]byte, manyTags/pageSize)
	for i := range answers {
		var tags []string
		for j := range pageSize {
			n := i*pageSize + j
			tags = append(tags, fmt.Sprintf("main-%08x-%d", n*2654435761%(1<<32), 1_700_000_000+n))
		}
		text, err := json.Marshal(map[string]any{"name": "team/app", "tags": tags})
		NewWithT(b).Expect(err).NotTo(HaveOccurred())
		answers[i] = text
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		if next := page + 1; next < len(answers) {
			w.Header().Set("Link", fmt.Sprintf(`</v2/team/app/tags/list?page=%d>; rel="next"`, next))
		}
		_, _ = w.Write(answers[page])
	})
}

// BenchmarkScan scans 10,000 tags, of which none is new but at the first time. The
// CPU time is that of the whole process: the registry's and the garbage collector's
// as well. What is kept is what a scan leaves in memory.
func BenchmarkScan(b *testing.B) {
	g := NewWithT(b)
	server := httptest.NewServer(pages(b))
	defer server.Close()
	tags, err := image.OpenTags(b.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	r := &repository.Reconciler{
		Tags:     tags,
		Registry: &registry.Opener{Secrets: fake.NewClientBuilder().Build(), Transport: access.NewTransport()},
		Clock:    clock.RealClock{},
	}
	obj := &imagev1.ImageRepository{}
	obj.Namespace, obj.Name = "team", "app"
	obj.Spec.Image, obj.Spec.Insecure = strings.TrimPrefix(server.URL, "http://")+"/team/app", true
	obj.Spec.Interval.Duration = time.Minute
	obj.Spec.ExclusionList = []string{`^.*\.sig$`}
	scan := func() { g.Expect(r.Reconcile(b.Context(), obj)).To(Succeed()) }
	scan() // with the connection
	peak, before := testenv.PeakHeap(scan), live()
	used := cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		scan()
	}
	b.ReportMetric((cpu(b)-used).Seconds()*1e3/float64(b.N), "CPU-ms/op")
	b.ReportMetric(float64(peak)/1e6, "MB-peak")
	b.ReportMetric(float64(live()-before)/1e6, "MB-kept")
	g.Expect(obj.Status.LastScanResult.TagCount).To(Equal(manyTags))
}

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	NewWithT(b).Expect(syscall.Getrusage(syscall.RUSAGE_SELF, &used)).To(Succeed())
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// live is what the heap holds without garbage.
func live() int64 {
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	return int64(memory.HeapAlloc)
}
