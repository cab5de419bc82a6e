package v1

import (
	"time"

	"github.com/headwater-dev/headwater/api/meta"
)

const (
	// timeoutMargin is what the default timeout leaves of the interval.
	timeoutMargin = 30 * time.Second
	// minTimeout is the least that an apply is given, whatever the spec says.
	minTimeout = 30 * time.Second
)

// Parts of the inventory and the history, which other kinds have as well.
type (
	// ResourceInventory lists the objects that were applied.
	ResourceInventory = meta.ResourceInventory
	// ResourceRef names one applied object.
	ResourceRef = meta.ResourceRef
)

// CommonStatus is the part of the status that all kinds share.
func (in *Kustomization) CommonStatus() *meta.Status { return &in.Status.Status }

// Suspended says whether spec.suspend holds.
func (in *Kustomization) Suspended() bool { return in.Spec.Suspend }

// Interval is the time between two comparisons of cluster and source.
func (in *Kustomization) Interval() time.Duration { return in.Spec.Interval.Duration }

// RetryInterval is the time until a failed reconcile is repeated: the interval
// unless the spec says otherwise.
func (in *Kustomization) RetryInterval() time.Duration {
	if in.Spec.RetryInterval == nil {
		return in.Interval()
	}
	return in.Spec.RetryInterval.Duration
}

// Timeout is the time limit of validation, apply and health checks together:
// what the spec says, else the interval less 30 seconds, and never below 30
// seconds.
func (in *Kustomization) Timeout() time.Duration {
	timeout := in.Interval() - timeoutMargin
	if in.Spec.Timeout != nil {
		timeout = in.Spec.Timeout.Duration
	}
	return max(timeout, minTimeout)
}

// SourceNamespace is the namespace in which spec.sourceRef is looked up.
func (in *Kustomization) SourceNamespace() string {
	if in.Spec.SourceRef.Namespace == "" {
		return in.Namespace
	}
	return in.Spec.SourceRef.Namespace
}
