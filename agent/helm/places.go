package helm

import (
	"sync"

	"github.com/headwater-dev/headwater/shard"
)

// places bound how many actions are at work at once: on one target, and in all. It
// is safe for concurrent use.
type places struct {
	perCluster int
	all        chan struct{}
	mu         sync.Mutex
	of         map[shard.Key]chan struct{}
}

func newPlaces(perCluster, all int) *places {
	return &places{perCluster: perCluster, all: make(chan struct{}, all), of: map[shard.Key]chan struct{}{}}
}

func (p *places) at(key shard.Key) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[key] == nil {
		p.of[key] = make(chan struct{}, p.perCluster)
	}
	return p.of[key]
}

// take waits for a place.
func (p *places) take(key shard.Key) *place {
	made := &place{at: p.at(key), all: p.all}
	made.enter()
	return made
}

// place is where one action is at work. It is safe for concurrent use.
type place struct {
	at, all chan struct{}
	mu      sync.Mutex
	// waiting is how many parts of the action wait.
	waiting int
}

func (p *place) enter() { p.at <- struct{}{}; p.all <- struct{}{} }

// leave gives the place up.
func (p *place) leave() { <-p.all; <-p.at }

// yield gives the place up while a part of the action waits. The function that it
// returns takes one again, however long that takes: the action has to go on.
func (p *place) yield() (resume func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting++
	if p.waiting == 1 {
		p.leave()
	}
	return p.resume
}

func (p *place) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
	if p.waiting == 0 {
		p.enter()
	}
}
