// Package artifact moves the output of sources from the hub to the agents as
// immutable files.
//
// On the hub, a Store keeps one file per artifact at Flux's path
// (<kind>/<namespace>/<name>/<file>), a Server hands them out over HTTP, and
// Archive makes the same bytes of the same tree, always: the digest of an
// artifact depends on its content alone. On the agent, a Cache holds
// downloaded artifacts by digest, and Files or UnpackTo read them.
//
// It promises that
//   - a file is complete or absent, also after kill -9: everything is written
//     to a locked temporary file and renamed, and what a killed process left
//     is swept at the next start;
//   - nothing is read from the cache whose digest was not checked by this
//     process;
//   - unpacking never leaves its directory, never makes a link or a device,
//     and stops at its limits, with an error that names the file.
//
// It never decides what is fetched or when, and knows no kind of the API.
//
// Choosing is apart from doing: garbage and evictions are picked by pure
// functions over a listing, so no index has to be kept right across crashes
// or between the processes of a node that share a cache.
package artifact
