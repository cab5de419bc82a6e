// Package confine bounds what this process may take: it is for the processes that the
// hub and the agents start for one piece of a tenant's work, and that end alone.
package confine

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

// Self is the path of the program that runs, which the system keeps when a file is put
// in its place or it is removed. Where there is no /proc it is where the program was.
func Self() (string, error) {
	const kept = "/proc/self/exe"
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	return os.Executable()
}

// Memory bounds what this process may take from now on, in bytes, beyond what it has
// taken so far. What exceeds it ends the process.
func Memory(most uint64) error {
	debug.SetMemoryLimit(int64(most / 4 * 3)) //nolint:gosec // before garbage is what ends it
	bound := writable() + most
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: bound, Max: bound}); err != nil {
		return fmt.Errorf("bound the memory: %w", err)
	}
	return nil
}

// writable is how many bytes this process has mapped to write to (proc(5), statm).
// Without /proc it is 0, and a bound on top of that is tighter.
func writable() uint64 {
	content, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	const data = 5
	fields := strings.Fields(string(content))
	if len(fields) <= data {
		return 0
	}
	pages, err := strconv.ParseUint(fields[data], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
