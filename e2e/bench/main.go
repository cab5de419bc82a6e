package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headwater-dev/headwater/e2e/bench/fleet"
)

func main() {
	var o options
	flag.IntVar(&o.kustomizations, "kustomizations", 100, "Kustomizations, of four objects each, or HelmReleases")
	flag.IntVar(&o.sources, "sources", 1000, "OCIRepositories of the case pulls")
	flag.IntVar(&o.pairs, "pairs", 5, "runs of floor and product")
	flag.IntVar(&o.steps, "steps", 0, "how many steps are measured, from the first, for memory at a size at which all of them take long; with -pairs 1; zero: all")
	flag.BoolVar(&o.bound, "bound", false, "measure what the product's promises cost by themselves in its place, in the cases "+strings.Join(shapeNames(), ", "))
	flag.StringVar(&o.root, "root", ".", "the repository's root")
	flag.StringVar(&o.name, "case", "apply", "what to measure: "+strings.Join(slices.Concat(shapeNames(), sortedKeys(hubCases()), fleet.Names()), ", "))
	flag.IntVar(&o.fleet.Targets, "targets", 0, "targets of the cases fleet and helm, and of those without a floor; zero: what the case is meant for")
	flag.IntVar(&o.fleet.Agents, "agents", 0, "agents, likewise")
	flag.IntVar(&o.fleet.Samples, "samples", 0, "times from commit to Ready that each run measures at least, likewise")
	flag.IntVar(&o.fleet.Waiting, "waiting", 0, "Kustomizations that wait for a check that never passes, likewise")
	flag.DurationVar(&o.fleet.For, "for", 0, "how long credentials are replaced, likewise")
	flag.Parse()
	log.SetLogger(logr.Discard()) // the informer's
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	kustomizations, pairs int
	sources, steps        int
	bound                 bool
	root                  string
	name                  string
	fleet                 fleet.Options
}

// measure runs one case.
func measure(ctx context.Context, o options) error {
	if s, found := shapes()[o.name]; found {
		return run(ctx, o, s)
	}
	if measure, found := hubCases()[o.name]; found {
		return runHub(ctx, o, measure)
	}
	o.fleet.Root, o.fleet.Pairs = o.root, o.pairs
	return fleet.Run(ctx, o.name, o.fleet, os.Stdout)
}

// step is one thing to measure, as the floor and as the product do it, and what
// must then be true of the product's.
type step struct {
	name                  string
	floor, product, check func(context.Context) error
}

// run measures every step with floor and product in turn, several times.
func run(ctx context.Context, o options, s shape) error {
	w := &world{options: o, shape: s}
	defer w.Close()
	if err := w.Open(ctx); err != nil {
		return err
	}
	fmt.Println(w.about())
	if err := w.connect(ctx); err != nil {
		return fmt.Errorf("connecting: %w\n%s", err, w.product.Logs(logLines))
	}
	if w.bound {
		if err := w.openBound(ctx); err != nil {
			return fmt.Errorf("copying the definitions: %w", err)
		}
	}
	results := &report{each: float64(o.kustomizations)}
	for i := range o.pairs {
		if err := w.reset(ctx); err != nil {
			return fmt.Errorf("preparing: %w\n%s", err, w.product.Logs(logLines))
		}
		for _, s := range w.chosenSteps() {
			p, err := w.run(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", s.name, err, w.product.Logs(logLines))
			}
			results.add(s.name, p)
			fmt.Printf("pair %d of %d  %-16s floor %6.2fs  product %6.2fs\n",
				i+1, o.pairs, s.name, p.floor.seconds, p.product.seconds)
		}
	}
	return results.print(os.Stdout, w.peaks())
}

// about says what is measured, for people.
func (w *world) about() string {
	what, floor := "Kustomizations of 4 objects", fmt.Sprintf("%d calls", parallel)
	if w.shape.helm {
		what, floor = "HelmReleases", fmt.Sprintf("%d actions of the Helm SDK", helmParallel)
	}
	return fmt.Sprintf("%d %s %s; the floor makes %s at a time; %d CPUs", w.kustomizations, what, w.shape.about, floor, runtime.NumCPU())
}

func (w *world) run(ctx context.Context, s step) (pair, error) {
	floor, err := w.measure(ctx, s.floor)
	if err != nil {
		return pair{}, fmt.Errorf("floor: %w", err)
	}
	product, err := w.measure(ctx, s.product)
	if err != nil {
		return pair{}, fmt.Errorf("product: %w", err)
	}
	return pair{floor, product}, s.check(ctx)
}
