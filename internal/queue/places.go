package queue

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// Places bound how many runs at once do what takes much memory or a processor, while
// others wait for a network. One who came first is served first. Nil bounds nothing.
// It is safe for concurrent use.
type Places struct{ free *semaphore.Weighted }

// NewPlaces are so many.
func NewPlaces(n int) *Places { return &Places{free: semaphore.NewWeighted(int64(n))} }

// visit is one run, which belongs to one goroutine.
type visit struct {
	free *semaphore.Weighted
	in   bool
}

type visitKey struct{}

// Visit returns the context of a run, whose place Enter takes. The caller calls leave
// at the end of the run, which gives the place back.
func (p *Places) Visit(ctx context.Context) (run context.Context, leave func()) {
	if p == nil {
		return ctx, func() {}
	}
	v := &visit{free: p.free}
	return context.WithValue(ctx, visitKey{}, v), v.leave
}

func (v *visit) leave() {
	if v.in {
		v.free.Release(1)
	}
}

// Enter waits for a place for the run of this context, unless the run has one, or is
// one that needs none. The error is the context's.
func Enter(ctx context.Context) error {
	v, counted := ctx.Value(visitKey{}).(*visit)
	if !counted || v.in {
		return nil
	}
	if err := v.free.Acquire(ctx, 1); err != nil {
		return err
	}
	v.in = true
	return nil
}
