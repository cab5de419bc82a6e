package fleet

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/headwater-dev/headwater/internal/testenv"
)

const (
	// sick of ten targets are, the rest is measured.
	sick = 3
	// enough samples for a 99th percentile that is not a maximum.
	enough = 500
	pairs  = 5
	// crawling is how long a slow target takes for each answer.
	crawling = 20 * time.Second
)

func blackhole(p *testenv.Proxy) error { return p.Hang() }
func hang(p *testenv.Proxy) error      { return p.Delay(lifetime) }
func crawl(p *testenv.Proxy) error     { return p.Delay(crawling) }

// compare measures how long the healthy targets take from commit to Ready, with
// the others healthy, and with the others sick, in turn.
func compare(what string, sicken func(*testenv.Proxy) error) func(context.Context, *fleet) error {
	return func(ctx context.Context, f *fleet) error {
		count, samples := f.Pairs, f.Samples
		if count == 0 {
			count = pairs
		}
		if samples == 0 {
			samples = enough
		}
		ill := f.targets[:len(f.targets)*sick/10]
		healthy := f.names()[len(ill):]
		commits := (samples + len(healthy) - 1) / len(healthy)
		fmt.Fprintf(f.out, "%s: %d of %d; %d commits to the other %d in each run\n", what, len(ill), len(f.targets), commits, len(healthy))
		var ratios []float64
		for i := range count {
			well, err := f.sample(ctx, healthy, commits)
			if err != nil {
				return err
			}
			for _, t := range ill {
				if err := sicken(t.proxy); err != nil {
					return err
				}
			}
			worse, err := f.sample(ctx, healthy, commits)
			if err != nil {
				return err
			}
			fmt.Fprintf(f.out, "p99 of the healthy %.2f s, with the sick %.2f s; healing\n", percentile(well, 99), percentile(worse, 99))
			back, err := f.recover(ctx, ill)
			if err != nil {
				return err
			}
			ratios = append(ratios, percentile(worse, 99)/percentile(well, 99))
			fmt.Fprintf(f.out, "pair %d of %d: p50 %.2f s → %.2f s, p99 %.2f s → %.2f s of %d samples: %.2f; the sick were Ready %.0f s after they were well\n",
				i+1, count, percentile(well, 50), percentile(worse, 50), percentile(well, 99), percentile(worse, 99), len(worse), ratios[i], back.Seconds())
		}
		slices.Sort(ratios)
		fmt.Fprintf(f.out, "ratio of the p99: median %.2f (%.2f–%.2f)\n", (ratios[(len(ratios)-1)/2]+ratios[len(ratios)/2])/2, ratios[0], ratios[len(ratios)-1])
		return nil
	}
}

// sample commits so many times, each when the healthy targets have the last one.
func (f *fleet) sample(ctx context.Context, healthy []string, commits int) ([]float64, error) {
	var all []float64
	for range commits {
		began := time.Now()
		if err := f.deliver(ctx); err != nil {
			return nil, err
		}
		if err := f.watch.await(ctx, f.revision, healthy); err != nil {
			return nil, err
		}
		all = append(all, f.watch.since(began, f.revision, healthy)...)
	}
	return all, nil
}

// recover heals the sick and waits until they have the last commit.
func (f *fleet) recover(ctx context.Context, ill []*target) (time.Duration, error) {
	began := time.Now()
	var names []string
	for _, t := range ill {
		names = append(names, t.name)
		t.proxy.Reset()
		if err := t.proxy.Heal(); err != nil {
			return 0, err
		}
		t.proxy.Cut() // a server that comes back does not know its old connections
	}
	err := f.watch.await(ctx, f.revision, names)
	return time.Since(began), err
}

// percentile of some values, by the nearest rank.
func percentile(values []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(p/100*float64(len(sorted))))-1)]
}
