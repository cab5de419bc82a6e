package kustomize

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/kustomize/render"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// turnRetry is how soon one that waits for its turn asks again, should nothing wake it.
	turnRetry = 30 * time.Second
	// turnKept is how long a turn is kept for one that was woken. It may be gone, suspended
	// or another agent's by then.
	turnKept = 10 * time.Second
)

// render renders. A build that takes long waits for its turn without a worker.
func (r *Reconciler) render(ctx context.Context, obj *kustomizev1.Kustomization, request render.Request) (objects []*unstructured.Unstructured, moving bool, err error) {
	name := client.ObjectKeyFromObject(obj)
	defer r.passTurn(name)
	objects, moving, err = r.renderer.RenderNow(ctx, request)
	if !errors.Is(err, render.ErrLong) {
		return objects, moving, err
	}
	if !r.turns.begin(name, r.Clock.Now()) {
		return nil, false, reconcile.Wait(meta.ProgressingReason, "waiting for other builds that take long", turnRetry)
	}
	request.Long = true
	return r.renderer.RenderNow(ctx, request)
}

// passTurn wakes the next one, if it is this one's turn.
func (r *Reconciler) passTurn(name types.NamespacedName) {
	if next, waits := r.turns.end(name, r.Clock.Now()); waits {
		r.memories.wake(next, 0)
	}
}

// turns are those of the builds that take long: one is at it at a time. The namespaces
// take turns, so that the many of one do not push out the few of another. It is safe for
// concurrent use.
type turns struct {
	mu sync.Mutex
	// at is whose turn it is: who builds, or who was woken, and goes first until then.
	at       types.NamespacedName
	building bool
	until    time.Time
	// line are the namespaces of those who wait, and waiting their names by namespace, both in
	// the order of their turns.
	line    []string
	waiting map[string][]types.NamespacedName
}

// begin takes the turn, or puts the name among those who wait for it.
func (t *turns) begin(name types.NamespacedName, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at != name && (t.building || now.Before(t.until)) {
		t.join(name)
		return false
	}
	t.leave(name)
	t.at, t.building = name, true
	return true
}

// end gives the turn up, if it is the name's, and says whose it is then.
func (t *turns) end(name types.NamespacedName, now time.Time) (next types.NamespacedName, waits bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at != name {
		return types.NamespacedName{}, false
	}
	t.at, t.building, t.until = types.NamespacedName{}, false, time.Time{}
	if len(t.line) == 0 {
		return types.NamespacedName{}, false
	}
	namespace := t.line[0]
	t.at, t.until = t.waiting[namespace][0], now.Add(turnKept)
	t.leave(t.at)
	if len(t.waiting[namespace]) > 0 {
		t.line = append(t.line[1:], namespace)
	}
	return t.at, true
}

// drop forgets one who waits.
func (t *turns) drop(name types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leave(name)
}

// join puts the name behind the others of its namespace. The caller holds the lock, as
// that of leave does.
func (t *turns) join(name types.NamespacedName) {
	if t.waiting == nil {
		t.waiting = map[string][]types.NamespacedName{}
	}
	names := t.waiting[name.Namespace]
	if slices.Contains(names, name) {
		return
	}
	if len(names) == 0 {
		t.line = append(t.line, name.Namespace)
	}
	t.waiting[name.Namespace] = append(names, name)
}

func (t *turns) leave(name types.NamespacedName) {
	names := slices.DeleteFunc(t.waiting[name.Namespace], func(other types.NamespacedName) bool { return other == name })
	if len(names) > 0 {
		t.waiting[name.Namespace] = names
		return
	}
	delete(t.waiting, name.Namespace)
	t.line = slices.DeleteFunc(t.line, func(namespace string) bool { return namespace == name.Namespace })
}
