//go:build !wallclock

package main

import "k8s.io/utils/clock"

// systemClock is the machine's. In the test build -tags wallclock, the time of
// day jumps when the chaos run says so (docs/chaos.md).
func systemClock() clock.Clock { return clock.RealClock{} }
