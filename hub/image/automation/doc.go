// Package automation reconciles ImageUpdateAutomations: it checks a Git
// repository out, writes the images that ImagePolicies have chosen where
// markers name them, and pushes that as one commit.
//
// It promises that
//   - nothing but the marked values of a file changes, byte for byte; a file
//     that cannot be edited so is left alone, and the status names it;
//   - a push is whole or not at all: what a template, a signature or a server
//     refuses leaves the repository as it was;
//   - there is no empty commit, and none in answer to its own;
//   - a branch that somebody else pushed to meanwhile is taken up anew, never
//     overwritten, unless it is the automation's own push branch.
//
// Which values to set (setters.go) and what to say of it (message.go) are
// functions of their arguments.
package automation
