package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/headwater-dev/headwater/e2e/chaos/judge"
)

// shown is how many violations are printed at a time.
const shown = 12

// logLines is how much of each log a failure shows.
const logLines = 15

// outcome is what became of a run.
type outcome struct {
	verdict judge.Verdict
	faults  []judge.Fault
}

// play does the faults and has each judged.
func (w *world) play(ctx context.Context) error {
	if err := w.await(ctx, 1); err != nil {
		return errors.Join(err, errors.New(w.product.Logs(logLines)))
	}
	w.screen.Say("every target has the first commit")
	w.source.Go(ctx, w.every)
	if err := w.settle(ctx); err != nil {
		return err
	}
	var err error
	for _, fault := range w.order() {
		if err = w.one(ctx, fault); err != nil {
			break
		}
	}
	return errors.Join(err, w.conclude(ctx))
}

// order is the faults that were asked for; else all, shuffled anew each round.
func (w *world) order() []fault {
	var order []fault
	for _, name := range w.faults {
		i := slices.IndexFunc(faults(), func(f fault) bool { return f.name == name })
		if i < 0 {
			return []fault{{name: name, do: func(context.Context, *world) (judge.Fault, error) {
				return judge.Fault{}, fmt.Errorf("no such fault: want some of %s", strings.Join(names(), ", "))
			}}}
		}
		order = append(order, faults()[i])
	}
	if len(order) > 0 {
		return order
	}
	for range w.rounds {
		round := faults()
		w.random.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		order = append(order, round...)
	}
	return order
}

// one does one fault, waits until all is well again, and undoes what is left.
func (w *world) one(ctx context.Context, f fault) error {
	done, err := f.do(ctx, w)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	if err := w.over(ctx, done); err != nil || f.undo == nil {
		return err
	}
	back, err := f.undo(ctx, w)
	if err != nil {
		return fmt.Errorf("after %s: %w", f.name, err)
	}
	return w.over(ctx, back)
}

// over waits until a fault has been dealt with, and asks the judge.
func (w *world) over(ctx context.Context, f judge.Fault) error {
	err := w.settle(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.Settled = time.Now()
	w.outcome.faults = append(w.outcome.faults, f)
	before := len(w.outcome.verdict.Violations)
	verdict := judge.Judge(w.evidence(nil))
	w.outcome.verdict = verdict
	last := verdict.Recoveries[len(verdict.Recoveries)-1]
	w.screen.Say("%s: all written to again within %.1fs (%s last), %d moved; %d writes so far, %d violations",
		f.Name, last.Time.Seconds(), last.Slowest, last.Moves, verdict.Writes, len(verdict.Violations))
	w.show(verdict.Violations, before)
	return err
}

// show prints violations when there are more than were known, the worst first.
func (w *world) show(violations []judge.Violation, known int) {
	if len(violations) <= known {
		return
	}
	counts := map[string]int{}
	for _, v := range violations {
		counts[v.Rule]++
	}
	for _, rule := range slices.Sorted(maps.Keys(counts)) {
		w.screen.Print(fmt.Sprintf("          %4d × %s", counts[rule], rule))
	}
	worst := slices.Clone(violations)
	slices.SortStableFunc(worst, func(a, b judge.Violation) int { return cmp.Compare(rank(a), rank(b)) })
	for _, v := range worst[:min(len(worst), shown)] {
		w.screen.Print("          " + v.String())
	}
	if more := len(worst) - shown; more > 0 {
		w.screen.Print(fmt.Sprintf("          and %d more", more))
	}
}

// rank puts what happened before what might have.
func rank(v judge.Violation) int {
	switch v.Rule {
	case judge.TwoWriters, judge.TwoActions, judge.WrongPrune:
		return 0
	case judge.EarlyFence:
		return 2
	}
	return 1
}

// evidence is what the judge gets. Without what the run has left, that is taken
// to be right.
func (w *world) evidence(finals map[string]judge.Final) judge.Case {
	c := judge.Case{
		Agents: w.processes(), Faults: w.outcome.faults, Bound: w.bound,
		Removed: w.source.Removed(), Revision: w.source.Head(), Chart: chartVersion(w.source.count()),
	}
	for _, k := range w.keys {
		key := judge.Key{Name: k.name, User: k.user, Records: k.proxy.Records(), Final: judge.Final{Ready: "True", Revision: c.Revision}}
		if finals != nil {
			key.Final = finals[k.name]
		}
		for _, r := range k.releases {
			final := judge.Final{Ready: "True", Revision: c.Chart}
			if finals != nil {
				final = finals[r.title()]
			}
			key.Releases = append(key.Releases, r.evidence(final))
		}
		c.Keys = append(c.Keys, key)
	}
	return c
}

// conclude ends the commits, waits for the last one, and has everything judged.
func (w *world) conclude(ctx context.Context) error {
	errs := []error{w.source.Rest(), w.await(ctx, w.source.count())}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	finals := map[string]judge.Final{}
	for _, k := range w.keys {
		finals[k.name] = w.final(ctx, k)
	}
	for _, r := range w.releases {
		finals[r.title()] = w.finalRelease(ctx, r)
	}
	verdict := judge.Judge(w.evidence(finals))
	w.outcome.verdict = verdict
	w.screen.Say("the end: %d commits, %d writes by %d processes in %d tenures of %d targets; %d faults; seed %d",
		w.source.count(), verdict.Writes, verdict.Writers, verdict.Tenures, len(w.keys), len(w.outcome.faults), w.seed)
	w.screen.Say("%d actions on %d Helm releases, of which these were taken over: %v", verdict.Actions, len(w.releases), verdict.Interrupted)
	w.show(verdict.Violations, 0)
	if count := len(verdict.Violations); count > 0 {
		errs = append(errs, fmt.Errorf("condemned: %d violations, the first of them %s", count, verdict.Violations[0]))
	} else {
		w.screen.Say("no promise was broken")
	}
	return errors.Join(errs...)
}
