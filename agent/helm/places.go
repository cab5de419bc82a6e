package helm

import (
	"context"
	"sync"

	"github.com/headwater-dev/headwater/shard"
)

// places bound how many actions are at work on one target at once. It is safe
// for concurrent use.
type places struct {
	perCluster int
	mu         sync.Mutex
	of         map[shard.Key]chan struct{}
}

func newPlaces(perCluster int) *places {
	return &places{perCluster: perCluster, of: map[shard.Key]chan struct{}{}}
}

func (p *places) at(key shard.Key) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[key] == nil {
		p.of[key] = make(chan struct{}, p.perCluster)
	}
	return p.of[key]
}

// take waits for a place, and returns what gives it up.
func (p *places) take(ctx context.Context, key shard.Key) (leave func(), err error) {
	at := p.at(key)
	select {
	case at <- struct{}{}:
		return func() { <-at }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// yield gives a place up while its owner waits. The function that it returns
// takes one again, however long that takes: the owner has to go on.
func (p *places) yield(key shard.Key) (resume func()) {
	at := p.at(key)
	<-at
	return func() { at <- struct{}{} }
}
