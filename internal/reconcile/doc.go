// Package reconcile is the one reconcile loop that all kinds run in.
//
// A kind supplies Reconcile and Finalize as straight lines of phases and says
// how it went by the error that it returns. The loop does the rest, the same
// for every kind: finalizer, suspension, conditions, one status write, events,
// metrics and the time of the next run.
//
// It never holds a worker to wait, never writes a status that did not change,
// and never lets a secret or a URL's credentials out through a condition, an
// event or a log line.
package reconcile
