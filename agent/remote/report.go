package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// fieldManager owns the agent's part of a RemoteCluster's status.
	fieldManager = "headwater-agent"
	// reportEvery bounds how old the latency and the time of the last probe in
	// a RemoteCluster's status get while nothing else changes.
	reportEvery = 5 * time.Minute

	connectedReason = "Connected"
)

// report writes what is known of the connection to the RemoteCluster's status,
// when it says something new.
func (c *Clusters) report(ctx context.Context, of *cluster) {
	if of.draining() || of.key.IsHub() && of.key.Partition != 0 {
		return
	}
	var record fleetv1.RemoteCluster
	if err := c.Client.Get(ctx, of.record, &record); err != nil {
		return
	}
	current, err := of.state()
	conditions, now := slices.Clone(record.Status.Conditions), c.Clock.Now()
	connection := apimeta.SetStatusCondition(&conditions, connectedCondition(current, err, now))
	changed := connection
	if fenced, ok := of.fencedCondition(ctx, now); ok {
		changed = apimeta.SetStatusCondition(&conditions, fenced) || changed
	}
	if !changed && !c.outdated(&record, current, now) {
		return
	}
	condition := *apimeta.FindStatusCondition(conditions, fleetv1.ConnectedCondition)
	own := []metav1.Condition{condition}
	if fenced := apimeta.FindStatusCondition(conditions, fleetv1.FencedCondition); fenced != nil {
		own = append(own, *fenced)
	}
	status := statusOf(current, cmp.Or(of.reached(), record.Status.ClusterUID), own, now)
	status["servedBy"] = c.Agent
	if err := c.applyStatus(ctx, of.record, status); err != nil {
		log.FromContext(ctx).Info("status of the target not written", "error", reconcile.Redact(err.Error()))
		return
	}
	if connection {
		c.announce(ctx, &record, condition)
	}
}

// outdated says whether what the record has besides conditions is not what is known,
// or is old.
func (c *Clusters) outdated(record *fleetv1.RemoteCluster, current *session, now time.Time) bool {
	status := &record.Status
	if status.ServedBy != c.Agent || current == nil {
		return status.ServedBy != c.Agent
	}
	return status.Version != *current.version.Load() || status.LastProbeTime == nil || now.Sub(status.LastProbeTime.Time) >= reportEvery
}

func connectedCondition(current *session, err error, now time.Time) metav1.Condition {
	condition := metav1.Condition{
		Type: fleetv1.ConnectedCondition, Status: metav1.ConditionTrue, Reason: connectedReason, Message: "connected",
		LastTransitionTime: metav1.NewTime(now),
	}
	if current == nil {
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, reasonOf(err), "not connected yet"
		if err != nil {
			condition.Message = reconcile.Message(err.Error())
		}
	}
	return condition
}

// fencedCondition says where the fence is, once it was made.
func (c *cluster) fencedCondition(ctx context.Context, now time.Time) (metav1.Condition, bool) {
	condition := metav1.Condition{
		Type: fleetv1.FencedCondition, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(now),
	}
	switch c.fence.ledger.known(ctx) {
	case "":
		return condition, false
	case fleetv1.HubFence:
		condition.Reason = "LeaseInHub"
		condition.Message = fmt.Sprintf("fenced by Lease %s/%s in the hub, for the kubeconfig allows no Leases in namespace %s of the target: "+
			"without the hub nothing is written to the target", c.fence.hub.namespace, c.fence.name, c.fence.target.namespace)
	default:
		condition.Reason = "LeaseInTarget"
		condition.Message = fmt.Sprintf("fenced by Lease %s/%s in the target", c.fence.target.namespace, c.fence.name)
	}
	return condition, true
}

func reasonOf(err error) string {
	if isConfigError(err) {
		return meta.KubeConfigInvalidReason
	}
	return meta.TargetUnreachableReason
}

// statusOf is the agent's part of the status. Which cluster it is stays known while
// it is out of reach: what was applied is there.
func statusOf(current *session, uid string, own []metav1.Condition, now time.Time) map[string]any {
	status := map[string]any{"conditions": own}
	if uid != "" {
		status["clusterUID"] = uid
	}
	if current != nil {
		status["version"] = *current.version.Load()
		status["latencyMilliseconds"] = current.latency.Milliseconds()
		status["lastProbeTime"] = metav1.NewTime(now)
	}
	return status
}

func (c *Clusters) applyStatus(ctx context.Context, name types.NamespacedName, status map[string]any) error {
	body, err := json.Marshal(map[string]any{
		"apiVersion": fleetv1.GroupVersion.String(),
		"kind":       "RemoteCluster",
		"metadata":   map[string]any{"name": name.Name, "namespace": name.Namespace},
		"status":     status,
	})
	if err != nil {
		return err
	}
	// The loop that reports also probes, whether the hub answers or not.
	ctx, cancel := context.WithTimeout(ctx, c.ProbeTimeout)
	defer cancel()
	record := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Name: name.Name, Namespace: name.Namespace}}
	patch := client.RawPatch(types.ApplyPatchType, body)
	if err := c.Client.Status().Patch(ctx, record, patch, client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
		return fmt.Errorf("remote cluster %s: %w", name, err)
	}
	return nil
}

func (c *Clusters) announce(ctx context.Context, record *fleetv1.RemoteCluster, condition metav1.Condition) {
	severity := reconcile.SeverityInfo
	if condition.Status != metav1.ConditionTrue {
		severity = reconcile.SeverityError
	}
	c.Events.Publish(ctx, record, reconcile.Event{Severity: severity, Reason: condition.Reason, Message: condition.Message})
}
