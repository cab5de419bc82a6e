package testenv

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// logTail is how many lines of a log an error quotes.
const logTail = 15

// Command describes a process to start.
type Command struct {
	// Name is what errors call the process; the base name of Path when empty.
	Name string
	// Path is the program, absolute or relative to the working directory.
	Path string
	// Args are its arguments, without the program itself.
	Args []string
	// Env is its whole environment, as "key=value"; the parent's when nil.
	Env []string
	// Log is the file that its output is appended to; discarded when empty.
	Log string
}

// Process is a running child. It has a process group of its own, so a Ctrl-C
// on the terminal reaches the parent alone, which then decides; and it is
// killed by the kernel when the parent ends, whatever ends it.
//
// Its methods may be called from several goroutines.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; set before done is closed
}

// StartProcess starts a process and returns once it runs.
func StartProcess(c Command) (*Process, error) {
	p := &Process{name: c.Name, log: c.Log, done: make(chan struct{})}
	if p.name == "" {
		p.name = filepath.Base(c.Path)
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.cmd = &exec.Cmd{
		Path:        path,
		Args:        append([]string{c.Path}, c.Args...),
		Env:         c.Env,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	if c.Log != "" {
		file, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("starting %s: opening its log: %w", p.name, err)
		}
		defer func() { _ = file.Close() }() // the child has its own descriptor
		p.cmd.Stdout, p.cmd.Stderr = file, file
	}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.name, err)
	}
	return p, nil
}

// run starts the child and waits for it on one thread. The kernel sends the
// parent-death signal when the *thread* that forked ends, and Go ends idle
// threads as it likes; so this goroutine keeps its thread to itself for as
// long as the child lives. A panic, os.Exit, a signal or kill -9 ends all
// threads of the parent, this one too, and the child with it.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

// PID is the process id, which is also that of its process group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the process group. To an ended process it does
// nothing.
func (p *Process) Signal(signal syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := syscall.Kill(-p.PID(), signal); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("sending %s to %s: %w", signal, p.name, err)
	}
	return nil
}

// Pause freezes the process group (SIGSTOP) and returns when every thread of
// the process stands still: the signal alone leaves it time for some answers.
func (p *Process) Pause() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !p.stopped() {
		select {
		case <-p.done:
			return fmt.Errorf("pausing %s: %w", p.name, p.Err())
		case <-look.C:
		}
	}
	return nil
}

// Resume ends a Pause (SIGCONT).
func (p *Process) Resume() error { return p.Signal(syscall.SIGCONT) }

// stopped tells whether all threads are stopped by a signal.
func (p *Process) stopped() bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.PID()))
	if err != nil || len(threads) == 0 {
		return false
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err != nil || !bytes.Contains(stat, []byte(") T ")) {
			return false
		}
	}
	return true
}

// Kill ends the process group with SIGKILL and returns when the process is
// gone. It may be called more than once.
func (p *Process) Kill() {
	// Nothing can be done about a failure, and none is known for a child of ours.
	_ = p.Signal(syscall.SIGKILL)
	<-p.done
}

// Err says how the process ended, with the last lines of its log. It returns
// nil while the process runs.
func (p *Process) Err() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s ended: %s%s", p.name, how, p.quoteLog())
}

// quoteLog returns the last lines of the log, indented, for use in an error.
func (p *Process) quoteLog() string {
	content, err := os.ReadFile(p.log)
	if err != nil || len(bytes.TrimSpace(content)) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	lines = lines[max(0, len(lines)-logTail):]
	return "; the end of its log:\n\t" + strings.Join(lines, "\n\t")
}
