package helm

import (
	"context"
	"crypto/sha256"
	"math"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/headwater-dev/headwater/agent/helm/action"
	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	"github.com/headwater-dev/headwater/agent/remote/view"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

const (
	// viewName is the name of a connection's view of Helm's storage.
	viewName = "releases"
	// settleStorage is how long after a change of the storage its HelmRelease
	// runs: Helm's changes come in groups.
	settleStorage = 500 * time.Millisecond
	// firstAnswer is how long a run waits for a view that has just begun.
	firstAnswer = time.Second
	// anyAge keeps a view that may not watch from listing again and again: it is
	// not asked, since nobody tells it of changes.
	anyAge = time.Duration(math.MaxInt64)
)

// storage is where the records of one release are.
type storage struct {
	key             shard.Key
	namespace, name string
}

func storageOf(key shard.Key, of release.Target) storage {
	return storage{key: key, namespace: of.StorageNamespace, name: of.Name}
}

// memories is what is remembered of each HelmRelease that has come to rest, and how
// views wake them. It is safe for concurrent use.
type memories struct {
	clock   clock.PassiveClock
	retries reconcile.Pace

	mu    sync.Mutex
	of    map[types.NamespacedName]*memory
	at    map[storage]map[types.NamespacedName]bool
	drift map[types.NamespacedName]pauses
	queue workqueue.TypedRateLimitingInterface[ctrl.Request]
}

func newMemories(clock clock.PassiveClock, retries reconcile.Pace) *memories {
	return &memories{
		clock: clock, retries: retries, of: map[types.NamespacedName]*memory{},
		at: map[storage]map[types.NamespacedName]bool{}, drift: map[types.NamespacedName]pauses{},
	}
}

// memory is what the storage had, and how the objects were, when a HelmRelease came
// to rest. It is a shortcut alone: without it the target is asked.
type memory struct {
	cluster string
	at      storage
	view    *view.View
	// records of the release, the newest first, and the resourceVersion that they
	// are all of.
	records []release.Record
	upto    string
	// objects are nil where drift was not looked for, or is not to be seen.
	objects *objects
	// outdated is set when the view tells of something newer.
	outdated bool
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

// keep remembers, and wakes the HelmRelease at once where the view knows better:
// what has changed since the records were read has woken nobody.
func (m *memories) keep(name types.NamespacedName, made *memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropLocked(name)
	m.of[name] = made
	if m.at[made.at] == nil {
		m.at[made.at] = map[types.NamespacedName]bool{}
	}
	m.at[made.at][name] = true
	m.tellLocked(name, made.next())
	for _, record := range made.records {
		m.tellLocked(name, types.NamespacedName{Namespace: made.at.namespace, Name: record.Stored.Name})
	}
	if made.objects != nil {
		for at := range made.objects.all {
			m.tellObjectLocked(name, at)
		}
	}
}

// forget drops all that is known of a HelmRelease.
func (m *memories) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropLocked(name)
	delete(m.drift, name)
}

// drop forgets.
func (m *memories) drop(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropLocked(name)
}

func (m *memories) dropLocked(name types.NamespacedName) {
	found := m.of[name]
	if found == nil {
		return
	}
	delete(m.of, name)
	delete(m.at[found.at], name)
	if len(m.at[found.at]) == 0 {
		delete(m.at, found.at)
	}
}

// recall is what is remembered, unless the view has told that it is outdated.
func (m *memories) recall(name types.NamespacedName) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if found := m.of[name]; found != nil && !found.outdated {
		return found
	}
	return nil
}

// changed wakes the HelmReleases whose storage a view has seen change since they
// came to rest. While somebody else's action is under way it does not: they would
// only get in each other's way, and its end is another change.
func (m *memories) changed(key shard.Key) func(types.NamespacedName, schema.GroupKind, types.NamespacedName) {
	return func(of types.NamespacedName, _ schema.GroupKind, secret types.NamespacedName) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for name := range m.at[storage{key, of.Namespace, of.Name}] {
			m.tellLocked(name, secret)
		}
	}
}

// tellLocked wakes the HelmRelease if the view knows of the Secret what it does not.
func (m *memories) tellLocked(name types.NamespacedName, secret types.NamespacedName) {
	found := m.of[name]
	if !found.sees(secret) {
		return
	}
	found.outdated = true
	if m.queue != nil && !found.busy(secret) && !found.busy(found.next()) {
		m.queue.AddAfter(ctrl.Request{NamespacedName: name}, settleStorage)
	}
}

// secretKind is what Helm keeps its records in.
func secretKind() schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind("Secret") }

