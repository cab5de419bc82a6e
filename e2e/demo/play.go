package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// logLines is how much of each log a failure shows.
const logLines = 12

// pollInterval is the time between two looks at a cluster.
const pollInterval = 100 * time.Millisecond

// Play deploys the repository, plays the scenes, and returns an error for the
// first that fails.
func (w *world) Play(ctx context.Context) error {
	if err := w.perform(ctx, opening()); err != nil {
		return err
	}
	all := scenes()
	for i, next := range all {
		next.title = fmt.Sprintf("scene %d of %d, %s", i+1, len(all), next.title)
		if err := w.perform(ctx, next); err != nil {
			return err
		}
	}
	w.screen.Say("all %d scenes passed", len(all))
	return nil
}

// perform plays a scene and says how it went.
func (w *world) perform(ctx context.Context, scene scene) error {
	w.screen.Say("%s", scene.title)
	took, err := w.play(ctx, scene)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		w.screen.Say("FAILED after %.1fs", took.total.Seconds())
		w.screen.Print(w.product.Logs(logLines))
		return fmt.Errorf("%s: %w", scene.title, err)
	}
	w.screen.Say("passed in %.1fs (%s)", took.total.Seconds(), took)
	return nil
}

// times says when a scene was over on each cluster.
type times struct {
	total time.Duration
	parts []string
}

func (t times) String() string { return strings.Join(t.parts, ", ") }

// play plays one scene and looks at all clusters until it holds on each.
func (w *world) play(ctx context.Context, scene scene) (times, error) {
	limit := time.Duration(scene.seconds * w.patience * float64(time.Second))
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	started := time.Now()
	took := times{}
	holds, err := scene.play(ctx, w)
	if err != nil {
		took.total = time.Since(started)
		return took, err
	}
	took.parts = make([]string, len(w.targets))
	errs := make([]error, len(w.targets))
	var all sync.WaitGroup
	for i, target := range w.targets {
		all.Go(func() {
			if err := poll(ctx, func(ctx context.Context) error { return holds(ctx, target) }); err != nil {
				errs[i] = fmt.Errorf("%s: %w", target.name, err)
			}
			took.parts[i] = fmt.Sprintf("%s %.1fs", target.name, time.Since(started).Seconds())
		})
	}
	all.Wait()
	took.total = time.Since(started)
	return took, errors.Join(errs...)
}

// poll asks until there is no error, and returns the last one when the time is
// up.
func poll(ctx context.Context, ask func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		err := ask(ctx)
		if ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), last)
	}
	return nil
}
