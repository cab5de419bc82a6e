package helm

import (
	"sync"

	"github.com/headwater-dev/headwater/shard"
)

// places bound how many actions are at work at once: on one target, and in all.
// Those of a target are kept while somebody has one or waits for it. It is safe for
// concurrent use.
type places struct {
	perCluster int
	all        chan struct{}
	mu         sync.Mutex
	of         map[shard.Key]*spots
}

// spots are the places of one target.
type spots struct {
	at    chan struct{}
	users int
}

func newPlaces(perCluster, all int) *places {
	return &places{perCluster: perCluster, all: make(chan struct{}, all), of: map[shard.Key]*spots{}}
}

func (p *places) join(key shard.Key) (at chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[key] == nil {
		p.of[key] = &spots{at: make(chan struct{}, p.perCluster)}
	}
	p.of[key].users++
	return p.of[key].at
}

func (p *places) part(key shard.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[key].users--; p.of[key].users == 0 {
		delete(p.of, key)
	}
}

// take waits for a place.
func (p *places) take(key shard.Key) *place {
	made := &place{at: p.join(key), all: p.all, part: func() { p.part(key) }}
	made.enter()
	return made
}

// place is where one action is at work. It is safe for concurrent use.
type place struct {
	at, all chan struct{}
	// part is run when the place is not needed any more.
	part func()
	mu   sync.Mutex
	// waiting is how many parts of the action wait.
	waiting int
}

func (p *place) enter() { p.at <- struct{}{}; p.all <- struct{}{} }

func (p *place) exit() { <-p.all; <-p.at }

// leave gives the place up for good.
func (p *place) leave() { p.exit(); p.part() }

// yield gives the place up while a part of the action waits. The function that it
// returns takes one again, however long that takes: the action has to go on.
func (p *place) yield() (resume func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting++
	if p.waiting == 1 {
		p.exit()
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
