package reconcile

import (
	"context"
	"sync"
)

// phase is what a run is at, for people who wait for it.
type phase struct {
	mu   sync.Mutex
	text string
	// changed holds one token while the text is another than was read last.
	changed chan struct{}
}

type phaseKey struct{}

// Doing says what the run of the context is about to do. It stands in the status of
// an object whose run takes long, and is in nobody's way where it does not. It may be
// called from any goroutine.
func Doing(ctx context.Context, text string) {
	p, ok := ctx.Value(phaseKey{}).(*phase)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *phase) read() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.changed:
	default:
	}
	return p.text
}
