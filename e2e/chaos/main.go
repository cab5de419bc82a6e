package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

func main() {
	o := usual()
	flag.Uint64Var(&o.seed, "seed", o.seed, "chooses who is hit, and in which order")
	flag.IntVar(&o.targets, "targets", o.targets, "kubeconfigs, over two API servers")
	flag.IntVar(&o.releaseTargets, "release-targets", o.releaseTargets, fmt.Sprintf("how many of the targets have %d Helm releases each besides", releasesEach))
	flag.IntVar(&o.agents, "agents", o.agents, "agents at the start")
	flag.IntVar(&o.rounds, "rounds", o.rounds, "how often to do all faults, in a different order each time")
	flag.DurationVar(&o.every, "commit-every", o.every, "time between two commits")
	flag.DurationVar(&o.bound, "bound", o.bound, "time after a fault's start in which every target must have an owner again")
	flag.StringVar(&o.root, "root", ".", "the repository's root")
	flag.StringVar(&o.agentBinary, "agent", "", "the agents' binary; bin/agent when empty")
	faults := flag.String("faults", "", "comma-separated faults to do, in this order; all of them when empty: "+strings.Join(names(), ", "))
	flag.Parse()
	if *faults != "" {
		o.faults = strings.Split(*faults, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends it at once; the kernel ends its children.
	context.AfterFunc(ctx, stop)
	if _, err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	seed                    uint64
	targets, releaseTargets int
	agents, rounds          int
	every, bound            time.Duration
	root, agentBinary       string
	// faults by name, in order; all of them, in an order that the seed says,
	// when empty.
	faults []string
}

func usual() options {
	return options{seed: 1, targets: 40, releaseTargets: 5, agents: 4, rounds: 1, every: 5 * time.Second, bound: time.Minute, root: "."}
}

// run is the whole of it. It returns an error if a promise was not kept, or the
// run could not be finished; the verdict is that on all that was seen.
func run(ctx context.Context, o options, out io.Writer) (outcome, error) {
	log.SetLogger(logr.Discard()) // the libraries'
	w := newWorld(o, out)
	defer w.Close()
	err := w.Open(ctx)
	if err == nil {
		err = w.play(ctx)
	}
	if ctx.Err() != nil {
		return w.outcome, fmt.Errorf("stopped before the end: %w", context.Cause(ctx))
	}
	return w.outcome, err
}
