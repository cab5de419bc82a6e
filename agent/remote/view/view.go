package view

import (
	"context"
	"net/http"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// Print is a fingerprint of an object's metadata.
type Print = [16]byte

// Options say what a view is of.
type Options struct {
	// Namespace is where the objects are; all namespaces when empty.
	Namespace string
	// Selector picks the objects by their labels, at the server.
	Selector string
	// Print reduces the metadata of an object to a fingerprint.
	Print func(metav1.Object) Print
	// Owner is whom to tell of a change; objects for which it is false are left
	// out.
	Owner func(metav1.Object) (types.NamespacedName, bool)
	// Changed is told of each change of an object, whatever its fingerprint says, of
	// new ones and of those that are gone. It must not block; may be nil.
	Changed func(owner types.NamespacedName, kind schema.GroupKind, name types.NamespacedName)
	// Streams says that the server's watches can begin with what is there (KEP-3157).
	Streams bool
	// Poll keeps from watching: kinds are listed when asked for.
	Poll bool
	// Clock is the real one when nil.
	Clock clock.Clock
}

// Seen is what a view knows of one object.
type Seen struct {
	// Present is false for an object that is not there, or not selected.
	Present bool
	UID     types.UID
	// Version is the object's resourceVersion, or of one that is not there the
	// one up to which that is known.
	Version string
	Print   Print
}

// View is the metadata of one target's objects. It is safe for concurrent use,
// and a nil View knows nothing.
type View struct {
	options Options
	client  metadata.Interface
	mapper  apimeta.RESTMapper
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	kinds map[schema.GroupKind]*kind
}

// newView is a view of the target that the client reaches; it ends with Close.
func newView(config *rest.Config, client *http.Client, mapper apimeta.RESTMapper, options Options) (*View, error) {
	reader, err := metadata.NewForConfigAndClient(metadata.ConfigFor(config), client)
	if err != nil {
		return nil, err
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	life, end := context.WithCancel(context.Background())
	return &View{
		options: options, client: reader, mapper: mapper, life: life, end: end,
		kinds: map[schema.GroupKind]*kind{},
	}, nil
}

// Close ends the view's watches. What it knew it knows no more.
func (v *View) Close() {
	if v == nil {
		return
	}
	v.end()
	v.running.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kinds = map[schema.GroupKind]*kind{}
}

// Look returns what is known of an object, and whether anything is.
func (v *View) Look(of schema.GroupKind, name types.NamespacedName) (Seen, bool) {
	if v == nil || v.options.Namespace != "" && v.options.Namespace != name.Namespace {
		return Seen{}, false
	}
	v.mu.Lock()
	found := v.kinds[of]
	v.mu.Unlock()
	if found == nil {
		return Seen{}, false
	}
	return found.look(name)
}

// Follow makes the view know the kinds. Those that are watched it begins to
// watch, and waits for the first answer up to the given time; those that are
// not watched it lists, unless it has done so within maxAge. Kinds that it may
// not read, or that do not exist, it leaves out.
func (v *View) Follow(ctx context.Context, kinds []schema.GroupVersionKind, maxAge, wait time.Duration) {
	if v == nil {
		return
	}
	timer := v.options.Clock.NewTimer(wait)
	defer timer.Stop()
	for _, gvk := range kinds {
		found := v.follow(gvk)
		if found == nil {
			continue
		}
		if found.polled() {
			found.refresh(ctx, maxAge)
			continue
		}
		select {
		case <-found.answered:
		case <-timer.C():
			return
		case <-ctx.Done():
			return
		}
	}
}

// Watches says whether what is known of a kind is kept up to date by a watch.
func (v *View) Watches(of schema.GroupKind) bool {
	if v == nil {
		return false
	}
	v.mu.Lock()
	found := v.kinds[of]
	v.mu.Unlock()
	return found != nil && !found.polled()
}

// follow returns the kind, begun if it is new.
func (v *View) follow(gvk schema.GroupVersionKind) *kind {
	v.mu.Lock()
	found, ok := v.kinds[gvk.GroupKind()]
	v.mu.Unlock()
	if ok {
		return found
	}
	// Past the lock: an unknown kind makes the mapper ask the server.
	mapping, err := v.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if found, ok = v.kinds[gvk.GroupKind()]; ok {
		return found
	}
	if v.life.Err() != nil {
		return nil
	}
	made := &kind{
		view: v, of: gvk.GroupKind(), client: v.client.Resource(mapping.Resource).Namespace(v.options.Namespace),
		objects: map[types.NamespacedName]entry{}, answered: make(chan struct{}), poll: v.options.Poll,
	}
	v.kinds[gvk.GroupKind()] = made
	if !made.poll {
		v.running.Go(func() { made.run(v.life) })
	}
	return made
}

// mostNamespaces is how many views of one name a connection has that are of one
// namespace each. A view of all namespaces takes the place of any more.
const mostNamespaces = 8

// Set is the views of one connection, by name and namespace. The zero Set is ready
// for use.
type Set struct {
	mu     sync.Mutex
	views  map[place]*View
	closed bool
}

type place struct{ name, namespace string }

// Get returns the view of that name which has the objects of the options' namespace,
// made by the options if there is none: nil when the connection has ended.
func (s *Set) Get(name string, config *rest.Config, client *http.Client, mapper apimeta.RESTMapper, options Options) *View {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	at := place{name, options.Namespace}
	if s.views[at] == nil && s.ofLocked(name) >= mostNamespaces {
		at.namespace, options.Namespace = "", ""
	}
	if found := s.views[at]; found != nil {
		return found
	}
	made, err := newView(config, client, mapper, options)
	if err != nil {
		// A view is a shortcut: without it the server is asked.
		return nil
	}
	if s.views == nil {
		s.views = map[place]*View{}
	}
	s.views[at] = made
	return made
}

// ofLocked is how many views there are of a name.
func (s *Set) ofLocked(name string) (count int) {
	for at := range s.views {
		if at.name == name {
			count++
		}
	}
	return count
}

// Close ends all views.
func (s *Set) Close() {
	s.mu.Lock()
	views := s.views
	s.views, s.closed = nil, true
	s.mu.Unlock()
	for _, view := range views {
		view.Close()
	}
}
