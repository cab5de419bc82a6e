package judge

import (
	"time"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// Case is what is judged: one run.
type Case struct {
	// Keys are what is owned, each with the record of its own proxy.
	Keys []Key
	// Agents are the names of the agents' processes by process id, those that
	// have ended included.
	Agents map[int]string
	// Faults in order of time.
	Faults []Fault
	// Bound is how long after a fault's start each key has an owner again.
	Bound time.Duration
	// Removed says when an object was taken out of the source, by name. What
	// is not in it may not be deleted.
	Removed map[string]time.Time
	// Revision is the last commit, and Chart the version of the chart in it.
	Revision, Chart string
}

// Key is one target as one kubeconfig Secret names it.
type Key struct {
	Name string
	// User is whom the kubeconfig's credential names. What others write is no
	// agent's.
	User string
	// Records of the key's proxy, by begin.
	Records []testenv.Record
	// Releases are the Helm releases on the target.
	Releases []Release
	// Final is how the run left the key.
	Final Final
}

// Release is one Helm release. The names of its objects are its own, or begin
// with it and a dash, and no other object's does.
type Release struct {
	Name string
	// Left are the times at which its HelmRelease was deleted. At no other is it
	// uninstalled, unless it has failed.
	Left []time.Time
	// Counted are the failures that its HelmRelease has shown and that the run
	// has not brought about.
	Counted []string
	// Final is how the run left it. Revision is the version of its chart.
	Final Final
}

// Final is what the hub and the target say of a key at the end.
type Final struct {
	// Ready is the status of the condition Ready and Revision what was applied
	// last, as the hub says.
	Ready, Revision string
	// Wrong is what an administrator of the target finds amiss, if anything.
	Wrong string
}

// Fault is something that was done to the product.
type Fault struct {
	Name string
	// Start and End are when it was done and, where it is undone, when that
	// was; else they are equal.
	Start, End time.Time
	// Settled is when all keys were seen Ready again after it.
	Settled time.Time
	// Victims are processes whose work does not count as recovery from it.
	Victims []int
	// Unreachable are keys that nobody can act for while it lasts: for them the
	// bound counts from its end.
	Unreachable map[string]bool
	// Still says that no key may change agents.
	Still bool
	// Owners are the agents of which one has to act for a key in the end, by
	// key; nil means any.
	Owners map[string][]string
}

// Violation is a promise that was not kept.
type Violation struct {
	// Rule is one of the constants below.
	Rule string
	Key  string
	// Fault is the last one that began before.
	Fault string
	Text  string
}

// String is one line for people.
func (v Violation) String() string {
	line := v.Rule + ": " + v.Key + ": " + v.Text
	if v.Fault != "" {
		line += " (during or after: " + v.Fault + ")"
	}
	return line
}

// The rules.
const (
	// NoFence: a write lies inside no tenure of its process.
	NoFence = "write without the fence"
	// TwoWriters: a process wrote while another might have, or had begun.
	TwoWriters = "two writers"
	// EarlyFence: the fence was taken from a holder that had neither released
	// it nor let it run out.
	EarlyFence = "fence taken too early"
	// Stranger: nobody knows who wrote, or one process wrote as another.
	Stranger = "unknown writer"
	// LateOwner: nobody acted for a key in time.
	LateOwner = "no owner in time"
	// Moved: a key changed agents where none may.
	Moved = "moved without need"
	// WrongOwner: an agent acts for a key that placement may not give it.
	WrongOwner = "wrong owner"
	// WrongPrune: something was deleted that the source has.
	WrongPrune = "pruned wrongly"
	// TwoActions: somebody wrote about a release while another's action on it was
	// under way, or outside of any.
	TwoActions = "two actions on one release"
	// Skipped: a version of a release does not follow the one before.
	Skipped = "version skipped"
	// Remedied: a release was undone that had not failed.
	Remedied = "remedied without a failure"
	// Counted: a failure was counted where only a process had ended.
	Counted = "failure counted without one"
	// NotReady: the end is not what the last commit says.
	NotReady = "not ready at the end"
)

// Verdict is the outcome.
type Verdict struct {
	Violations []Violation
	// Writes, Tenures and Writers are how many there were, Leases left out: a
	// verdict on nothing is worth nothing.
	Writes, Tenures, Writers int
	// Actions is how many there were on releases, and Interrupted how many of
	// them somebody else has ended, by the status that they were left in.
	Actions     int
	Interrupted map[string]int
	// Recoveries has one entry for each fault.
	Recoveries []Recovery
}

// Recovery says how long after a fault the keys had an owner again.
type Recovery struct {
	Fault string
	// Slowest is the key that took longest, and Time how long: until the first
	// write that succeeded, so a commit's way is part of it.
	Slowest string
	Time    time.Duration
	// Moves is how many keys another agent wrote to afterwards.
	Moves int
}
