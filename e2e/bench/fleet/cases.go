package fleet

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Options are the flags of the cases.
type Options struct {
	// Root of the repository.
	Root string
	// Targets, Agents and Pairs; zero means what the case is meant for.
	Targets, Agents, Pairs int
	// Samples is how many times from commit to Ready each run measures at least.
	Samples int
	// Waiting is how many Kustomizations wait for a check that never passes.
	Waiting int
	// For is how long credentials are replaced.
	For time.Duration
}

// a benchCase measures one thing and prints it.
type benchCase struct {
	targets, agents int
	proxied         bool
	// flags of the agents, besides the defaults.
	flags []string
	run   func(context.Context, *fleet) error
}

// waitingWorkers is how many the issue gives those who wait.
const waitingWorkers = 4

func cases() map[string]benchCase {
	return map[string]benchCase{
		"blackholed":  {targets: 50, agents: 2, proxied: true, run: compare("nothing passes to or from 30% of the targets", blackhole)},
		"hanging":     {targets: 50, agents: 2, proxied: true, run: compare("30% of the targets hang after TLS", hang)},
		"slow":        {targets: 50, agents: 2, proxied: true, run: compare("30% of the targets answer in 20 s", crawl)},
		"credentials": {targets: 20, agents: 2, proxied: true, run: replaceCredentials},
		"memory":      {targets: 1000, agents: 4, run: measureMemory},
		"waiting":     {targets: 10, agents: 1, flags: []string{fmt.Sprintf("--concurrent=%d", waitingWorkers)}, run: measureWaiting},
	}
}

// Names lists the cases.
func Names() []string { return slices.Sorted(maps.Keys(cases())) }

// Run runs one case.
func Run(ctx context.Context, name string, o Options, out io.Writer) error {
	c, known := cases()[name]
	if !known {
		return fmt.Errorf("no such case: %q; want one of %v", name, Names())
	}
	if o.Targets == 0 {
		o.Targets = c.targets
	}
	if o.Agents == 0 {
		o.Agents = c.agents
	}
	f := &fleet{Options: o, out: out, proxied: c.proxied, flags: c.flags}
	defer f.close()
	if err := f.open(ctx); err != nil {
		return err
	}
	if err := c.run(ctx, f); err != nil {
		return fmt.Errorf("case %s: %w", name, err)
	}
	return nil
}
