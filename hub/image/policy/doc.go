// Package policy reconciles ImagePolicies: each chooses one tag of an
// ImageRepository, and looks its digest up where the policy asks for that.
//
// It promises that the same tags and the same policy give the same choice; that
// an image once chosen stays in the status while a later choice fails; and that
// a repository of another namespace is read only where that repository allows
// it.
//
// What to choose (choose.go) is a function of its arguments.
package policy
