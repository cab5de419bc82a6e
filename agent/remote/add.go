package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/internal/queue"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

const (
	probeEvery   = 10 * time.Second
	probeTimeout = 5 * time.Second
	// workers of a controller are many: most of their time they wait for a
	// target. What needs the processor is bounded where it is done.
	workers = 512
	// perCluster of them may work for one key.
	perCluster = 4
	// stillDraining is how soon a key that is assigned again during its
	// hand-over is looked at again.
	stillDraining = time.Second
)

// AddToManager starts the controller that follows the record of ownership:
// assigned keys are kept connected, others are handed over.
func (c *Clusters) AddToManager(mgr ctrl.Manager) error {
	if c.Client == nil {
		c.Client, c.Live, c.Hub = mgr.GetClient(), mgr.GetAPIReader(), mgr.GetConfig()
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.ProbeEvery == 0 {
		c.ProbeEvery = probeEvery
	}
	if c.ProbeTimeout == 0 {
		c.ProbeTimeout = probeTimeout
	}
	if c.Workers == 0 {
		c.Workers = workers
	}
	if c.PerCluster == 0 {
		c.PerCluster = perCluster
	}
	if c.Drain == 0 {
		c.Drain = defaultDrain
	}
	if c.providers == nil {
		c.providers = clouds()
	}
	c.slots = &queue.Slots[shard.Key]{Cap: c.PerCluster}
	if err := c.Fence.check(); err != nil {
		return err
	}
	var err error
	if c.hubLeases, err = client.New(c.Hub, client.Options{Mapper: leaseMapper()}); err != nil {
		return fmt.Errorf("client of the fences in the hub: %w", err)
	}
	c.tables = newTables()
	c.clusters, c.late = map[shard.Key]*kept{}, make(chan struct{})
	c.life, c.kill = context.WithCancel(context.Background())
	if err := mgr.Add(c); err != nil {
		return err
	}
	if c.Debug {
		if err := mgr.AddMetricsServerExtraHandler(debugPath, c); err != nil {
			return err
		}
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("remotecluster").
		For(&fleetv1.RemoteCluster{}).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(c.secretChanged),
			builder.OnlyMetadata, builder.WithPredicates(predicate.Funcs{
				CreateFunc: func(event.CreateEvent) bool { return true },
				UpdateFunc: func(e event.UpdateEvent) bool {
					return e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion()
				},
			})).
		WithOptions(controller.Options{NewQueue: reconcile.NewQueue}).
		Complete(c)
}

// Reconcile brings the connections in line with one RemoteCluster.
func (c *Clusters) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var record fleetv1.RemoteCluster
	err := c.Client.Get(ctx, request.NamespacedName, &record)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	var mine []shard.Key
	if !apierrors.IsNotFound(err) {
		mine = c.assigned(&record)
	}
	for _, key := range c.keysOf(request.NamespacedName) {
		if !slices.Contains(mine, key) {
			c.give(ctx, key)
		}
	}
	served := true
	for _, key := range mine {
		served = c.keep(ctx, key, request.NamespacedName) && served
	}
	if !served {
		return ctrl.Result{RequeueAfter: stillDraining}, nil
	}
	return ctrl.Result{}, nil
}

// assigned is the keys of the RemoteCluster that the record gives to this
// agent.
func (c *Clusters) assigned(record *fleetv1.RemoteCluster) []shard.Key {
	var mine []shard.Key
	for _, key := range shard.KeysOf(record, c.Namespace) {
		if record.Status.Assignment(key.Partition).Agent == c.Agent {
			mine = append(mine, key)
		}
	}
	return mine
}

// keysOf is the keys that are served on behalf of the RemoteCluster.
func (c *Clusters) keysOf(record types.NamespacedName) []shard.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	var keys []shard.Key
	for key, found := range c.clusters {
		if found.record == record {
			keys = append(keys, key)
		}
	}
	return keys
}

// secretChanged makes the targets whose kubeconfig is in the Secret read it
// again. It enqueues nothing: the record has not changed.
func (c *Clusters) secretChanged(_ context.Context, secret client.Object) []ctrl.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, found := range c.clusters {
		if key.IsHub() || key.Namespace != secret.GetNamespace() || key.Name != secret.GetName() {
			continue
		}
		select {
		case found.refresh <- struct{}{}:
		default:
		}
	}
	return nil
}

func isConfigError(err error) bool {
	var refused *configError
	return errors.As(err, &refused)
}
