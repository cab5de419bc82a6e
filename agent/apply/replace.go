package apply

import (
	"context"
	"errors"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rehearsalName is that of an object that is dry-run and never made.
const rehearsalName = "headwater-rehearsal"

// forces says whether the object may be deleted and made anew.
func (a *Applier) forces(obj *unstructured.Unstructured) bool {
	return a.Force || a.Owner.says(obj, "force", "enabled")
}

// hasToReplace says whether the server refuses a change that it would accept in
// a new object. FLUX.md §2.2 takes every conflict and everything invalid for
// that. But a conflict passes, and to delete what would be invalid as a new
// object as well only loses it. There are too many words for immutable to know
// them all, so the server is asked for a new object of another name.
func (a *Applier) hasToReplace(ctx context.Context, desired *unstructured.Unstructured, rejected error) bool {
	if !apierrors.IsInvalid(rejected) {
		return saysImmutable(rejected.Error()) // the words of webhooks
	}
	complaints := causesOf(rejected)
	if len(complaints) > 0 && !slices.ContainsFunc(complaints, func(cause metav1.StatusCause) bool { return !saysImmutable(cause.Message) }) {
		return true
	}
	another := desired.DeepCopy()
	another.SetName(rehearsalName)
	err := a.apply(ctx, another, client.DryRunAll)
	return err == nil || apierrors.IsInvalid(err) && areOthers(complaints, causesOf(err))
}

func saysImmutable(text string) bool { return strings.Contains(text, "is immutable") }

// causesOf are the fields that the server complains of.
func causesOf(err error) []metav1.StatusCause {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	return status.Status().Details.Causes
}

// areOthers says whether there are complaints of both objects, and none in
// common.
func areOthers(some, others []metav1.StatusCause) bool {
	return len(some) > 0 && len(others) > 0 && !slices.ContainsFunc(some, func(cause metav1.StatusCause) bool {
		return slices.ContainsFunc(others, func(other metav1.StatusCause) bool {
			return cause.Field == other.Field && cause.Type == other.Type
		})
	})
}
