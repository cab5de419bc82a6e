// Package imports holds the direction of the imports, as a test: which of this
// module's packages each of them may import, and which libraries belong to one
// place alone.
//
// The linter's depguard says the coarse half of it while one types; this is
// the whole table, and the one to change when the architecture changes.
package imports
