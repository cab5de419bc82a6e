// Package conformance holds the API against what it promises: that it is a
// superset of Flux's, that every version which Flux has served is served, that
// nothing is lost between them and the Go types, and that every validation
// refuses what it is there for and names the field.
//
// There is nothing in it but tests. They walk the schemas, so that a new field
// is covered without a new case, and where they speak of what an API server
// does they ask a real one.
package conformance
