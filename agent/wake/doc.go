// Package wake says when an agent looks at an object again: when the source it
// applies has made something else, when its target is connected, when what it
// depends on is ready, and when a ConfigMap or Secret that it reads has changed.
// The kinds of objects that agents reconcile share it.
package wake
