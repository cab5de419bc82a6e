package view

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/ptr"
)

const (
	// pageSize bounds one answer of a list.
	pageSize = 500
	// A watch is ended by the server after at least this time, and at most twice
	// as long, so that those of a fleet do not end together.
	watchTime = 5 * time.Minute
	// streamTime is how long a watch may take to send what is there. One by a server
	// that does not know what it is asked never says that it is at the end.
	streamTime = 30 * time.Second
	// deniedRetry is how soon a kind that may not be read is tried again.
	deniedRetry = 5 * time.Minute
	// mostObjects of one kind are known at most, each with mostName bytes of
	// names, uid and version: a page may be followed by another without end. Of a kind with
	// more, nothing is known, and the server is asked for each object.
	mostObjects = 200_000
	mostName    = 1 << 10
)

var (
	errManyObjects = fmt.Errorf("more than %d objects", mostObjects)
	errLongName    = fmt.Errorf("an object whose names, uid and version are longer than %d bytes", mostName)
)

// entry is one object.
type entry struct {
	owner   types.NamespacedName
	uid     types.UID
	version string
	print   Print
}

// length is that of what the server calls an object, in bytes.
func (e entry) length(name types.NamespacedName) int {
	return len(name.Namespace) + len(name.Name) + len(e.owner.Namespace) + len(e.owner.Name) + len(e.uid) + len(e.version)
}

// kind is the objects of one kind.
type kind struct {
	view   *View
	of     schema.GroupKind
	client metadata.ResourceInterface
	// answered is closed when the server has answered for the first time,
	// whatever it said.
	answered chan struct{}
	once     sync.Once
	// listing lets one caller list at a time.
	listing sync.Mutex

	mu      sync.Mutex
	objects map[types.NamespacedName]entry
	// upto is the resourceVersion that the objects are of; empty while nothing is
	// known.
	upto   string
	listed time.Time
	poll   bool
}

func (k *kind) polled() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.poll
}

func (k *kind) look(name types.NamespacedName) (Seen, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.upto == "" {
		return Seen{}, false
	}
	found, ok := k.objects[name]
	if !ok {
		return Seen{Version: k.upto}, true
	}
	return Seen{Present: true, UID: found.uid, Version: found.version, Print: found.print}, true
}

// refresh lists the kind unless that was done within maxAge.
func (k *kind) refresh(ctx context.Context, maxAge time.Duration) {
	k.listing.Lock()
	defer k.listing.Unlock()
	k.mu.Lock()
	fresh := !k.listed.IsZero() && k.view.options.Clock.Since(k.listed) < maxAge
	k.mu.Unlock()
	if fresh {
		return
	}
	if err := k.list(ctx); err != nil {
		k.unknow()
	}
}

// shortWatch is how long a watch lasts at least that ends as watches do.
const shortWatch = time.Second

// errShort says that a watch ended at once, as behind a gateway that takes none.
var errShort = errors.New("the watch ended at once")

// run keeps the kind up to date until the context ends.
func (k *kind) run(ctx context.Context) {
	backoff := restart()
	for ctx.Err() == nil {
		started := k.view.options.Clock.Now()
		err := k.start(ctx)
		for err == nil && ctx.Err() == nil {
			began := k.view.options.Clock.Now()
			err = k.watch(ctx)
			switch {
			case k.view.options.Clock.Since(began) >= shortWatch:
				backoff = restart()
			case err == nil:
				err = errShort
			}
		}
		if ctx.Err() != nil {
			return
		}
		delay := backoff.Step()
		switch {
		case expired(err) && k.view.options.Clock.Since(started) >= shortWatch:
			delay = 0 // what is known stays until the list that follows
		case apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err):
			if k.mayList() {
				k.mu.Lock()
				k.poll = true
				k.mu.Unlock()
				k.answer()
				return
			}
			k.unknow()
			delay = deniedRetry
		default:
			// As long as the watch is broken nobody tells of changes.
			k.unknow()
		}
		k.answer()
		select {
		case <-ctx.Done():
		case <-k.view.options.Clock.After(delay):
		}
	}
}

// expired says that the server has forgotten what the watch was to begin at.
func expired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

func restart() wait.Backoff {
	return wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: time.Minute}
}

func (k *kind) answer() { k.once.Do(func() { close(k.answered) }) }

// mayList says whether the list has worked although the watch has not.
func (k *kind) mayList() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.upto != ""
}

// unknow drops what is known.
func (k *kind) unknow() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.upto, k.objects, k.listed = "", map[types.NamespacedName]entry{}, time.Time{}
}

// start reads all objects anew: by a watch that sends them first and then goes on,
// one request for two, or by a list where that is not to be had.
func (k *kind) start(ctx context.Context) error {
	if k.view.options.Streams {
		if known, err := k.stream(ctx); known || ctx.Err() != nil {
			return err
		}
	}
	return k.list(ctx)
}

