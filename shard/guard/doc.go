// Package guard keeps an agent's reconcilers to the objects that are its own:
// ownership is checked when work is taken from the queue, since a delayed
// request can outlive the label that routed it here. (The write itself is
// checked once more, by the gate of the target's connection.)
package guard
