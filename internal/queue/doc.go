// Package queue is the work queue of controllers: fair between the targets, on
// agents, and between the namespaces, in the hub.
//
// Work is queued by its key and served round robin over the keys, and no key ever
// has more than its share of workers. So a target that does not answer, or a
// namespace with a thousand objects, delays nobody but itself. The share is counted
// in Slots, which several controllers may have in common, as those of an agent do:
// one that has a worker free is given the slot that another one gives back, so that
// they take turns.
//
// A Queue takes the place of controller-runtime's priority queue and keeps its
// promises: an item is in the queue once, and is worked on by one worker at a
// time; a higher priority goes first, so that the objects of an initial list give
// way to changes; the soonest of several times counts, and the highest of
// several priorities.
//
// It never starves an item of the priority being served: each turn of the ring
// takes one from each key. Lower priorities wait for higher ones, as they do in
// controller-runtime.
package queue
