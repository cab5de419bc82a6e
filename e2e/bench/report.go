package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// report collects the measurements of all pairs, by step in order.
type report struct {
	// each is how many there are; zero when that is not to be told.
	each  float64
	names []string
	pairs map[string][]pair
}

type pair struct{ floor, product measurement }

func (r *report) add(step string, p pair) {
	if r.pairs == nil {
		r.pairs = map[string][]pair{}
	}
	if !slices.Contains(r.names, step) {
		r.names = append(r.names, step)
	}
	r.pairs[step] = append(r.pairs[step], p)
}

// spread is the median of some values, and the least and the greatest.
type spread struct{ median, least, most float64 }

func spreadOf(pairs []pair, value func(pair) float64) spread {
	values := make([]float64, len(pairs))
	for i, p := range pairs {
		values[i] = value(p)
	}
	slices.Sort(values)
	middle := len(values) / 2
	median := values[middle]
	if len(values)%2 == 0 {
		median = (values[middle-1] + values[middle]) / 2
	}
	return spread{median, values[0], values[len(values)-1]}
}

func (s spread) String() string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.least, s.most)
}

// noFloor is how long a floor takes that does nothing, at most, in seconds.
const noFloor = 0.001

// ratioOf is how much longer the product takes; nothing where there is no floor.
func ratioOf(pairs []pair) string {
	ratio := spreadOf(pairs, func(p pair) float64 { return p.product.seconds / p.floor.seconds })
	if spreadOf(pairs, func(p pair) float64 { return p.floor.seconds }).most < noFloor {
		return ""
	}
	return ratio.String()
}

// print writes the tables: time, CPU time, memory, requests.
func (r *report) print(out io.Writer, peaks map[string]float64) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nmedian (least–most)\tfloor, s\tproduct, s\tratio")
	for _, name := range r.names {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name,
			spreadOf(r.pairs[name], func(p pair) float64 { return p.floor.seconds }),
			spreadOf(r.pairs[name], func(p pair) float64 { return p.product.seconds }),
			ratioOf(r.pairs[name]))
	}
	r.printMedians(table, "\nfloor, CPU seconds", "%.2f", func(p pair) map[string]float64 { return p.floor.cpu })
	r.printMedians(table, "\nproduct, CPU seconds", "%.2f", func(p pair) map[string]float64 { return p.product.cpu })
	if r.each > 0 {
		r.printMedians(table, "\nproduct, CPU seconds of each", "%.4f", func(p pair) map[string]float64 { return divided(p.product.cpu, r.each) })
	}
	r.printMedians(table, "\nfloor, requests answered", "%.0f", func(p pair) map[string]float64 { return p.floor.requests })
	r.printMedians(table, "\nproduct, requests answered", "%.0f", func(p pair) map[string]float64 { return p.product.requests })
	fmt.Fprintln(table, "\npeak memory, MiB\t")
	for _, name := range sortedKeys(peaks) {
		fmt.Fprintf(table, "%s\t%.0f\n", name, peaks[name])
	}
	return table.Flush()
}

func divided(values map[string]float64, by float64) map[string]float64 {
	each := map[string]float64{}
	for name, value := range values {
		each[name] = value / by
	}
	return each
}

// printMedians writes one line for each name in a measurement and one column
// for each step.
func (r *report) printMedians(out io.Writer, heading, format string, values func(pair) map[string]float64) {
	seen := map[string]bool{}
	for _, pairs := range r.pairs {
		for _, p := range pairs {
			for name := range values(p) {
				seen[name] = true
			}
		}
	}
	fmt.Fprint(out, heading)
	for _, step := range r.names {
		fmt.Fprintf(out, "\t%s", step)
	}
	fmt.Fprintln(out)
	for _, name := range sortedKeys(seen) {
		fmt.Fprint(out, name)
		for _, step := range r.names {
			median := spreadOf(r.pairs[step], func(p pair) float64 { return values(p)[name] }).median
			fmt.Fprintf(out, "\t"+format, median)
		}
		fmt.Fprintln(out)
	}
}
