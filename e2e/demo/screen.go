package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// screen writes lines that stay and, below them, a table of the present. On a
// terminal the table is redrawn in place; elsewhere the rows that changed are
// printed, so that a log shows what happened and when.
//
// Its methods may be called at the same time.
type screen struct {
	mu      sync.Mutex
	out     io.Writer
	width   int // of the terminal; zero if out is none
	started time.Time
	table   []string
}

func newScreen(out *os.File) *screen {
	s := &screen{out: out, started: time.Now()}
	if term.IsTerminal(int(out.Fd())) {
		s.width = 100
		if width, _, err := term.GetSize(int(out.Fd())); err == nil && width > 0 {
			s.width = width
		}
	}
	return s
}

// Say prints a line, with the time since the start.
func (s *screen) Say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	table := s.table
	s.erase()
	fmt.Fprintf(s.out, "%6.1fs  %s\n", time.Since(s.started).Seconds(), fmt.Sprintf(format, args...))
	s.draw(table)
}

// Print prints text as it is.
func (s *screen) Print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	table := s.table
	s.erase()
	fmt.Fprintln(s.out, text)
	s.draw(table)
}

// Show makes the lines the table, whose first line is its heading.
func (s *screen) Show(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.width > 0 {
		s.erase()
		s.draw(lines)
		return
	}
	rows := []string{lines[0]}
	for _, line := range lines[1:] {
		row := strings.Join(strings.Fields(line), " ") // columns get wider and narrower
		if !slices.Contains(s.table, row) {
			fmt.Fprintf(s.out, "%6.1fs    %s\n", time.Since(s.started).Seconds(), row)
		}
		rows = append(rows, row)
	}
	s.table = rows
}

// erase takes the table off the terminal.
func (s *screen) erase() {
	if s.width > 0 && len(s.table) > 0 {
		fmt.Fprintf(s.out, "\033[%dA\033[J", len(s.table)+1)
		s.table = nil
	}
}

// draw puts the table below what was printed, after an empty line. Lines are
// cut at the edge: one that wraps would be two to erase.
func (s *screen) draw(lines []string) {
	s.table = lines
	if s.width == 0 || len(lines) == 0 {
		return
	}
	fmt.Fprintln(s.out)
	for _, line := range lines {
		fmt.Fprintln(s.out, cut(line, s.width-1))
	}
}

func cut(line string, width int) string {
	if runes := []rune(line); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return line
}
