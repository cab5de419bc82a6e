package why

import (
	"slices"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/shard"
)

// waits is what keeps the object from being reconciled, the first cause first.
func (f facts) waits() []string {
	var lines []string
	lines = append(lines, f.suspension()...)
	lines = append(lines, f.ownership()...)
	lines = append(lines, f.connection()...)
	if f.subject != nil {
		lines = append(lines, f.prerequisites()...)
		lines = append(lines, f.progress()...)
	}
	return lines
}

func (f facts) suspension() []string {
	var lines []string
	if f.subject != nil && f.subject.suspended {
		lines = append(lines, "Somebody to end the suspension: spec.suspend is true.")
	}
	if f.record != nil && f.record.Spec.Suspend {
		lines = append(lines, "Somebody to end the suspension of RemoteCluster "+f.record.Namespace+"/"+f.record.Name+": spec.suspend is true there.")
	}
	return lines
}

// ownership is what is missing for an agent to act.
func (f facts) ownership() []string {
	switch {
	case f.record == nil:
		return []string{"A RemoteCluster for " + f.keys[0].String() + ": the hub makes it at once when it runs."}
	case f.record.Spec.Suspend:
		return nil
	}
	var lines []string
	if c := f.condition(fleetv1.AssignedCondition); c != nil && c.Status == metav1.ConditionFalse {
		lines = append(lines, "An agent: "+dot(c.Message))
	} else if slices.ContainsFunc(f.keys, func(key shard.Key) bool { return f.assignment(key).Agent == "" }) {
		lines = append(lines, "An agent: the hub has placed no such one. It does at once when it runs and agents are alive.")
	}
	for _, agent := range f.agents() {
		if f.members != nil && f.dead(agent) {
			lines = append(lines, agent+", which is not at work, or for another agent: the hub gives its clusters to others after --reassign-after.")
		}
	}
	if f.subject != nil && len(f.agents()) == 1 && f.subject.meta.Labels[meta.AgentLabel] != f.agents()[0] {
		lines = append(lines, "The hub to put the routing label right. It does at once when it runs.")
	}
	return append(lines, f.handover()...)
}

// handover is who has still to let go.
func (f facts) handover() []string {
	if holder := f.heldByOther(); holder != "" {
		return []string{holder + " to release the fence, or the fence to run out."}
	}
	served, agent := f.record.Status.ServedBy, f.assignment(f.keys[0]).Agent
	if served != "" && agent != "" && served != agent {
		return []string{agent + " to take over from " + served + ", which last reported on the connection."}
	}
	return nil
}

// connection is whether the target is reached.
func (f facts) connection() []string {
	c := f.condition(fleetv1.ConnectedCondition)
	switch {
	case f.record == nil || f.record.Spec.Suspend || len(f.agents()) == 0:
		return nil
	case c == nil:
		return []string{"The first connection to the target."}
	case c.Status != metav1.ConditionTrue && c.Reason == meta.TargetUnreachableReason:
		return []string{"The target to be reached: " + dot(c.Message)}
	case c.Status != metav1.ConditionTrue:
		return []string{"A kubeconfig that can be used: " + dot(c.Message)}
	}
	return nil
}

// prerequisites are the source and the dependencies that are not ready.
func (f facts) prerequisites() []string {
	if f.subject.suspended || f.subject.meta.DeletionTimestamp != nil {
		return nil
	}
	var lines []string
	for _, n := range f.needs {
		why := n.unmet()
		switch {
		case why == "":
		case n.source:
			lines = append(lines, "Its source, "+n.what+", which "+why+".")
		default:
			lines = append(lines, "Its dependency, "+n.what+", which "+why+".")
		}
	}
	return lines
}

// unmet is what is wrong with a need; empty when it is met.
func (n need) unmet() string {
	switch {
	case !n.found:
		return "does not exist"
	case n.source:
		return n.unmetSource()
	case n.expression != "":
		return ""
	case n.outdated:
		return "was not reconciled since its spec was changed"
	case !is(n.ready, metav1.ConditionTrue):
		return "is not ready" + message(n.ready)
	}
	return ""
}

// unmetSource is what is wrong with a source.
func (n need) unmetSource() string {
	fails := is(n.ready, metav1.ConditionFalse)
	switch {
	case n.artifact && fails:
		return "fails, so that nothing newer than its last artifact arrives" + message(n.ready)
	case n.artifact:
		return ""
	case n.suspended:
		return "is suspended and has no artifact"
	case fails:
		return "has no artifact" + message(n.ready)
	}
	return "has no artifact yet"
}

func is(c *metav1.Condition, status metav1.ConditionStatus) bool {
	return c != nil && c.Status == status
}

// dot ends a sentence.
func dot(text string) string { return strings.TrimSuffix(text, ".") + "." }

func message(c *metav1.Condition) string {
	if c == nil || c.Message == "" {
		return ""
	}
	return ": " + strings.TrimSuffix(c.Message, ".")
}

// progress is what the agent itself says that it waits for.
func (f facts) progress() []string {
	s := f.subject
	if s.suspended {
		return nil
	}
	var lines []string
	if s.wanted != f.keys[0] {
		lines = append(lines, "Its objects to be taken away from "+f.keys[0].String()+", before they go to "+s.wanted.String()+".")
	}
	ready := apimeta.FindStatusCondition(s.status.Conditions, meta.ReadyCondition)
	switch {
	case s.meta.DeletionTimestamp != nil:
		return append(lines, "Its objects to be taken away from the target; then the finalizers go: "+strings.Join(s.meta.Finalizers, ", ")+".")
	case ready == nil:
		return append(lines, "The first run.")
	}
	return append(lines, f.run(ready)...)
}

// run is what a run has stopped at, or which run is to come.
func (f facts) run(ready *metav1.Condition) []string {
	s := f.subject
	behind := ready.ObservedGeneration < s.meta.Generation ||
		ready.Status == metav1.ConditionTrue && s.status.ObservedGeneration < s.meta.Generation
	requested := s.meta.Annotations[meta.ReconcileRequestAnnotation]
	switch {
	case ready.Reason == meta.DependencyNotReadyReason && len(f.prerequisites()) == 0:
		return []string{"The next look at its dependencies: " + dot(ready.Message)}
	case ready.Reason == meta.FenceHeldReason && f.heldByOther() == "":
		return []string{"The fence: " + dot(ready.Message)}
	case s.waiting != nil:
		return []string{"What it has applied to become healthy, for which it began to wait " + since(f.now, s.waiting.Time) + ": " + dot(f.healthMessage(ready))}
	case ready.Status == metav1.ConditionUnknown:
		return []string{"The run that is under way: " + dot(ready.Message)}
	case behind:
		return []string{"A run of its newest spec."}
	case requested != "" && requested != s.status.LastHandledReconcileAt:
		return []string{"The run that was asked for at " + requested + "."}
	}
	return nil
}

func (f facts) healthMessage(ready *metav1.Condition) string {
	if healthy := apimeta.FindStatusCondition(f.subject.status.Conditions, meta.HealthyCondition); healthy != nil && healthy.Message != "" {
		return healthy.Message
	}
	return ready.Message
}
