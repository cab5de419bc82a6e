package testenv

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// heapInterval is short against the time in which a heap of some megabytes is
// filled and collected.
const heapInterval = 200 * time.Microsecond

// PeakHeap returns by how many bytes the heap grew at most while do ran, garbage
// included. Nothing else should run meanwhile.
func PeakHeap(do func()) uint64 {
	runtime.GC()
	before := heap()
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		most := before
		look := time.NewTicker(heapInterval)
		defer look.Stop()
		for {
			select {
			case <-done:
				peak <- most - before
				return
			case <-look.C:
				most = max(most, heap())
			}
		}
	}()
	do()
	close(done)
	return <-peak
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
