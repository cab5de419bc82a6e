// Package view keeps what is known of the objects of one target without asking
// for them again: for each object its uid, its resourceVersion and a fingerprint
// of its metadata, and nothing else of it.
//
// It promises that
//   - what it says of an object was true at the resourceVersion that it says it
//     of, and of a kind that it could not read it says nothing;
//   - a change that it hears of is told at once to whoever asked to be told.
//
// It never reads the content of an object, never writes, and never decides what a
// change means.
//
// There is one plain watch for each kind, selected by label at the server, and no
// informer: those of a fleet, mostly empty, would cost a hundred times as much
// as what they hold. Where watches are not allowed, or not wanted, each kind is
// listed when what is known of it is too old.
package view
