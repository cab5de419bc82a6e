package helm

import (
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

func setCondition(obj *helmv2.HelmRelease, kind string, holds bool, reason, message string) {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	apimeta.SetStatusCondition(&obj.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: reconcile.Message(message), ObservedGeneration: obj.Generation,
	})
}

// falseMessage is what the condition says if it is False.
func falseMessage(obj *helmv2.HelmRelease, kind string) string {
	if found := apimeta.FindStatusCondition(obj.Status.Conditions, kind); found != nil && found.Status == metav1.ConditionFalse {
		return found.Message
	}
	return ""
}

// conditionMessage is what the condition says; empty when there is none.
func conditionMessage(obj *helmv2.HelmRelease, kind string) string {
	if found := apimeta.FindStatusCondition(obj.Status.Conditions, kind); found != nil {
		return found.Message
	}
	return ""
}

// conditionReason is the reason of the condition; empty when there is none.
func conditionReason(obj *helmv2.HelmRelease, kind string) string {
	if found := apimeta.FindStatusCondition(obj.Status.Conditions, kind); found != nil {
		return found.Reason
	}
	return ""
}

// restConditions takes away what conditions say of anything but the release that is
// as it is wanted: what failed on the way to it, and what is not asked for any more.
// As in Flux, a release that was brought back to what is wanted now counts as
// upgraded to it.
func restConditions(obj *helmv2.HelmRelease) {
	all := &obj.Status.Conditions
	if !state.Tests(obj) {
		apimeta.RemoveStatusCondition(all, testSuccessCondition)
	}
	if !state.ChecksDrift(obj) {
		apimeta.RemoveStatusCondition(all, driftedCondition)
	}
	if len(obj.Status.History) == 0 {
		return
	}
	latest := obj.Status.History[0]
	if apimeta.IsStatusConditionFalse(*all, testSuccessCondition) && release.Tested(latest) && !release.TestsFailed(latest) {
		apimeta.RemoveStatusCondition(all, testSuccessCondition)
	}
	if apimeta.IsStatusConditionFalse(*all, releasedCondition) || apimeta.FindStatusCondition(*all, remediatedCondition) != nil {
		setCondition(obj, releasedCondition, true, upgradeSucceededReason, fmt.Sprintf("Helm upgrade succeeded for release %s", titleOf(latest)))
		apimeta.RemoveStatusCondition(all, remediatedCondition)
	}
}

// titleOf is the revision of a snapshot for people.
func titleOf(of *helmv2.Snapshot) string {
	return fmt.Sprintf("%s/%s.v%d with chart %s@%s", of.Namespace, of.Name, of.Version, of.ChartName, of.ChartVersion)
}

// adopted is what a release says that was found as it is wanted.
func adopted(obj *helmv2.HelmRelease) string {
	if len(obj.Status.History) == 0 {
		return "release is in sync"
	}
	return fmt.Sprintf("release %s is in sync", titleOf(obj.Status.History[0]))
}
