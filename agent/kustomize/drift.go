package kustomize

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/headwater-dev/headwater/agent/apply"
	"github.com/headwater-dev/headwater/agent/remote/view"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

const (
	// viewName is the name of a connection's view of what Kustomizations apply.
	viewName = "kustomizations"
	// settleDrift is how long after a change its Kustomization runs: changes
	// come in groups, and our own are noted before.
	settleDrift = 200 * time.Millisecond
	// firstAnswer is how long a run waits for a view that has just begun.
	firstAnswer = time.Second
	// requestedAge is how old a polled view may be when a run was asked for.
	requestedAge = 10 * time.Second
	// fullCheckJitter is the share by which the time of a full check varies.
	fullCheckJitter = 0.1
)

// memories is what is remembered of each Kustomization's objects, and how a
// view wakes them. It is safe for concurrent use.
type memories struct {
	// waits are those that want to know of every change.
	waits *waits

	mu    sync.Mutex
	of    map[types.NamespacedName]*memory
	queue workqueue.TypedRateLimitingInterface[ctrl.Request]
}

// memory is what is remembered of one Kustomization.
type memory struct {
	apply.Memory

	mu sync.Mutex
	// done is the run after which nothing was left to do.
	done *settled
	view apply.View
	// held says that a run is under way, and moved is what the view has seen
	// change since it began.
	held  bool
	moved map[apply.Ref]struct{}
}

// settled is a run that left everything as it should be.
type settled struct {
	uid        types.UID
	generation int64
	digest     string
	revision   string
	refs       []apply.Ref
	kinds      []schema.GroupVersionKind
	until      time.Time
}

func (m *memories) find(name types.NamespacedName) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[types.NamespacedName]*memory{}
	}
	found, ok := m.of[name]
	if !ok {
		found = &memory{}
		m.of[name] = found
	}
	return found
}

// peek returns a memory if there is one.
func (m *memories) peek(name types.NamespacedName) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of[name]
}

func (m *memories) drop(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, name)
}

// wakes is the source of runs that the views ask for.
func (m *memories) wakes() source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[ctrl.Request]) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.queue = queue
		return nil
	})
}

// wake runs a Kustomization after some time.
func (m *memories) wake(name types.NamespacedName, after time.Duration) {
	m.mu.Lock()
	queue := m.queue
	m.mu.Unlock()
	if queue != nil {
		queue.AddAfter(ctrl.Request{NamespacedName: name}, after)
	}
}

// changed wakes the owner of an object that a view has seen change, if it is not
// as the owner has left it, or if the owner waits for its health.
func (m *memories) changed(owner types.NamespacedName, kind schema.GroupKind, name types.NamespacedName) {
	found := m.peek(owner)
	if found == nil {
		return
	}
	ref := apply.Ref{GroupKind: kind, Namespace: name.Namespace, Name: name.Name}
	if view, later := found.later(ref); !later {
		m.judge(owner, found, view, ref)
	}
}

// judge wakes a Kustomization for one of its objects that was seen to change.
func (m *memories) judge(owner types.NamespacedName, found *memory, view apply.View, ref apply.Ref) {
	switch {
	case view != nil && found.Drifted(ref, view):
		m.waits.spoil(owner) // it is to be put back, and not only looked at
		m.wake(owner, settleDrift)
	case m.waits.waiting(owner):
		m.wake(owner, minPoll)
	}
}

// later puts the object off to the end of the run that is under way. Where none
// is, it returns the view.
func (m *memory) later(ref apply.Ref) (apply.View, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held {
		m.moved[ref] = struct{}{}
	}
	return m.view, m.held
}

// hold begins a run, whose own changes are not to wake its Kustomization: views
// see them before they are remembered. The returned function ends it, and wakes
// the Kustomization for what is not as the run has left it, or is waited for.
func (m *memories) hold(name types.NamespacedName) (end func()) {
	found := m.find(name)
	found.mu.Lock()
	defer found.mu.Unlock()
	found.held, found.moved = true, map[apply.Ref]struct{}{}
	return func() {
		found.mu.Lock()
		moved, view := found.moved, found.view
		found.held, found.moved = false, nil
		found.mu.Unlock()
		for ref := range moved {
			m.judge(name, found, view, ref)
		}
	}
}