func (m *memory) look(secret types.NamespacedName) (view.Seen, bool) {
	return m.view.Look(secretKind().GroupKind(), secret)
}

// next is the Secret that the next revision will be in, whoever makes it.
func (m *memory) next() types.NamespacedName {
	version := 1
	if len(m.records) > 0 {
		version += m.records[0].Version
	}
	return types.NamespacedName{Namespace: m.at.namespace, Name: action.SecretName(m.at.name, version)}
}

// sees says whether the view knows something of the Secret that is newer than what
// is remembered. A view that lags behind says nothing.
func (m *memory) sees(secret types.NamespacedName) bool {
	seen, known := m.look(secret)
	if !known {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(seen.Version, m.upto)
	if err != nil {
		return true
	}
	return order > 0 && (seen.Present || m.has(secret))
}

func (m *memory) has(secret types.NamespacedName) bool {
	for _, record := range m.records {
		if record.Stored.Name == secret.Name {
			return secret.Namespace == m.at.namespace
		}
	}
	return false
}

// busy says whether the Secret is of an action that is under way.
func (m *memory) busy(secret types.NamespacedName) bool {
	seen, known := m.look(secret)
	return known && seen.Present && seen.Print[0] == printBusy
}

// holds says whether the view shows all records as they are remembered, and none
// after them.
func (m *memory) holds() bool {
	for _, record := range m.records {
		seen, known := m.look(types.NamespacedName{Namespace: m.at.namespace, Name: record.Stored.Name})
		if !known || !seen.Present || seen.UID != record.Stored.UID || seen.Version != record.Stored.Version {
			return false
		}
	}
	seen, known := m.look(m.next())
	return known && !seen.Present
}

// The first byte of a Secret's fingerprint.
const (
	printIdle byte = iota
	printBusy
)

// printOf tells each version of a Secret from the others, and those of an action
// that is under way from the rest.
func printOf(obj metav1.Object) view.Print {
	sum := sha256.Sum256([]byte(string(obj.GetUID()) + " " + obj.GetResourceVersion()))
	reduced := view.Print(sum[:len(view.Print{})])
	reduced[0] = printIdle
	if action.IsBusy(obj.GetLabels()) {
		reduced[0] = printBusy
	}
	return reduced
}

// viewOf is the connection's view of Helm's storage in a namespace: other releases of
// a cluster that many kubeconfigs lead to are not this one's business. An object's
// owner is the release that it is a record of.
func (r *Reconciler) viewOf(to *target, namespace string) *view.View {
	return to.View(viewName, view.Options{
		Namespace: namespace,
		Selector:  action.RecordSelector(),
		Print:     printOf,
		Owner: func(obj metav1.Object) (types.NamespacedName, bool) {
			name := action.ReleaseOf(obj.GetLabels())
			return types.NamespacedName{Namespace: obj.GetNamespace(), Name: name}, name != ""
		},
		Changed: r.memories.changed(to.key),
	})
}

// recall is what the storage has by what is remembered of it, if the view shows
// that nothing has changed since.
func (r *Reconciler) recall(ctx context.Context, obj *helmv2.HelmRelease, to *target, of release.Target) *memory {
	found := r.memories.recall(client.ObjectKeyFromObject(obj))
	if found == nil || found.cluster != to.Identity() || found.at != storageOf(to.key, of) {
		return nil
	}
	found.view.Follow(ctx, []schema.GroupVersionKind{secretKind()}, anyAge, firstAnswer)
	if !found.view.Watches(secretKind().GroupKind()) || !found.holds() {
		return nil
	}
	return found
}

// remember notes what the storage has when a HelmRelease has come to rest, and has
// the view follow it.
func (r *Reconciler) remember(ctx context.Context, obj *helmv2.HelmRelease, at look) {
	if r.Options.Poll {
		return
	}
	in := storageOf(at.to.key, at.in.want.Target)
	made := &memory{
		cluster: at.to.Identity(), at: in, view: r.viewOf(at.to, in.namespace),
		records: bare(at.seen.Records, state.PreservesValues(obj)), upto: at.upto, objects: at.objects,
	}
	made.view.Follow(ctx, []schema.GroupVersionKind{secretKind()}, anyAge, 0)
	made.objects.follow(ctx)
	r.memories.keep(client.ObjectKeyFromObject(obj), made)
}

// bare are the records without what is large in them. Their values are kept where
// what is wanted depends on them.
func bare(records []release.Record, values bool) []release.Record {
	kept := slices.Clone(records)
	for i := range kept {
		kept[i].Manifest, kept[i].CRDs = "", nil
		if !values {
			kept[i].Config = nil
		}
	}
	return kept
}
