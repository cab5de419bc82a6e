package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// Garbage may gather to as much as a share of what lives, in percent, and in any
	// case to some bytes: a small agent need not collect all the time, and the burst
	// of work that a commit brings must not double a large one.
	garbagePercent = 33
	garbageBytes   = 32 << 20
	// garbageLook is how often what lives is looked at.
	garbageLook = time.Second
)

// boundGarbage paces Go's collector until the context ends, unless the environment
// says how (GOGC).
func boundGarbage(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	// The collector's goal is a percentage of all of these.
	marked := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	ticker := time.NewTicker(garbageLook)
	defer ticker.Stop()
	for last := uint64(0); ; {
		metrics.Read(marked)
		now := uint64(0)
		for _, sample := range marked {
			now += sample.Value.Uint64()
		}
		if differs(now, last) {
			debug.SetGCPercent(percentOf(now))
			last = now
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// differs says whether to set the pace anew, which stops all work for a moment.
func differs(now, last uint64) bool { return now > last+last/10 || now < last-last/10 }

// percentOf is the collector's pace for so many bytes that live.
func percentOf(live uint64) int {
	return max(garbagePercent, int(100*garbageBytes/max(live, garbageBytes/4)))
}
