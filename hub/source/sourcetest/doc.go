// Package sourcetest is the contract that every source.Fetcher is held to, run
// against a real remote of its kind through the same Reconciler that runs in the
// hub.
//
// It promises nothing about a protocol: what is special to a kind is tested
// beside the kind.
package sourcetest
