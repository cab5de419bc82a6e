package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// screen prints lines with the time since the start. It may be used at the same
// time.
type screen struct {
	mu      sync.Mutex
	out     io.Writer
	started time.Time
}

// Say prints a line.
func (s *screen) Say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "%7.1fs  %s\n", time.Since(s.started).Seconds(), fmt.Sprintf(format, args...))
}

// Print prints text as it is.
func (s *screen) Print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.out, text)
}
