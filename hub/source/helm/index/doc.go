// Package index reads the indexes of Helm repositories: it turns what a
// repository serves, YAML or JSON, into JSON to store, and into the little that
// choosing a version needs, and it chooses.
//
// It promises that an index is never held in memory as a whole: JSON is read
// entry by entry, and so is YAML, which is cut into entries by its indentation
// first, as no YAML parser reads a stream. What it cannot cut it reads whole
// when that is small, and refuses otherwise. Entries, and their number, are
// bounded. Entries that are no charts are left out, as Helm does.
//
// It never fetches anything, and never looks into charts.
package index
