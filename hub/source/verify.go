package source

import (
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Verified notes which signatures were found to be good.
func Verified(obj reconcile.Object, message string) {
	setTrue(obj, sourceVerifiedCondition, meta.SucceededReason, message)
}

// Unasked takes the condition away: nobody asks for signatures.
func Unasked(obj reconcile.Object) { clearConditions(obj, sourceVerifiedCondition) }

// IsVerified says whether the signatures were checked for the newest spec.
func IsVerified(obj reconcile.Object) bool {
	c := apimeta.FindStatusCondition(obj.CommonStatus().Conditions, sourceVerifiedCondition)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == obj.GetGeneration()
}
