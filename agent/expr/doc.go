// Package expr evaluates the CEL expressions that users write into their
// objects: when a dependency counts as ready, and how the health of a custom
// resource is told.
//
// It promises that an expression ends, in little memory, since anybody who may
// write a Kustomization may write one. Its length and its cost are bounded, those of
// each call before it is made. So is what an evaluation makes, each value counted
// with all that is in it: no comparison and no error that quotes a value meets one
// that shares its parts so often that it cannot be gone through. It reads nothing but what it is given, and keeps
// no object that it was given. Short expressions are kept compiled, bounded in
// number, because the same few are asked for at every run.
//
// The language is the one that Flux's controllers compile: CEL with optional
// types, comparisons across number types, and the extensions for strings, sets
// and encoders.
package expr
