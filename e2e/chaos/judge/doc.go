// Package judge decides from the records of the proxies in front of the targets
// whether at every moment one agent at most acted for each key, and whether each
// key had an owner again in time; and of each Helm release, whether at every
// moment one action at most was at work on it.
//
// It promises to believe nobody: who wrote is the process that owned the
// connection, who might write is what the successful writes to the fence Lease
// on the same record say, and when is the time at the proxy. What an agent says
// of itself, in its status, its logs or its user agent, plays no part. It is
// pure: the same record has the same verdict, and records made by hand, with all
// that must be condemned, are its tests.
//
// It never proves that nothing can go wrong, only that nothing did; so the same
// run with the fence disabled has to be condemned.
package judge
