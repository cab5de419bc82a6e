package fleet

import (
	"context"
	"fmt"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// patience ends a wait for what never comes.
const patience = 10 * time.Minute

// watch notes when each target was first seen Ready at which revision, and how
// often one stopped being Ready for a reason that is a failure.
type watch struct {
	mu       sync.Mutex
	seen     map[string]map[string]time.Time // by revision and name
	failures []string
	changed  chan struct{}
}

func startWatch(ctx context.Context, hub *testenv.ControlPlane) (*watch, error) {
	types, err := stack.Scheme()
	if err != nil {
		return nil, err
	}
	objects, err := cache.New(hub.Config(), cache.Options{Scheme: types})
	if err != nil {
		return nil, err
	}
	w := &watch{seen: map[string]map[string]time.Time{}, changed: make(chan struct{}, 1)}
	go func() { _ = objects.Start(ctx) }() // ends with the program
	informer, err := objects.GetInformer(ctx, &kustomizev1.Kustomization{})
	if err != nil {
		return nil, err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { w.note(nil, o.(*kustomizev1.Kustomization)) },
		UpdateFunc: func(before, o any) {
			w.note(before.(*kustomizev1.Kustomization), o.(*kustomizev1.Kustomization))
		},
	})
	return w, err
}

func (w *watch) note(before, o *kustomizev1.Kustomization) {
	ready := apimeta.FindStatusCondition(o.Status.Conditions, meta.ReadyCondition)
	if ready == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch revision := o.Status.LastAppliedRevision; {
	case ready.Status == metav1.ConditionTrue:
		if w.seen[revision] == nil {
			w.seen[revision] = map[string]time.Time{}
		}
		if w.seen[revision][o.Name].IsZero() {
			w.seen[revision][o.Name] = time.Now()
		}
	case ready.Status == metav1.ConditionFalse && before != nil && !sameReady(before, ready):
		w.failures = append(w.failures, o.Name+": "+ready.Reason+": "+ready.Message)
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func sameReady(before *kustomizev1.Kustomization, ready *metav1.Condition) bool {
	old := apimeta.FindStatusCondition(before.Status.Conditions, meta.ReadyCondition)
	return old != nil && old.Status == ready.Status && old.Reason == ready.Reason && old.Message == ready.Message
}

// await waits until all of these have been Ready at the revision.
func (w *watch) await(ctx context.Context, revision string, names []string) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		missing := w.missing(revision, names)
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return fmt.Errorf("%d of %d targets are not Ready at %s after %s, %s among them", len(missing), len(names), revision, patience, missing[0])
		}
	}
}

func (w *watch) missing(revision string, names []string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var missing []string
	for _, name := range names {
		if w.seen[revision][name].IsZero() {
			missing = append(missing, name)
		}
	}
	return missing
}

// since is how long after a time each was Ready at the revision, in seconds.
func (w *watch) since(when time.Time, revision string, names []string) []float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var seconds []float64
	for _, name := range names {
		seconds = append(seconds, w.seen[revision][name].Sub(when).Seconds())
	}
	return seconds
}

// failed returns the failures since the last call.
func (w *watch) failed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	failures := w.failures
	w.failures = nil
	return failures
}
