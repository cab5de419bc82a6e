package why

import (
	"fmt"
	"slices"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
)

// section is a part of the answer.
type section struct {
	title string
	lines []string
}

// answer is what is said of an object.
type answer struct {
	sections []section
	// amiss says that something keeps the object from being in order.
	amiss bool
}

func (a *answer) add(title string, lines ...string) {
	if len(lines) > 0 {
		a.sections = append(a.sections, section{title, lines})
	}
}

func (a answer) String() string {
	var text strings.Builder
	for _, s := range a.sections {
		text.WriteString(s.title + "\n")
		for _, line := range s.lines {
			text.WriteString("  " + line + "\n")
		}
	}
	return text.String()
}

// explain is pure: the same facts give the same answer.
func explain(f facts) answer {
	var a answer
	waits, trouble := f.waits(), f.lastError()
	a.amiss = len(waits) > 0 || f.failing()
	if len(waits) == 0 {
		waits = []string{"Nothing."}
		if a.amiss {
			waits = []string{"Nothing that the API tells of: the last error is in the way."}
		}
	}
	a.sections = append(a.sections, section{title: f.kind + " " + f.name.String() + " " + f.headline()})
	a.add("Owner", f.owner()...)
	a.add("Fence", f.fenceLines()...)
	a.add("Waits for", waits...)
	a.add("Last error", trouble...)
	a.add("Agent", f.liveLines()...)
	a.add("Could not be read", f.unread...)
	return a
}

// headline is the state in a few words.
func (f facts) headline() string {
	if f.subject == nil {
		switch connected := f.condition(fleetv1.ConnectedCondition); {
		case f.record.Spec.Suspend:
			return "is suspended."
		case connected == nil:
			return "was not connected to yet."
		case connected.Status == metav1.ConditionTrue:
			return "is connected" + ago(f.now, connected.LastTransitionTime.Time) + "."
		default:
			return "is not connected" + ago(f.now, connected.LastTransitionTime.Time) + "."
		}
	}
	ready := apimeta.FindStatusCondition(f.subject.status.Conditions, meta.ReadyCondition)
	switch {
	case f.subject.meta.DeletionTimestamp != nil:
		return "is being deleted" + ago(f.now, f.subject.meta.DeletionTimestamp.Time) + "."
	case f.subject.suspended:
		return "is suspended."
	case ready == nil:
		return "was not looked at by any agent yet."
	case ready.Status == metav1.ConditionTrue:
		return "is ready" + ago(f.now, ready.LastTransitionTime.Time) + ": " + dot(ready.Message)
	case ready.Status == metav1.ConditionFalse:
		return "is not ready" + ago(f.now, ready.LastTransitionTime.Time) + ": " + ready.Reason + "."
	default:
		return "is being reconciled" + ago(f.now, ready.LastTransitionTime.Time) + ": " + ready.Reason + "."
	}
}

// failing says that a condition tells of a failure.
func (f facts) failing() bool {
	if f.subject == nil {
		return false // its conditions are what it waits for
	}
	own := f.subject.status.Conditions
	return !f.subject.suspended && (apimeta.IsStatusConditionFalse(own, meta.ReadyCondition) || apimeta.IsStatusConditionTrue(own, meta.StalledCondition))
}

// lastError is the failure that the conditions tell of, and else the newest
// Warning.
func (f facts) lastError() []string {
	var lines []string
	if f.subject != nil {
		for _, kind := range []string{meta.StalledCondition, meta.ReadyCondition} {
			c := apimeta.FindStatusCondition(f.subject.status.Conditions, kind)
			if c == nil || c.Status != failure(kind) || len(lines) > 0 {
				continue
			}
			line := c.Reason + ago(f.now, c.LastTransitionTime.Time) + ": " + dot(c.Message)
			if kind == meta.StalledCondition {
				line += " (it is not tried again until somebody changes that)"
			}
			lines = append(lines, line)
		}
	} else if c := f.condition(fleetv1.ConnectedCondition); c != nil && c.Status == metav1.ConditionFalse {
		lines = append(lines, c.Reason+ago(f.now, c.LastTransitionTime.Time)+": "+dot(c.Message))
	}
	if w := f.warning; w != nil && !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, w.message) }) {
		lines = append(lines, "The newest warning, "+w.reason+ago(f.now, w.when)+": "+dot(w.message))
	}
	return lines
}

// failure is the status of the condition that means one.
func failure(condition string) metav1.ConditionStatus {
	if condition == meta.StalledCondition {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// condition is one of the RemoteCluster's.
func (f facts) condition(kind string) *metav1.Condition {
	if f.record == nil {
		return nil
	}
	return apimeta.FindStatusCondition(f.record.Status.Conditions, kind)
}

// liveLines are what the agent itself says.
func (f facts) liveLines() []string {
	l := f.live
	switch {
	case l == nil:
		return nil
	case l.unknown:
		return []string{l.agent + " does not have the key " + f.keys[0].String() + " (yet, or any more)."}
	}
	lines := []string{breaker(l)}
	lines = append(lines, fmt.Sprintf("%s; %s: its fence is %s.", count(l.Queued, "object waits", "objects wait")+" for a turn", count(l.Running, "has a worker", "have a worker"), l.Fence))
	if f.subject != nil {
		lines = append(lines, place(l.Waiting, f.kind, f.name.String()))
	}
	if l.Draining {
		lines = append(lines, "It lets what is in flight end, to hand the key over.")
	}
	return lines
}

// place is which turn an object gets among those of its kind.
func place(waiting []string, kind, name string) string {
	kind = strings.ToLower(kind)
	of := slices.DeleteFunc(slices.Clone(waiting), func(one string) bool { return !strings.HasPrefix(one, kind+" ") })
	if at := slices.Index(of, kind+" "+name); at >= 0 {
		return fmt.Sprintf("It is number %d of the %d that wait for this target.", at+1, len(of))
	}
	return "It is not among those that wait for a turn."
}

func breaker(l *live) string {
	switch l.Breaker {
	case "closed":
		return l.agent + " reaches the target (breaker closed)."
	case "open":
		return l.agent + " does not reach the target (breaker open): " + dot(l.Error)
	default:
		return l.agent + " is connecting to the target for the first time."
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// ago is how long since a time, for people.
func ago(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	return ", " + since(now, then)
}

func since(now, then time.Time) string {
	passed := max(now.Sub(then), 0)
	switch {
	case passed < 2*time.Minute:
		return fmt.Sprintf("%ds ago", int(passed.Seconds()))
	case passed < 2*time.Hour:
		return fmt.Sprintf("%dm ago", int(passed.Minutes()))
	case passed < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(passed.Hours()))
	default:
		return fmt.Sprintf("%dd ago", int(passed.Hours()/24))
	}
}
