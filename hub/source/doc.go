// Package source is the algorithm that all kinds of sources share: resolve the
// remote, and when it has moved (or the spec's excludes have, or the artifact
// is gone from the store) fetch it, archive it, publish the archive, and collect
// what it replaced.
//
// A kind supplies a Fetcher: Resolve, which asks the remote what the object's
// reference points to now, in one cheap request, and Fetch, which brings that
// revision's files. Everything else (storage, conditions, the artifact in status,
// excludes, the event, deletion) is here once.
//
// It promises that nothing is fetched when nothing has changed, that an
// artifact in status is in the store or else rebuilt, and that the last
// artifact stays served while the remote is away or wrong.
//
// It never writes to the API server and never touches Ready: that is the loop's
// (internal/reconcile). It knows no protocol: that is the kinds', in packages of
// their own below this one. The suite that holds each of them to the contract is
// in sourcetest.
package source
