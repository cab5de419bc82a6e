// Package e2e tests the hub and the agents as a user has them: the real
// binaries, each under a ServiceAccount of its own, against real API servers and
// a real Git server. The tests see what a user sees: the objects on the hub, the
// objects on the targets, and the requests that a target's API server gets.
package e2e
