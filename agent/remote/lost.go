package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// ErrLost says that the target has been out of reach for so long that its
// RemoteCluster's spec.lostPolicy gives it up: what is deleted need not wait for
// it any more.
var ErrLost = errors.New("the target is lost")

// parked is how soon an object of a target that is out of reach is looked at
// again. It is woken when the target is reached.
const parked = 10 * time.Minute

// unseen is how soon where the record does not say that it is out of reach, so that
// it does not say either when it is reached: as long as the hub takes no status, and
// for the hub's own keys, for all of which the first one speaks.
const unseen = 30 * time.Second

// unreachable is the outcome for an object whose target is out of reach: it says
// so once, and is left alone until the target is reached or lost.
func (c *Clusters) unreachable(ctx context.Context, of *cluster, cause error) error {
	err := fmt.Errorf("target %s is unreachable: %w", of.key, cause)
	var record fleetv1.RemoteCluster
	if c.Client.Get(ctx, of.record, &record) != nil {
		return reconcile.Park(meta.TargetUnreachableReason, err, parked)
	}
	lost, after := lostIn(&record, of.failing(), c.Clock.Now())
	if lost {
		err = fmt.Errorf("target %s: %w (spec.lostPolicy of RemoteCluster %s): %w", of.key, ErrLost, of.record, cause)
	}
	return reconcile.Park(meta.TargetUnreachableReason, err, after)
}

// lostIn says whether the cluster is lost at the time, and how soon to look
// again. Only the time counts in which this process has tried to reach it: before,
// it may have been there with nobody to see it.
func lostIn(record *fleetv1.RemoteCluster, failing, now time.Time) (lost bool, after time.Duration) {
	connected := apimeta.FindStatusCondition(record.Status.Conditions, fleetv1.ConnectedCondition)
	limit, ends := record.LostAfter()
	switch {
	case connected == nil || connected.Status != metav1.ConditionFalse:
		return false, unseen
	case !ends:
		return false, parked
	}
	since := connected.LastTransitionTime.Time
	if failing.After(since) {
		since = failing
	}
	left := since.Add(limit).Sub(now)
	if left <= 0 {
		return true, parked
	}
	return false, min(parked, max(left, time.Second))
}
