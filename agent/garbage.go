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
	garbagePercent = 50
	garbageBytes   = 48 << 20
	// garbageLook is how often what lives is looked at.
	garbageLook = time.Second
)

// boundGarbage paces Go's collector until the context ends, unless the environment
// says how (GOGC).
func boundGarbage(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	ticker := time.NewTicker(garbageLook)
	defer ticker.Stop()
	for last := uint64(0); ; {
		metrics.Read(live)
		if now := live[0].Value.Uint64(); differs(now, last) {
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
