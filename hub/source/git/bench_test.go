package git_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// manifests are files like those of a fleet: text that repeats itself, and
// names that do not.
func manifests(count int) map[string]string {
	random := rand.New(rand.NewPCG(1, 2))
	files := map[string]string{}
	for i := range count {
		var text strings.Builder
		for line := range 40 {
			fmt.Fprintf(&text, "    - name: setting-%d-%x\n      value: \"%x\"\n", line, random.Uint32(), random.Uint64())
		}
		files[fmt.Sprintf("apps/%03d/%d.yaml", i/20, i)] = text.String()
	}
	return files
}

// BenchmarkClone holds a reconcile from nothing to an artifact against git's own
// shallow clone of 10,000 files, one after the other.
func BenchmarkClone(b *testing.B) {
	repository := newRepository(b)
	commit(b, repository, manifests(10_000))
	var times, cpus []float64
	for b.Loop() {
		floor := measure(b, func() {
			command := exec.CommandContext(b.Context(), "git", "clone", "--quiet", "--depth", "1", repository.URL, filepath.Join(b.TempDir(), "clone"))
			output, err := command.CombinedOutput()
			NewWithT(b).Expect(err).NotTo(HaveOccurred(), string(output))
		})
		obj, r := newObject(repository.URL), reconciler(b, newFetcher())
		ours := measure(b, func() { NewWithT(b).Expect(r.Reconcile(b.Context(), obj)).To(Succeed()) })
		times, cpus = append(times, ours.time/floor.time), append(cpus, ours.cpu/floor.cpu)
		b.Logf("git clone --depth 1: %.2f s (CPU %.2f s); to an artifact of %d kB: %.2f s (CPU %.2f s)",
			floor.time, floor.cpu, *obj.Status.Artifact.Size/1000, ours.time, ours.cpu)
	}
	b.ReportMetric(median(times), "x-git-clone")
	b.ReportMetric(median(cpus), "x-git-clone-CPU")
}

// cost is in seconds. The CPU time is that of this process and of those that it
// has started: the server's as well, which is the same for both.
type cost struct{ time, cpu float64 }

func measure(b *testing.B, do func()) cost {
	b.Helper()
	used, began := cpu(b), time.Now()
	do()
	return cost{time.Since(began).Seconds(), cpu(b) - used}
}

func cpu(b *testing.B) (seconds float64) {
	b.Helper()
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var used syscall.Rusage
		NewWithT(b).Expect(syscall.Getrusage(who, &used)).To(Succeed())
		seconds += time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
	}
	return seconds
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkCloneMemory reports by how much the heap grows, garbage included,
// with 10,000 files and with one large one.
func BenchmarkCloneMemory(b *testing.B) {
	for name, files := range map[string]func() map[string]string{
		"10000 files":     func() map[string]string { return manifests(10_000) },
		"a file of 64 MB": func() map[string]string { return map[string]string{"large": random(64_000_000)} },
	} {
		b.Run(name, func(b *testing.B) {
			repository := newRepository(b)
			commit(b, repository, files())
			most := uint64(0)
			for b.Loop() {
				obj, r := newObject(repository.URL), reconciler(b, newFetcher())
				most = max(most, testenv.PeakHeap(func() { NewWithT(b).Expect(r.Reconcile(b.Context(), obj)).To(Succeed()) }))
			}
			b.ReportMetric(float64(most)/1e6, "MB-peak")
		})
	}
}
