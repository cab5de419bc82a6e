package queue

import (
	"cmp"
	"container/list"
	"slices"
)

// ring holds what is ready, by priority, and by key inside of one priority. It
// is not safe for concurrent use.
type ring[T, K comparable] struct {
	levels []*level[T, K] // the highest priority first
	size   int
}

// level is one priority: a lane for each key that has something in it.
type level[T, K comparable] struct {
	priority int
	lanes    map[K]*lane[T, K]
	// turns are the lanes in the order in which they are served. Those whose key
	// has no free slot have no turn until one is freed.
	turns list.List
}

type lane[T, K comparable] struct {
	key   K
	items list.List
	turn  *list.Element
}

// put adds an entry at the end of its lane.
func (r *ring[T, K]) put(e *entry[T, K]) {
	at, found := slices.BinarySearchFunc(r.levels, e.priority, func(l *level[T, K], priority int) int {
		return cmp.Compare(priority, l.priority)
	})
	if !found {
		r.levels = slices.Insert(r.levels, at, &level[T, K]{priority: e.priority, lanes: map[K]*lane[T, K]{}})
	}
	l := r.levels[at]
	of := l.lanes[e.key]
	if of == nil {
		of = &lane[T, K]{key: e.key}
		of.turn = l.turns.PushBack(of)
		l.lanes[e.key] = of
	}
	e.level, e.lane, e.place = l, of, of.items.PushBack(e)
	r.size++
}

// remove takes an entry out.
func (r *ring[T, K]) remove(e *entry[T, K]) {
	e.lane.items.Remove(e.place)
	if e.lane.items.Len() == 0 {
		if e.lane.turn != nil {
			e.level.turns.Remove(e.lane.turn)
		}
		delete(e.level.lanes, e.key)
	}
	e.level, e.lane, e.place = nil, nil, nil
	r.size--
}

// next takes out the entry whose turn it is, of those for whose key take finds a
// slot.
func (r *ring[T, K]) next(take func(K) bool) *entry[T, K] {
	for _, l := range r.levels {
		for turn := l.turns.Front(); turn != nil; turn = l.turns.Front() {
			of := turn.Value.(*lane[T, K])
			if !take(of.key) {
				l.turns.Remove(turn)
				of.turn = nil
				continue
			}
			l.turns.MoveToBack(turn)
			e := of.items.Front().Value.(*entry[T, K])
			r.remove(e)
			return e
		}
	}
	return nil
}

// first is the entry of the key that is served first; nil when there is none.
func (r *ring[T, K]) first(key K) *entry[T, K] {
	for _, l := range r.levels {
		if of := l.lanes[key]; of != nil {
			return of.items.Front().Value.(*entry[T, K])
		}
	}
	return nil
}

// freed gives the lanes of the key their turn back. It says whether there are
// any.
func (r *ring[T, K]) freed(key K) bool {
	found := false
	for _, l := range r.levels {
		of := l.lanes[key]
		if of == nil {
			continue
		}
		found = true
		if of.turn == nil {
			of.turn = l.turns.PushBack(of)
		}
	}
	return found
}

// waiting are the items of the key, in the order in which they are served.
func (r *ring[T, K]) waiting(key K) []T {
	var items []T
	for _, l := range r.levels {
		of := l.lanes[key]
		if of == nil {
			continue
		}
		for place := of.items.Front(); place != nil; place = place.Next() {
			items = append(items, place.Value.(*entry[T, K]).item)
		}
	}
	return items
}
