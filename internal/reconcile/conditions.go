package reconcile

import (
	"errors"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// maxMessage is the longest message that a condition may carry.
const maxMessage = 32768

// outcome is how a run ended, as the metrics and the requeue see it.
type outcome string

const (
	succeeded outcome = "success"
	waiting   outcome = "wait"
	failed    outcome = "failure"
	stalled   outcome = "stall"
	disowned  outcome = "not-owner"
)

// next is what the loop does after a run.
type next struct {
	outcome outcome
	// after is the time until the next run; zero means none, or for a failure
	// the controller's backoff.
	after time.Duration
}

// finish turns the end of a run into conditions and what comes next. It is
// pure: it looks at nothing but its arguments. The conditions of an object that
// was lost to another agent are left alone.
func finish(obj Object, err error, ready func() (reason, message string)) next {
	status := obj.CommonStatus()
	var (
		w *pending
		s *stall
		f *failure
	)
	switch {
	case errors.Is(err, ErrNotOwner):
		return next{outcome: disowned}
	case err == nil:
		reason, message := ready()
		set(obj, meta.ReadyCondition, metav1.ConditionTrue, reason, message)
		clearConditions(obj, meta.ReconcilingCondition, meta.StalledCondition)
		handled(obj)
		status.ObservedGeneration = obj.GetGeneration()
		return next{outcome: succeeded, after: obj.Interval()}
	case errors.As(err, &w):
		set(obj, meta.ReadyCondition, waitStatus(w.reason), w.reason, err.Error())
		set(obj, meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingReason, err.Error())
		clearConditions(obj, meta.StalledCondition)
		handled(obj)
		return next{outcome: waiting, after: w.after}
	case errors.As(err, &s):
		set(obj, meta.ReadyCondition, metav1.ConditionFalse, s.reason, err.Error())
		set(obj, meta.StalledCondition, metav1.ConditionTrue, s.reason, err.Error())
		clearConditions(obj, meta.ReconcilingCondition)
		handled(obj)
		status.ObservedGeneration = obj.GetGeneration()
		return next{outcome: stalled}
	}
	reason, after := meta.FailedReason, obj.RetryInterval()
	if errors.As(err, &f) {
		reason = f.reason
		if f.after > 0 {
			after = f.after
		}
	}
	set(obj, meta.ReadyCondition, metav1.ConditionFalse, reason, err.Error())
	set(obj, meta.ReconcilingCondition, metav1.ConditionTrue, meta.ProgressingWithRetryReason, err.Error())
	clearConditions(obj, meta.StalledCondition)
	handled(obj)
	return next{outcome: failed, after: after}
}

func waitStatus(reason string) metav1.ConditionStatus {
	if reason == meta.ProgressingReason {
		return metav1.ConditionUnknown
	}
	return metav1.ConditionFalse
}

// handled notes that the reconcile request on the object has been answered.
func handled(obj Object) {
	if at, ok := obj.GetAnnotations()[meta.ReconcileRequestAnnotation]; ok {
		obj.CommonStatus().LastHandledReconcileAt = at
	}
}

// suspend says that the object rests. No other condition is touched.
func suspend(obj Object) {
	set(obj, meta.SuspendedCondition, metav1.ConditionTrue, meta.SuspendedReason,
		"spec.suspend is true: nothing is reconciled until it is removed")
}

// Message is the text as a condition may carry it: without credentials, and no
// longer than the API server takes.
func Message(text string) string {
	text = strings.ToValidUTF8(Redact(text), "?")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage-3], "") + "..."
	}
	return text
}

func set(obj Object, kind string, status metav1.ConditionStatus, reason, message string) {
	before := apimeta.FindStatusCondition(obj.CommonStatus().Conditions, kind)
	if before == nil || before.Message != message {
		// What it says already it may say.
		message = Message(message)
	}
	apimeta.SetStatusCondition(&obj.CommonStatus().Conditions, metav1.Condition{
		Type:               kind,
		Status:             status,
		Reason:             reason,
		Message:            message,
		ObservedGeneration: obj.GetGeneration(),
	})
}

func clearConditions(obj Object, kinds ...string) {
	for _, kind := range kinds {
		apimeta.RemoveStatusCondition(&obj.CommonStatus().Conditions, kind)
	}
}
