package render

import (
	"context"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// result is what a layer keeps: objects that nobody changes any more.
type result struct {
	objects []*unstructured.Unstructured
	bytes   int64
	// short says that the directory only lists what it has.
	short bool
	// moving says that something of it is at another place. It is not kept.
	moving bool
}

// unlimited is how many entries a layer may have: it is bounded in bytes.
const unlimited = 1 << 30

// layer keeps results by key, the most recently used ones that fit its bound,
// and makes each of them once at a time, however many ask. It is safe for
// concurrent use.
type layer struct {
	most int64

	mu      sync.Mutex
	used    int64
	entries *simplelru.LRU[string, result]
	flights map[string]*flight
}

// flight is a result that is being made. What is made and err are there when done is
// closed; the layer's lock guards the number of those who wait.
type flight struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	made    result
	err     error
}

func newLayer(most int64) (*layer, error) {
	l := &layer{most: most, flights: map[string]*flight{}}
	entries, err := simplelru.NewLRU(unlimited, func(_ string, gone result) { l.used -= gone.bytes })
	l.entries = entries
	return l, err
}

// get returns the result of a key, made if it is not kept; kept says whether it was,
// or was being made. Nothing is kept of an empty key. The work goes on when one of
// those who want it gives up, and ends with the last of them. Nobody else waits for what
// is made alone.
func (l *layer) get(ctx context.Context, key string, alone bool, produce func(context.Context) (result, error)) (made result, kept bool, err error) {
	if err := ctx.Err(); err != nil {
		return result{}, false, err
	}
	if key == "" {
		made, err = surviving(ctx, produce)
		return made, false, err
	}
	l.mu.Lock()
	if made, kept = l.entries.Get(key); kept {
		l.mu.Unlock()
		return made, true, nil
	}
	if alone {
		l.mu.Unlock()
		made, err = surviving(ctx, produce)
		l.mu.Lock()
		defer l.mu.Unlock()
		if err == nil {
			l.keep(key, made)
		}
		return made, false, err
	}
	f, shared := l.flights[key]
	if !shared {
		f = l.begin(ctx, key, produce)
	}
	f.waiting++
	l.mu.Unlock()
	select {
	case <-ctx.Done():
		l.leave(key, f)
		return result{}, false, ctx.Err()
	case <-f.done:
		return f.made, shared && f.err == nil, f.err
	}
}

// begin has a result made, on behalf of all who come to want it. The caller holds the
// lock.
func (l *layer) begin(ctx context.Context, key string, produce func(context.Context) (result, error)) *flight {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{cancel: cancel, done: make(chan struct{})}
	l.flights[key] = f
	go func() {
		defer cancel()
		f.made, f.err = surviving(ctx, produce)
		l.end(key, f)
		close(f.done)
	}()
	return f
}

// end keeps what was made.
func (l *layer) end(key string, f *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flights[key] == f {
		delete(l.flights, key)
	}
	if f.err == nil {
		l.keep(key, f.made)
	}
}

// leave gives up a wait. What nobody waits for any more is given up as well, and
// whoever comes next begins anew.
func (l *layer) leave(key string, f *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.waiting--; f.waiting > 0 {
		return
	}
	f.cancel()
	if l.flights[key] == f {
		delete(l.flights, key)
	}
}

// keep stores a result, unless it may be another the next time, or it alone is
// more than half of the bound: it would drive out everybody else's. The caller holds
// the lock.
func (l *layer) keep(key string, made result) {
	if made.moving || made.bytes > l.most/2 {
		return
	}
	l.entries.Remove(key) // which two may have made, one of them given up
	l.entries.Add(key, made)
	for l.used += made.bytes; l.used > l.most; {
		l.entries.RemoveOldest()
	}
}

// copied are the objects for a caller, who may change them.
func (r result) copied() []*unstructured.Unstructured {
	copies := make([]*unstructured.Unstructured, len(r.objects))
	for i, obj := range r.objects {
		copies[i] = obj.DeepCopy()
	}
	return copies
}

// of is the result that holds the objects.
func of(objects []*unstructured.Unstructured) result {
	made := result{objects: objects}
	for _, obj := range objects {
		made.bytes += sizeOf(obj.Object)
	}
	return made
}

// What Go needs beside the content, as measured: a string or number in an
// interface, and a field of a map.
const (
	valueBytes = 32
	fieldBytes = 80
)

// sizeOf estimates the memory of a value in bytes.
func sizeOf(value any) int64 {
	size := int64(valueBytes)
	switch value := value.(type) {
	case string:
		size += int64(len(value))
	case map[string]any:
		for name, field := range value {
			size += fieldBytes + int64(len(name)) + sizeOf(field)
		}
	case []any:
		for _, item := range value {
			size += sizeOf(item)
		}
	}
	return size
}
