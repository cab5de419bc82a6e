// Package expr evaluates the CEL expressions that users write into their
// objects: when a dependency counts as ready, and how the health of a custom
// resource is told.
//
// It promises that an expression ends: its length, its cost and its time are
// bounded, those of each call before it is made, since anybody who may write a
// Kustomization may write one. It reads nothing but what it is given, and keeps
// no object that it was given. Compiled expressions are kept, bounded in number,
// because the same few are asked for at every run.
//
// The language is the one that Flux's controllers compile: CEL with optional
// types, comparisons across number types, and the extensions for strings, sets
// and encoders.
package expr
