package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// Garbage may gather to some bytes as long as they and what lives stay small: a
	// collection costs as much as what lives, and a commit makes much garbage at
	// once. It may gather to a share of what lives in any case.
	garbageBytes = 64 << 20
	smallBytes   = 104 << 20
	garbageShare = 4
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
	goal := max(live+live/garbageShare, min(live+garbageBytes, smallBytes))
	return int(100 * (goal - live) / max(live, smallBytes/16))
}
