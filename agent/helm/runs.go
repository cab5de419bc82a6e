package helm

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// runs are the actions under way and those that have ended and are not yet in a
// status, one for each HelmRelease. It is safe for concurrent use.
type runs struct {
	mu sync.Mutex
	of map[types.NamespacedName]*run
	// wake tells the controller that an action has ended.
	wake chan event.GenericEvent
	// series holds what was done about a HelmRelease since it was last at rest.
	series map[types.NamespacedName]*series
	// setbacks holds how often that came to nothing since all was well.
	setbacks map[types.NamespacedName]setback
	// retries has the pauses after those.
	retries reconcile.Pace
}

// run is one action.
type run struct {
	uid     types.UID
	action  state.Action
	target  release.Target
	timeout time.Duration
	// ended is set when the goroutine is done, with what came of it.
	ended *ended
	// noted is the object whose status, once it is written, says what came of it.
	noted *helmv2.HelmRelease
	// told says that an event has said what came of it, where there is one.
	told bool
	// forgotten runs have nobody who reads what came of them.
	forgotten bool
}

// ended is what came of an action.
type ended struct {
	err   error
	log   []string
	took  time.Duration
	chart string
	// begun is the revision that the action has made a record of, or may have; 0
	// when it has made none.
	begun int
	// want is what the action was to reach.
	want state.Want
}

// series are the actions of one reconcile, each of which is done once.
type series struct {
	generation int64
	want       state.Want
	done       map[state.Action]bool
	// err is how the last of them failed, and told says that an event has said so.
	err  error
	told bool
}

// setback is how many series have come to nothing that were to reach the same.
type setback struct {
	generation int64
	want       state.Want
	times      int
}

// wakes is how many ends of actions may be told before one is heard: none waits
// for that when the process ends.
const wakes = 1024

// has says whether the action was done already. After one that failed, neither an
// install nor an upgrade follows in the same series.
func (s *series) has(of state.Action) bool {
	releases := of == state.Install || of == state.Upgrade
	return s.done[of] || releases && s.err != nil && (s.done[state.Install] || s.done[state.Upgrade])
}

// released says whether an install or upgrade for that generation was begun, and
// nothing was undone since.
func (s *series) released(generation int64) bool {
	return s != nil && s.generation == generation &&
		(s.done[state.Install] || s.done[state.Upgrade]) && !s.done[state.Rollback] && !s.done[state.Remove]
}

// ended notes how the action has failed; nil says that it has not. What was unlocked
// has failed as it has.
func (s *series) ended(of *run, err error) {
	if of.action == state.Unlock && err == nil {
		return
	}
	s.err, s.told = err, false
}

func newRuns(retries reconcile.Pace) *runs {
	return &runs{
		of:       map[types.NamespacedName]*run{},
		series:   map[types.NamespacedName]*series{},
		setbacks: map[types.NamespacedName]setback{},
		wake:     make(chan event.GenericEvent, wakes),
		retries:  retries,
	}
}

// begin notes a run, unless one is there already.
func (r *runs) begin(name types.NamespacedName, made *run) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[name] != nil {
		return false
	}
	r.of[name] = made
	return true
}

// end notes what came of a run, and wakes its HelmRelease.
func (r *runs) end(name types.NamespacedName, of *run, what ended) {
	r.mu.Lock()
	of.ended = &what
	if of.forgotten {
		delete(r.of, name)
	}
	r.mu.Unlock()
	obj := &helmv2.HelmRelease{}
	obj.Namespace, obj.Name = name.Namespace, name.Name
	r.wake <- event.GenericEvent{Object: obj}
}

// current is the run of the HelmRelease, under way or ended; nil when there is
// none.
func (r *runs) current(name types.NamespacedName) (of *run, under bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.of[name]
	if found == nil {
		return nil, false
	}
	found.forgotten = false
	return found, found.ended == nil
}

// drop forgets a run that has ended and was read.
func (r *runs) drop(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, name)
}

// note says that the object's status has what came of the run.
func (r *runs) note(of *run, in *helmv2.HelmRelease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of.noted = in
}

// settled forgets the run that was noted in the object, now that this is written.
func (r *runs) settled(obj client.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := client.ObjectKeyFromObject(obj)
	if found := r.of[name]; found != nil && found.noted != nil && client.Object(found.noted) == obj {
		delete(r.of, name)
	}
}

// forget drops what nobody asks for any more. A run under way stays until it has
// ended: there is never a second one beside it.
func (r *runs) forget(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.series, name)
	delete(r.setbacks, name)
	switch found := r.of[name]; {
	case found == nil:
	case found.ended != nil:
		delete(r.of, name)
	default:
		found.forgotten = true
	}
}

// seriesFor are the actions since the HelmRelease was last at rest, begun anew
// when something else is wanted.
func (r *runs) seriesFor(name types.NamespacedName, generation int64, want state.Want) *series {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.series[name]
	if found == nil || found.generation != generation || found.want != want {
		found = &series{generation: generation, want: want, done: map[state.Action]bool{}}
		r.series[name] = found
	}
	return found
}

// rest ends a series.
func (r *runs) rest(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.series, name)
}

// backoff is the pause after a series that came to nothing, longer each time until
// something else is wanted or all is well.
func (r *runs) backoff(name types.NamespacedName, generation int64, want state.Want) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.setbacks[name]
	if found.generation != generation || found.want != want {
		found = setback{generation: generation, want: want}
	}
	after := r.retries.Pause(found.times)
	found.times++
	r.setbacks[name] = found
	return after
}

// recovered says that all is well.
func (r *runs) recovered(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.setbacks, name)
}
