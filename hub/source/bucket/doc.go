// Package bucket makes sources of the objects of a bucket: the source.Fetcher of
// Bucket, for whatever speaks S3, over minio-go.
//
// Resolve lists the keys and their etags, leaves out what the .sourceignore at
// the root of the bucket and spec.ignore exclude, and hashes the list: that is
// the revision. Nothing is fetched while the list stays the same. Fetch lists
// again, so that it can say that the bucket changed meanwhile rather than mix two
// states, and fetches a few objects at once, each by the etag of the list.
//
// It promises that credentials are sent to spec.endpoint alone: redirects are not
// followed. Lists, objects and their number are bounded, and each run by
// spec.timeout.
//
// It knows no cloud's login and no service of temporary credentials: objects that
// ask for these are stalled.
package bucket
