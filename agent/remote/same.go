package remote

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

// firstReached is how soon it is looked again whether a target has been reached for
// the first time.
const firstReached = 5 * time.Second

// SameCluster says whether two keys lead to one cluster: by its uid, or where the
// credentials do not tell that, by the address of the server. Until somebody has
// reached the one that is wanted nobody knows, and it returns a Wait.
func (c *Clusters) SameCluster(ctx context.Context, before, wanted shard.Key) (bool, error) {
	switch {
	case before == wanted, before.IsHub() && wanted.IsHub():
		return true, nil
	case c.Local != nil:
		return false, nil // it knows of its own alone
	}
	was, err := c.recordOf(ctx, before)
	if err != nil {
		return false, err
	}
	is, err := c.recordOf(ctx, wanted)
	if err != nil {
		return false, err
	}
	if is == nil || is.Status.LastProbeTime == nil {
		return false, reconcile.Wait(meta.TargetUnreachableReason, fmt.Sprintf(
			"spec.kubeConfig: target %s has not been reached yet: what was applied to %s stays until it is known whether they are one cluster",
			wanted, before), firstReached)
	}
	if old, now := c.uidOf(before, was), c.uidOf(wanted, is); old != "" && now != "" {
		return old == now, nil
	}
	return c.sameServer(ctx, before, wanted), nil
}

// uidOf is that of the cluster which a key has led to last, by this process or else
// by the record; empty where nobody knows it.
func (c *Clusters) uidOf(key shard.Key, record *fleetv1.RemoteCluster) string {
	if own := c.find(key); own != nil && own.reached() != "" {
		return own.reached()
	}
	if record == nil {
		return ""
	}
	return record.Status.ClusterUID
}

// recordOf is the RemoteCluster in force for a key, nil when there is none.
func (c *Clusters) recordOf(ctx context.Context, key shard.Key) (*fleetv1.RemoteCluster, error) {
	namespace := key.Namespace
	if key.IsHub() {
		namespace = c.Namespace
	}
	var all fleetv1.RemoteClusterList
	if err := c.Client.List(ctx, &all, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list the RemoteClusters in %s: %w", namespace, err)
	}
	var holders []*fleetv1.RemoteCluster
	for i := range all.Items {
		if slices.Contains(shard.KeysOf(&all.Items[i], c.Namespace), key) {
			holders = append(holders, &all.Items[i])
		}
	}
	if len(holders) == 0 {
		return nil, nil
	}
	return slices.MinFunc(holders, shard.Precedence), nil
}

// sameServer says whether both kubeconfigs can be read and name one server.
func (c *Clusters) sameServer(ctx context.Context, a, b shard.Key) bool {
	first, err := c.loadConfig(ctx, a)
	if err != nil {
		return false
	}
	second, err := c.loadConfig(ctx, b)
	return err == nil && first.Host == second.Host
}
