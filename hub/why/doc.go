// Package why explains an object of the fleet to people: hub why KIND/NAME says
// who owns its target, where the fence is that keeps the others out, what the
// object waits for, and what went wrong last.
//
// It reads the hub's API with the rights of whoever asks, and nothing else: no
// process of ours has to run. With --live the agent that owns the target is asked
// as well; with --target-kubeconfig the fence is read where it lies. The
// kubeconfig in the target's Secret is never used: what a tenant has put there
// is not run on the machine of whoever asks.
//
// It promises that what could not be read is said, and never taken for absent. It
// writes nothing.
//
// What was read (facts) is turned into sentences by a pure function, since there
// are many cases and each of them is to be seen in a table.
package why