// list reads all objects anew.
func (k *kind) list(ctx context.Context) error {
	now, found := k.view.options.Clock.Now(), map[types.NamespacedName]entry{}
	options := metav1.ListOptions{LabelSelector: k.view.options.Selector, Limit: pageSize}
	version := ""
	for {
		page, err := k.client.List(ctx, options)
		if err != nil {
			return err
		}
		for i := range page.Items {
			if _, _, err := k.put(found, watch.Added, &page.Items[i]); err != nil {
				return err
			}
		}
		version = page.ResourceVersion
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	k.replace(found, version, now)
	k.answer()
	return nil
}

// replace puts the objects of a list in place, and tells of the differences.
func (k *kind) replace(found map[types.NamespacedName]entry, version string, now time.Time) {
	k.mu.Lock()
	before := k.objects
	k.objects, k.upto, k.listed = found, version, now
	k.mu.Unlock()
	for name, made := range found {
		if old, ok := before[name]; !ok || old.version != made.version {
			k.tell(made.owner, name)
		}
	}
	for name, old := range before {
		if _, ok := found[name]; !ok {
			k.tell(old.owner, name)
		}
	}
}

// stream begins a watch with all objects that are there, and follows it. It says
// whether they came to be known, and returns no error when the server has ended the
// watch in good order.
func (k *kind) stream(ctx context.Context) (known bool, err error) {
	now := k.view.options.Clock.Now()
	events, err := k.open(ctx, metav1.ListOptions{
		SendInitialEvents: ptr.To(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if err != nil {
		return false, err
	}
	defer events.Stop()
	found, version, err := k.gather(events)
	if err != nil {
		return false, err
	}
	k.replace(found, version, now)
	k.answer()
	return true, k.follow(events)
}

// gather takes what a watch sends of the objects that are there, to its end.
func (k *kind) gather(events watch.Interface) (found map[types.NamespacedName]entry, version string, err error) {
	patience := k.view.options.Clock.NewTimer(streamTime)
	defer patience.Stop()
	found = map[types.NamespacedName]entry{}
	for {
		select {
		case <-patience.C():
			return nil, "", fmt.Errorf("watch %s: the server has not said within %s that it has sent all", k.of, streamTime)
		case event, open := <-events.ResultChan():
			if !open {
				return nil, "", fmt.Errorf("watch %s: ended before all was sent", k.of)
			}
			obj, err := k.objectOf(event)
			if err != nil {
				return nil, "", err
			}
			if event.Type == watch.Bookmark && obj.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
				return found, obj.ResourceVersion, nil
			}
			if _, _, err := k.put(found, event.Type, obj); err != nil {
				return nil, "", err
			}
		}
	}
}

// watch follows the changes since what is known. It returns nil when the server has
// ended it in good order.
func (k *kind) watch(ctx context.Context) error {
	k.mu.Lock()
	upto := k.upto
	k.mu.Unlock()
	events, err := k.open(ctx, metav1.ListOptions{ResourceVersion: upto})
	if err != nil {
		return err
	}
	defer events.Stop()
	return k.follow(events)
}

func (k *kind) open(ctx context.Context, from metav1.ListOptions) (watch.Interface, error) {
	seconds := int64(watchTime.Seconds() * (1 + rand.Float64())) //nolint:gosec // spreads load, guards nothing
	from.LabelSelector, from.AllowWatchBookmarks, from.TimeoutSeconds = k.view.options.Selector, true, &seconds
	return k.client.Watch(ctx, from)
}

// follow takes in what a watch tells, to its end.
func (k *kind) follow(events watch.Interface) error {
	for event := range events.ResultChan() {
		obj, err := k.objectOf(event)
		if err != nil {
			return err
		}
		if err := k.change(event.Type, obj); err != nil {
			return err
		}
	}
	return nil
}

func (k *kind) objectOf(event watch.Event) (*metav1.PartialObjectMetadata, error) {
	if event.Type == watch.Error {
		return nil, apierrors.FromObject(event.Object)
	}
	obj, ok := event.Object.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, fmt.Errorf("watch %s: unexpected %T", k.of, event.Object)
	}
	return obj, nil
}

// change takes one event in.
func (k *kind) change(what watch.EventType, obj *metav1.PartialObjectMetadata) error {
	k.mu.Lock()
	k.upto = obj.ResourceVersion
	before, after, err := k.put(k.objects, what, obj)
	k.mu.Unlock()
	name := types.NamespacedName{Namespace: obj.Namespace, Name: obj.Name}
	switch {
	case after == nil && before != nil:
		k.tell(before.owner, name)
	case after != nil && (before == nil || before.version != after.version):
		k.tell(after.owner, name)
	}
	return err
}

// put brings the objects in line with an event, and returns what was there and what
// is there now; nothing of either for a bookmark. It fails when there is too much.
func (k *kind) put(objects map[types.NamespacedName]entry, what watch.EventType, obj *metav1.PartialObjectMetadata) (before, after *entry, err error) {
	if what == watch.Bookmark {
		return nil, nil, nil
	}
	name, made, ok := k.reduce(obj)
	if old, known := objects[name]; known {
		before = &old
	}
	if what == watch.Deleted || !ok {
		delete(objects, name)
		return before, nil, nil
	}
	if made.length(name) > mostName {
		return nil, nil, errLongName
	}
	if before == nil && len(objects) >= mostObjects {
		return nil, nil, errManyObjects
	}
	objects[name] = made
	return before, &made, nil
}

// reduce is what is kept of an object, if anything is.
func (k *kind) reduce(obj *metav1.PartialObjectMetadata) (types.NamespacedName, entry, bool) {
	name := types.NamespacedName{Namespace: obj.Namespace, Name: obj.Name}
	owner, ok := k.view.options.Owner(obj)
	if !ok {
		return name, entry{}, false
	}
	return name, entry{owner: owner, uid: obj.UID, version: obj.ResourceVersion, print: k.view.options.Print(obj)}, true
}

func (k *kind) tell(owner, name types.NamespacedName) {
	if k.view.options.Changed != nil {
		k.view.options.Changed(owner, k.of, name)
	}
}
