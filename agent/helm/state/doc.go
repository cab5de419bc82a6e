// Package state decides what is done next about a HelmRelease: of what its
// status says, what Helm's storage has, and what is wanted, it makes one action.
//
// It promises to be a function of its arguments: it asks nothing, writes
// nothing, and is asked again after each action with what is seen then. So it
// does not matter which process an action was begun by.
//
// Two rules keep a release from harm. A release that an agent has left in the
// middle of an action is unlocked and tried again; that counts as no failure and
// is never undone. And nothing is undone, or tried once more, than as often as
// the spec allows.
package state
