// Package access reads what Secrets say about how to reach a remote: TLS
// settings and proxies. The kinds that speak HTTP share it.
//
// It promises that errors name the field of the spec, the Secret and its keys,
// and never a value.
//
// It never keeps a Secret: the hub holds none in memory for longer than it uses
// it, so each session reads it again, live.
package access
