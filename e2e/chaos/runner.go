package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const (
	// restartAfter is how soon a process that ended by itself is started again.
	restartAfter = time.Second
	// stopTimeout is how long one may take that was asked to end.
	stopTimeout = 70 * time.Second
)

// runner keeps one process of the product running, as a kubelet does.
type runner struct {
	w    *world
	name string
	// agent is the name that it goes by as an agent; empty for a hub.
	agent string
	// hub is an agent's way to the hub.
	hub *testenv.Proxy

	mu      sync.Mutex
	process *stack.Process
	wanted  bool
}

// startAgent starts an agent with a way to the hub of its own. Even ones are of
// the color blue, the others green.
func (w *world) startAgent(ctx context.Context, i stack.Instance) (*runner, error) {
	proxy, err := w.hub.Proxy(i.Name)
	if err != nil {
		return nil, err
	}
	w.after(proxy.Stop)
	i.Hub = proxy
	if i.Agent == "" {
		i.Agent = i.Name
	}
	process, err := w.product.StartAgentAs(ctx, i,
		"--labels=color="+colorOf(i.Agent), "--member-lease-duration="+memberLease.String(),
		"--fence-duration="+fenceDuration.String(), "--request-timeout="+requestTimeout.String(), "--probe-interval=5s")
	if err != nil {
		return nil, err
	}
	r := w.keepRunning(ctx, process, proxy)
	r.agent = i.Agent
	w.mu.Lock()
	defer w.mu.Unlock()
	w.agents = append(w.agents, r)
	w.names[process.PID()] = r.agent
	return r, nil
}

func colorOf(agent string) string {
	if (agent[len(agent)-1]-'0')%2 == 0 {
		return "blue"
	}
	return "green"
}

func (w *world) keepRunning(ctx context.Context, process *stack.Process, hub *testenv.Proxy) *runner {
	r := &runner{w: w, name: process.Name, hub: hub, process: process, wanted: true}
	go r.watch(ctx, process.Process)
	return r
}

// watch starts the process again when it ends and nobody asked for that.
func (r *runner) watch(ctx context.Context, p *testenv.Process) {
	select {
	case <-p.Done():
	case <-ctx.Done():
		return
	}
	if !r.expected(p) {
		r.w.screen.Say("%s ended by itself, and is started again", r.name)
		timer := time.NewTimer(restartAfter)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if !r.expected(p) {
			_ = r.Start(ctx) // it ran before; if it does not now, the judge sees that
		}
	}
}

// expected says whether the end of the process is as it should be.
func (r *runner) expected(p *testenv.Process) bool {
	r.w.mu.Lock()
	ending := r.w.ending
	r.w.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	return ending || !r.wanted || r.process.Process != p
}

// PID is that of the present process, or of the last one.
func (r *runner) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process.PID()
}

// Start starts the process again.
func (r *runner) Start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.process.Start(); err != nil {
		return err
	}
	r.wanted = true
	if r.agent != "" {
		r.w.mu.Lock()
		r.w.names[r.process.PID()] = r.agent
		r.w.mu.Unlock()
	}
	go r.watch(ctx, r.process.Process)
	return nil
}

// unwanted says that the process is to end, and returns it.
func (r *runner) unwanted() *testenv.Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = false
	return r.process.Process
}

// Kill is kill -9.
func (r *runner) Kill() { r.unwanted().Kill() }

// Stop asks the process to end, and waits.
func (r *runner) Stop(ctx context.Context) error {
	p := r.unwanted()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("%s has not ended %s after SIGTERM", r.name, stopTimeout)
	}
}

// Pause and Resume are SIGSTOP and SIGCONT.
func (r *runner) Pause() error  { return r.current().Pause() }
func (r *runner) Resume() error { return r.current().Resume() }

func (r *runner) current() *testenv.Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process.Process
}

// drop forgets agents that have ended for good.
func (w *world) drop(gone ...*runner) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.agents = slices.DeleteFunc(w.agents, func(r *runner) bool { return slices.Contains(gone, r) })
}

// living are the agents that are meant to run.
func (w *world) living() []*runner {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.agents)
}

// named finds an agent.
func (w *world) named(name string) (*runner, error) {
	for _, r := range w.living() {
		if r.name == name {
			return r, nil
		}
	}
	return nil, errors.New("no agent " + name)
}

// processes are the names of all agents' processes by id.
func (w *world) processes() map[int]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.names)
}
