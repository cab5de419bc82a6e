package apply

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

const (
	// A change that is not ours is put back at once this often; after that ever
	// more slowly. Two that fight over an object would else write all the time.
	freeCorrections = 2
	firstDelay      = 10 * time.Second
)

// Seen is an object as a View has it.
type Seen struct {
	// Present is false for an object that is not there, or not ours any more.
	Present bool
	UID     types.UID
	// Version is the object's resourceVersion, or for one that is not there the
	// one that the view has got to.
	Version string
	Print   Print
}

// View knows the metadata of a cluster's objects without asking for it.
type View interface {
	// Look returns what is known of an object, and whether anything is.
	Look(Ref) (Seen, bool)
}

// digest stands for what is to be applied.
type digest [sha256.Size]byte

func digestOf(obj *unstructured.Unstructured) (digest, error) {
	raw, err := json.Marshal(obj.Object)
	return sha256.Sum256(raw), err
}

// known is what is remembered of one object.
type known struct {
	uid     types.UID
	version string
	print   Print
	desired digest
	// skipped says that the object was left alone as it is.
	skipped bool
	// once says that the object is left alone for as long as it is there.
	once bool
	// blind says that the fingerprint tells nothing of the object.
	blind bool
	// expires says that the object removes itself when it is done.
	expires bool

	corrections int
	corrected   time.Time
	delay       time.Duration
	// rival is the manager that was corrected; warned says that people know.
	rival  string
	warned bool
}

// Memory is what one owner's objects were like when they were applied, or found
// to need nothing. It is safe for concurrent use. It is a shortcut alone: without
// it the server is asked.
type Memory struct {
	mu      sync.Mutex
	objects map[string]known
	checked time.Time
	cluster string
}

// Begin makes sure that what is remembered is of the cluster, and says when all
// objects were last checked with the server: the zero time when never.
func (m *Memory) Begin(cluster string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cluster != cluster || m.objects == nil {
		m.cluster, m.checked, m.objects = cluster, time.Time{}, map[string]known{}
	}
	return m.checked
}

// Checked notes that all objects have just been checked with the server.
func (m *Memory) Checked(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checked = now
}

// Keep forgets all objects but those.
func (m *Memory) Keep(refs []Ref) {
	ids := make(map[string]bool, len(refs))
	for _, ref := range refs {
		ids[ref.ID()] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.objects {
		if !ids[id] {
			delete(m.objects, id)
		}
	}
}

// Settled says whether all the objects are known to be as they were applied.
func (m *Memory) Settled(refs []Ref, view View) bool {
	for _, ref := range refs {
		if known, ok := m.recall(ref); !ok || compare(known, ref, view) != same {
			return false
		}
	}
	return true
}

// Drifted says whether the object is known to differ from what was applied. A Job that
// has removed itself has not: made anew at once it would run without end.
func (m *Memory) Drifted(ref Ref, view View) bool {
	known, ok := m.recall(ref)
	if !ok || compare(known, ref, view) != drifted {
		return false
	}
	seen, _ := view.Look(ref)
	return seen.Present || !known.expires
}

func (m *Memory) recall(ref Ref) (known, bool) {
	if m == nil {
		return known{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.objects[ref.ID()]
	return found, ok
}

// remember notes what the server has made of an object.
func (m *Memory) remember(o Owner, ref Ref, live metav1.Object, now known) {
	if m == nil {
		return
	}
	reduced, owned := o.Fingerprint(live)
	now.uid, now.version, now.print = live.GetUID(), live.GetResourceVersion(), reduced
	now.blind = !owned && !now.skipped
	if whole, ok := live.(*unstructured.Unstructured); ok {
		now.expires = Expires(whole)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.objects == nil {
		m.objects = map[string]known{}
	}
	m.objects[ref.ID()] = now
}

// warn returns the manager that fights for the object, once.
func (m *Memory) warn(ref Ref) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.objects[ref.ID()]
	if found.warned {
		return ""
	}
	found.warned = true
	m.objects[ref.ID()] = found
	return cmp.Or(found.rival, "another manager")
}

func (m *Memory) forget(ref Ref) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, ref.ID())
}

// verdict is what a view says of an object that was applied before.
type verdict int

const (
	// unclear: the server has to be asked.
	unclear verdict = iota
	same
	drifted
)

// compare judges an object by the view. A view that is older than what we know
// ourselves says nothing against it.
func compare(before known, ref Ref, view View) verdict {
	if view == nil || before.blind {
		return unclear
	}
	seen, ok := view.Look(ref)
	if !ok {
		return unclear
	}
	order, err := resourceversion.CompareResourceVersion(seen.Version, before.version)
	switch {
	case err != nil:
		return unclear
	case order < 0:
		return same
	case seen.Present && (before.once || seen.Print == before.print):
		return same
	}
	return drifted
}

// next is how long the correction of an object has to wait, given what is
// remembered of it; zero when it may be done now.
func (k known) next(now time.Time) time.Duration {
	if k.corrections < freeCorrections {
		return 0
	}
	return max(0, k.corrected.Add(k.delay).Sub(now))
}

// correct notes one more correction. One that comes long after the last starts
// to count anew.
func (k known) correct(now time.Time, limit time.Duration) known {
	if now.Sub(k.corrected) > max(limit, 2*k.delay) {
		k.corrections, k.delay, k.warned = 0, 0, false
	}
	k.corrections++
	k.corrected = now
	if k.corrections >= freeCorrections {
		k.delay = min(max(firstDelay, 2*k.delay), max(limit, firstDelay))
	}
	return k
}

// otherManager is the manager that has changed the object last, besides us; for
// people.
func (o Owner) otherManager(live metav1.Object) string {
	name, last := "", time.Time{}
	for _, entry := range live.GetManagedFields() {
		if o.isOurs(entry) || entry.Subresource == "status" || entry.Time == nil || entry.Time.Time.Before(last) {
			continue
		}
		name, last = entry.Manager, entry.Time.Time
	}
	return name
}