// seen is a view as package apply knows it.
type seen struct{ *view.View }

func (s seen) Look(ref apply.Ref) (apply.Seen, bool) {
	found, ok := s.View.Look(ref.GroupKind, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name})
	return apply.Seen{Present: found.Present, UID: found.UID, Version: found.Version, Print: found.Print}, ok
}

// viewOf is the connection's view of what Kustomizations of the key apply.
func (r *Reconciler) viewOf(to *target) seen {
	owner := to.applier.Owner
	return seen{to.View(viewName, view.Options{
		Selector: selectorOf(owner, to.key),
		Print: func(obj metav1.Object) view.Print {
			reduced, _ := owner.Fingerprint(obj)
			return view.Print(reduced)
		},
		Owner: func(obj metav1.Object) (types.NamespacedName, bool) {
			name, ok := owner.Of(obj)
			return name, ok && (!to.key.IsHub() || shard.KeyFor(name.Namespace, name.Name, nil) == to.key)
		},
		Changed: r.memories.changed,
		Poll:    r.Drift.Polls(),
	})}
}

// selectorOf picks the objects of a key's Kustomizations: those of its namespace,
// or at the hub those of all.
func selectorOf(owner apply.Owner, key shard.Key) string {
	if key.IsHub() {
		return owner.Group + "/namespace"
	}
	return labels.Set{owner.Group + "/namespace": key.Namespace}.String()
}

// recall gives the applier what is remembered of the Kustomization and what the
// view knows of the kinds.
func (r *Reconciler) recall(ctx context.Context, obj *kustomizev1.Kustomization, to *target, kinds []schema.GroupVersionKind) {
	remembered := r.memories.find(client.ObjectKeyFromObject(obj))
	last := remembered.Begin(to.Identity())
	to.memory = remembered
	remembered.unsettle()
	to.applier.Memory, to.applier.View = &remembered.Memory, r.follow(ctx, obj, to, remembered, kinds)
	to.applier.Full = last.IsZero() || !r.Clock.Now().Before(last.Add(r.fullCheck(obj)))
	to.applier.Now, to.applier.Interval = r.Clock.Now, obj.Spec.Interval.Duration
	to.applier.Missed = func(apply.Ref) { missed.Inc() }
	to.applier.Force = obj.Spec.Force
}

// viewAge is how old a polled view may be.
func viewAge(obj *kustomizev1.Kustomization) time.Duration {
	age := obj.Spec.Interval.Duration / 2
	if asked := obj.Annotations[meta.ReconcileRequestAnnotation]; asked != "" && asked != obj.Status.LastHandledReconcileAt {
		return min(age, requestedAge)
	}
	return age
}

// fullCheck is the time between two dry-runs of all objects.
func (r *Reconciler) fullCheck(obj *kustomizev1.Kustomization) time.Duration {
	return max(r.Drift.FullCheck, obj.Spec.Interval.Duration)
}

// unchanged says whether the last run left everything as it should be and
// nothing has changed since: neither what is wanted nor what is there.
func (r *Reconciler) unchanged(ctx context.Context, obj *kustomizev1.Kustomization, src *meta.Artifact) (bool, error) {
	remembered := r.memories.find(client.ObjectKeyFromObject(obj))
	done := remembered.last()
	if !done.holds(obj, src) || !r.Clock.Now().Before(done.until) {
		return false, nil
	}
	to, err := r.connect(ctx, obj, wantedKey(obj), src)
	if err != nil {
		return false, err
	}
	defer to.Close()
	if remembered.Begin(to.Identity()).IsZero() {
		return false, nil
	}
	short := remembered.Settled(done.refs, r.follow(ctx, obj, to, remembered, done.kinds))
	if short && len(obj.Status.History) > 0 {
		r.counts.add(obj, obj.Status.History[0].Digest, meta.ReconciliationSucceededReason)
	}
	return short, nil
}

// last is the run after which nothing was left to do, if that was the last.
func (m *memory) last() *settled {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.done
}

// unsettle forgets the last run that had nothing left to do: another one begins.
func (m *memory) unsettle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = nil
}

