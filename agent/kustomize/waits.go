package kustomize

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/apply"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

// waiting is what is verified: which state of the object was applied, and with
// what outcome.
type waiting struct {
	src        *meta.Artifact
	uid        types.UID
	generation int64
	// requested is the reconcile request that the run answers.
	requested string
	// attempted is the revision of the run before this one.
	attempted string
	// run is the one that has applied it.
	run attempt
	// changed says that the run had to change something at the target.
	changed bool
	// again says that an earlier run has looked already.
	again bool
	// applied are the objects that were applied, without those left alone.
	applied []apply.Check
}

// newWait describes a run in which the changes were made.
func newWait(obj *kustomizev1.Kustomization, src *meta.Artifact, run attempt, changes []apply.Change) waiting {
	what := waiting{
		src:        src,
		uid:        obj.UID,
		generation: obj.Generation,
		requested:  obj.Annotations[meta.ReconcileRequestAnnotation],
		attempted:  run.before.LastAttemptedRevision,
		run:        run,
	}
	for _, change := range changes {
		if change.Action != apply.Unchanged && change.Action != apply.Skipped {
			what.changed = true
		}
		if check, ok := change.Check(); ok && !isSelf(obj, check.Ref) {
			what.applied = append(what.applied, check)
		}
	}
	return what
}

// waits remembers what is waited for between two runs. It is a shortcut alone:
// a process that does not remember goes through all phases, which change
// nothing, and waits on. It is safe for concurrent use.
type waits struct {
	mu sync.Mutex
	of map[types.NamespacedName]waiting
	// spoiled are those of which something has changed since their run began.
	spoiled map[types.NamespacedName]bool
}

// keep remembers what the object waits for.
func (w *waits) keep(obj *kustomizev1.Kustomization, what waiting) {
	what.changed, what.again = false, true
	what.attempted = what.src.Revision
	name := client.ObjectKeyFromObject(obj)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spoiled[name] {
		return
	}
	if w.of == nil {
		w.of = map[types.NamespacedName]waiting{}
	}
	w.of[name] = what
}

// spoil has the next run go through all phases, whatever the one that is under way
// comes to.
func (w *waits) spoil(name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spoiled == nil {
		w.spoiled = map[types.NamespacedName]bool{}
	}
	delete(w.of, name)
	w.spoiled[name] = true
}

// has says whether the object, as its spec is now, is waited for.
func (w *waits) has(obj *kustomizev1.Kustomization) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	what, ok := w.of[client.ObjectKeyFromObject(obj)]
	return ok && what.uid == obj.UID && what.generation == obj.Generation
}

// waiting says whether the Kustomization of that name waits for health.
func (w *waits) waiting(name types.NamespacedName) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.of[name]
	return ok
}

// count is how many wait.
func (w *waits) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.of)
}

// resume returns what the object waits for, if that is still what it asks for. Else a
// run begins that goes through all phases.
func (w *waits) resume(obj *kustomizev1.Kustomization, src *meta.Artifact) (waiting, bool) {
	w.mu.Lock()
	what, ok := w.of[client.ObjectKeyFromObject(obj)]
	w.mu.Unlock()
	if ok && what.uid == obj.UID && what.generation == obj.Generation && obj.Status.WaitingSince != nil &&
		what.src.Digest == src.Digest && what.src.Revision == src.Revision &&
		what.requested == obj.Annotations[meta.ReconcileRequestAnnotation] {
		return what, true
	}
	w.drop(client.ObjectKeyFromObject(obj))
	return waiting{}, false
}

// drop forgets what the object waits for.
func (w *waits) drop(name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.of, name)
	delete(w.spoiled, name)
}
