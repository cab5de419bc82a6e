// Package bucket makes sources of the objects of a bucket: the source.Fetcher of
// Bucket, for whatever speaks S3, over minio-go, and for the storage of Google and
// Microsoft, over those vendors' clients.
//
// Resolve lists the keys and their etags, leaves out what the .sourceignore at
// the root of the bucket and spec.ignore exclude, and hashes the list: that is
// the revision. Nothing is fetched while the list stays the same. Fetch lists
// again, so that it can say that the bucket changed meanwhile rather than mix two
// states, takes from the last artifact what has the same etag still, and fetches
// the others, a few at once, each in the state of the list.
//
// It promises that credentials are sent to spec.endpoint alone, and what they are
// had for to the service of tokens alone: redirects are not followed. Lists,
// objects and their number are bounded, and each run by spec.timeout.
//
// It never uses the hub's own identity at an endpoint that is not the cloud's, and
// reads no file that a Secret names.
package bucket