// holds says whether the object still asks for what that run has done, and says
// so.
func (s *settled) holds(obj *kustomizev1.Kustomization, src *meta.Artifact) bool {
	return s != nil && s.uid == obj.UID && s.generation == obj.Generation &&
		s.digest == src.Digest && s.revision == src.Revision &&
		obj.Status.LastAppliedRevision == src.Revision && obj.Status.LastAttemptedRevision == src.Revision &&
		obj.Status.WaitingSince == nil && obj.Status.Target == wantedKey(obj).String()
}

// follow returns the view of the target, that knows of the kinds and wakes the
// Kustomization.
func (r *Reconciler) follow(ctx context.Context, obj *kustomizev1.Kustomization, to *target, remembered *memory, kinds []schema.GroupVersionKind) apply.View {
	known := r.viewOf(to)
	known.Follow(ctx, kinds, viewAge(obj), firstAnswer)
	remembered.mu.Lock()
	defer remembered.mu.Unlock()
	remembered.view = known
	return known
}

// settle remembers a run that has nothing left to do, for the next to be short.
// Runs whose inputs are not all known by the artifact and the generation, or
// that look at health, are not.
func (r *Reconciler) settle(obj *kustomizev1.Kustomization, to *target, run attempt, changes []apply.Change) {
	if to.memory == nil {
		return
	}
	var done *settled
	if selfContained(obj) && !run.moving && obj.Status.LastAppliedRevision == to.src.Revision {
		done = &settled{
			uid: obj.UID, generation: obj.Generation,
			digest: to.src.Digest, revision: to.src.Revision,
			until: to.memory.Begin(to.Identity()).Add(r.fullCheck(obj)),
		}
		for _, change := range changes {
			if change.Action != apply.Deleted && change.Remembered() {
				done.refs = append(done.refs, change.Ref)
			}
		}
		done.kinds = kindsOf(done.refs)
	}
	to.memory.mu.Lock()
	defer to.memory.mu.Unlock()
	to.memory.done = done
}

// selfContained says whether what is to be applied follows from the artifact
// and the spec alone, and whether applying it is all there is to do.
func selfContained(obj *kustomizev1.Kustomization) bool {
	spec := &obj.Spec
	return !spec.Wait && len(spec.HealthChecks) == 0 && spec.Decryption == nil &&
		(spec.PostBuild == nil || len(spec.PostBuild.SubstituteFrom) == 0)
}

// checked notes a full check that has been through all objects. They are spread
// in time, so that Kustomizations made together do not stay together.
func (r *Reconciler) checked(obj *kustomizev1.Kustomization, to *target) {
	if to.memory == nil || !to.applier.Full {
		return
	}
	early := time.Duration(rand.Float64() * fullCheckJitter * float64(r.fullCheck(obj))) //nolint:gosec // spreads load, guards nothing
	to.memory.Checked(r.Clock.Now().Add(-early))
}

// contested tells of objects that somebody else changes again and again, and
// sees to it that they are put back later.
func (r *Reconciler) contested(ctx context.Context, obj *kustomizev1.Kustomization, changes []apply.Change) {
	var soonest time.Duration
	var lines []string
	for _, change := range changes {
		if change.Held == 0 {
			continue
		}
		if soonest == 0 || change.Held < soonest {
			soonest = change.Held
		}
		if change.Rival != "" {
			lines = append(lines, fmt.Sprintf("%s is changed again and again by %s: corrections are slowed down; take the fields out of the manifest or list them in spec.ignore",
				change.Ref, change.Rival))
		}
	}
	if soonest > 0 {
		r.memories.wake(client.ObjectKeyFromObject(obj), soonest)
	}
	if len(lines) > 0 {
		r.Events.Publish(ctx, obj, reconcile.Event{
			Severity: reconcile.SeverityError, Reason: meta.DriftContestedReason,
			Message: strings.Join(shortened(lines), "\n"), Metadata: r.revisionOf(obj),
		})
	}
}

// kindsOf lists the kinds of the objects, each once.
func kindsOf(refs []apply.Ref) []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for _, ref := range refs {
		if kind := ref.WithVersion(ref.Version); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}
