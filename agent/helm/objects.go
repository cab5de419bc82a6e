package helm

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/headwater-dev/headwater/agent/apply"
	"github.com/headwater-dev/headwater/agent/helm/action"
	"github.com/headwater-dev/headwater/agent/helm/state"
	"github.com/headwater-dev/headwater/agent/remote/view"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/shard"
)

const (
	// objectsName is the name of a connection's view of what HelmReleases make.
	objectsName = "helmreleases"
	// fullCheckJitter is the share by which the time of a full check varies.
	fullCheckJitter = 0.1
)

// site is where an object is.
type site struct {
	kind schema.GroupKind
	name types.NamespacedName
}

// objects are those of a release as a look for drift has found them.
type objects struct {
	// generation of the HelmRelease that the look was for, and drift what it has
	// found.
	generation int64
	drift      state.Drift
	// until is when they are looked at again in any case.
	until    time.Time
	interval time.Duration
	view     *view.View
	kinds    []schema.GroupVersionKind
	all      map[site]action.Looked
	// told is set when the HelmRelease was woken for one of them, until it runs. The
	// memories' lock guards it.
	told bool
}

// objectsOf notes what a look has found; nil where a view does not show all of it.
func (r *Reconciler) objectsOf(obj *helmv2.HelmRelease, at *look, looked []action.Looked) *objects {
	if r.Options.Poll || slices.ContainsFunc(looked, func(one action.Looked) bool { return one.Blind }) {
		return nil
	}
	interval := obj.Spec.Interval.Duration
	late := (1 - rand.Float64()*fullCheckJitter) * float64(max(r.Options.FullCheck, interval)) //nolint:gosec // spreads load, guards nothing
	made := &objects{
		generation: obj.Generation, drift: at.seen.Drift, until: r.Clock.Now().Add(time.Duration(late)), interval: interval,
		view: r.objectsView(obj, at.to), all: map[site]action.Looked{},
	}
	for _, one := range looked {
		made.all[site{one.GroupKind, types.NamespacedName{Namespace: one.Namespace, Name: one.Name}}] = one
		if kind := one.WithVersion(one.Version); !slices.Contains(made.kinds, kind) {
			made.kinds = append(made.kinds, kind)
		}
	}
	return made
}

// objectsView is the connection's view of what the key's HelmReleases make.
func (r *Reconciler) objectsView(obj *helmv2.HelmRelease, to *target) *view.View {
	owner, key := action.OwnerOf(obj), to.key
	return to.View(objectsName, view.Options{
		Selector: objectsSelector(owner, key),
		Print:    action.Print,
		Owner: func(obj metav1.Object) (types.NamespacedName, bool) {
			name, ok := owner.Of(obj)
			return name, ok && (!key.IsHub() || shard.KeyFor(name.Namespace, name.Name, nil) == key)
		},
		Changed: r.memories.objectChanged,
	})
}

// objectsSelector picks the objects of a key's HelmReleases: those of its
// namespace, or at the hub those of all.
func objectsSelector(owner apply.Owner, key shard.Key) string {
	if key.IsHub() {
		return owner.Group + "/namespace"
	}
	return labels.Set{owner.Group + "/namespace": key.Namespace}.String()
}

func (o *objects) follow(ctx context.Context) {
	if o != nil {
		o.view.Follow(ctx, o.kinds, anyAge, firstAnswer)
	}
}

// recallDrift is what the last look for drift has found, if the view shows that
// all is as it was then.
func (r *Reconciler) recallDrift(ctx context.Context, obj *helmv2.HelmRelease, of *objects) state.Drift {
	if of == nil || of.generation != obj.Generation || !r.Clock.Now().Before(of.until) {
		return state.DriftUnknown
	}
	r.memories.hears(of)
	of.follow(ctx)
	for at, one := range of.all {
		if same, known := of.compare(at, one); !known || !same || !of.view.Watches(at.kind) {
			return state.DriftUnknown
		}
	}
	return of.drift
}

// compare says whether the object is as it was, and whether that is known. A view
// that is older than the look says nothing against it.
func (o *objects) compare(at site, one action.Looked) (same, known bool) {
	seen, known := o.view.Look(at.kind, at.name)
	if !known || one.ResourceVersion == "" {
		return !seen.Present, known
	}
	order, err := resourceversion.CompareResourceVersion(seen.Version, one.ResourceVersion)
	return order < 0 || seen.Present && seen.Print == one.Print, err == nil
}

// objectChanged wakes the HelmRelease of an object that is not as it was.
func (m *memories) objectChanged(of types.NamespacedName, kind schema.GroupKind, name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if found := m.of[of]; found != nil && found.objects != nil {
		m.tellObjectLocked(of, site{kind, name})
	}
}

// hears says that the HelmRelease runs: what changes from now on wakes it anew.
func (m *memories) hears(of *objects) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of.told = false
}

// tellObjectLocked wakes the HelmRelease, once, if the view shows that the object is
// not as it was. A Job that has removed itself does not: made anew at once it would
// run without end.
func (m *memories) tellObjectLocked(name types.NamespacedName, at site) {
	of := m.of[name].objects
	one, ours := of.all[at]
	if !ours || of.told || m.queue == nil {
		return
	}
	if same, known := of.compare(at, one); same || !known {
		return
	}
	if seen, _ := of.view.Look(at.kind, at.name); !seen.Present && one.Expires {
		return
	}
	of.told = true
	m.queue.AddAfter(ctrl.Request{NamespacedName: name}, m.pauseLocked(name, of.interval))
}

// pauses are those before the looks that changes of objects ask for.
type pauses struct {
	times int
	last  time.Time
}

// pauseLocked is how long after a change its HelmRelease runs: longer each time,
// since two that fight over an object would else write all the time. A change that
// comes long after the last begins anew.
func (m *memories) pauseLocked(name types.NamespacedName, limit time.Duration) time.Duration {
	now, found := m.clock.Now(), m.drift[name]
	if now.Sub(found.last) > max(limit, 2*m.retries.Pause(found.times)) {
		found.times = 0
	}
	pause := m.retries.Pause(found.times)
	m.drift[name] = pauses{times: found.times + 1, last: now.Add(pause)}
	return pause
}
