package render

import (
	"context"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"
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
	most    int64
	flights singleflight.Group

	mu      sync.Mutex
	used    int64
	entries *simplelru.LRU[string, result]
}

func newLayer(most int64) (*layer, error) {
	l := &layer{most: most}
	entries, err := simplelru.NewLRU(unlimited, func(_ string, gone result) { l.used -= gone.bytes })
	l.entries = entries
	return l, err
}

// get returns the result of a key, made if it is not kept; kept says whether it
// was. Nothing is kept of an empty key. The work goes on when one of those who
// want it gives up.
func (l *layer) get(ctx context.Context, key string, produce func(context.Context) (result, error)) (made result, kept bool, err error) {
	if err := ctx.Err(); err != nil {
		return result{}, false, err
	}
	if key == "" {
		made, err = produce(ctx)
		return made, false, err
	}
	if made, kept = l.lookup(key); kept {
		return made, true, nil
	}
	detached := context.WithoutCancel(ctx)
	first := false
	flight := l.flights.DoChan(key, func() (any, error) {
		first = true
		if made, kept := l.lookup(key); kept {
			return made, nil
		}
		made, err := produce(detached)
		if err == nil {
			l.keep(key, made)
		}
		return made, err
	})
	select {
	case <-ctx.Done():
		return result{}, false, ctx.Err()
	case done := <-flight:
		if done.Err != nil {
			return result{}, false, done.Err
		}
		made, _ = done.Val.(result)
		return made, !first, nil
	}
}

func (l *layer) lookup(key string) (result, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries.Get(key)
}

// keep stores a result, unless it may be another the next time, or it alone is
// more than half of the bound: it would drive out everybody else's.
func (l *layer) keep(key string, made result) {
	if made.moving || made.bytes > l.most/2 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
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
