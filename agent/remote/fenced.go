//go:build !nofence

package remote

// fenced says that the fence decides who may write. It is false only in the
// test build -tags nofence, with which the chaos run shows that it notices two
// writers (docs/chaos.md).
const fenced = true
