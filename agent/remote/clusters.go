package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fluxcd/pkg/auth"
	coordinationv1 "k8s.io/api/coordination/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/queue"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

var coordinationGroupVersion = coordinationv1.SchemeGroupVersion

// ErrNotConnected says that there is no connection to the target (yet).
var ErrNotConnected = errors.New("not connected")

// firstConnect is how soon work for a key whose first connection is being made
// is looked at again.
const firstConnect = 200 * time.Millisecond

// Clusters holds the targets of the keys that this agent owns. It is safe for
// concurrent use.
type Clusters struct {
	// Client reads RemoteClusters from the cache and writes their status.
	Client client.Client
	// Live reads kubeconfig Secrets past the cache.
	Live client.Reader
	// Hub is this agent's own access to the hub, the target of the hub's keys.
	Hub *rest.Config
	// HubAccount is the ServiceAccount of Namespace that work on the hub's keys acts
	// as where it names none; this agent's own identity when empty.
	HubAccount string
	// Local is the access to the cluster that the agent runs in, the target of
	// LocalKey, for an agent inside of a target. It acts for no other key.
	Local    *rest.Config
	LocalKey shard.Key
	// HubUID tells this hub's fences from another's on the same target.
	HubUID string
	// Events publishes what happens to connections.
	Events *reconcile.Recorder

	// Agent is this agent's name in the record; Identity adds a random part
	// per process; Namespace is where the fences of the hub's own keys are.
	Agent, Identity, Namespace string
	// Fence has the times of DESIGN §4.
	Fence FenceOptions
	// ProbeEvery and ProbeTimeout time the probes of each target.
	ProbeEvery, ProbeTimeout time.Duration
	// AllowExec and AllowInsecureTLS accept kubeconfigs with exec plugins, and
	// with insecure-skip-tls-verify.
	AllowExec, AllowInsecureTLS bool
	// DefaultAccount is the ServiceAccount whose tokens are used for a
	// spec.kubeConfig.configMapRef that names none; may be empty.
	DefaultAccount string
	// AllowOwnIdentity lets such a reference use this agent's own identity at a
	// cloud, where it names no ServiceAccount and there is no default.
	AllowOwnIdentity bool
	// Workers is how many objects a controller works on at once, and PerCluster
	// how many of them for one key, over all controllers.
	Workers, PerCluster int
	// Retries has the pauses between attempts of an object that fails and does not
	// say itself when to try again.
	Retries reconcile.Pace
	// Drain is how long a hand-over waits for work in flight that has not said how
	// long it takes, and for all work when the process ends; 30 s when zero.
	Drain time.Duration
	// Clock is the real one when nil.
	Clock clock.Clock

	// Debug serves /debug/targets at the metrics address.
	Debug bool

	slots  *queue.Slots[shard.Key]
	queues []*queue.Queue[ctrl.Request, shard.Key]

	// providers are the clouds, by name.
	providers map[string]auth.RESTConfigProvider
	// tables are what the targets' kinds have in common.
	tables *tables
	// hubLeases reaches the fences in the hub.
	hubLeases client.Client

	// fences counts those that were ever made.
	fences atomic.Int64

	mu       sync.Mutex
	clusters map[shard.Key]*kept
	// stopping says that the process ends: nothing is kept or given any more.
	stopping bool
	// late is closed when a process that ends waits no longer.
	late    chan struct{}
	closing sync.WaitGroup
	// life ends the connections; it outlives the controllers, so that what is
	// in flight when the agent stops can be waited for.
	life context.Context
	kill context.CancelFunc
}

// kept is a cluster and what stops its loop.
type kept struct {
	*cluster
	stop context.CancelFunc
}

// Target is one unit of work for a key. Close ends it.
type Target struct {
	// Client reads and writes the target without a cache. Writes pass the gate.
	Client client.Client
	// Mapper knows the target's kinds; it asks again for those it does not know.
	Mapper apimeta.RESTMapper
	// Config is for clients of other libraries; their writes pass the gate too.
	Config *rest.Config

	cluster *cluster
	session *session
	once    sync.Once
}

// Open begins a unit of work for the key. It answers at once. The error carries
// its outcome: not ours, unreachable, or a kubeconfig that is missing or refused.
func (c *Clusters) Open(ctx context.Context, key shard.Key) (*Target, error) {
	found := c.find(key)
	if found == nil {
		return nil, reconcile.ErrNotOwner
	}
	current, err := found.begin()
	var refused *configError
	switch {
	case errors.Is(err, reconcile.ErrNotOwner):
		return nil, err
	case errors.As(err, &refused):
		return nil, reconcile.Fail(meta.KubeConfigInvalidReason, err)
	case err != nil:
		return nil, c.unreachable(ctx, found, err)
	}
	opened := &Target{Client: current.client, Mapper: current.mapper, Config: current.config, cluster: found, session: current}
	if key.IsHub() && c.HubAccount != "" {
		if err := opened.Impersonate(c.Namespace, c.HubAccount); err != nil {
			opened.Close()
			return nil, err
		}
	}
	return opened, nil
}

// Fence makes sure that this process may write to the target, and returns the
// number of the tenure: it grows each time the fence is taken anew, when what was
// read before may be another agent's past. It must be called before the first
// write; while another agent still holds the fence it returns a Wait.
func (t *Target) Fence(ctx context.Context) (tenure int64, err error) {
	err = t.cluster.fence.take(ctx)
	var held *heldError
	if errors.As(err, &held) {
		return 0, reconcile.Wait(meta.FenceHeldReason,
			fmt.Sprintf("target %s: waiting until %s can no longer write", t.cluster.key, held.holder), held.after)
	}
	return t.cluster.fence.tenure(), err
}

// Lasts says that this unit of work may take so long from now, and is not to be cut
// off before by the hand-over of its key. When the process ends it is.
func (t *Target) Lasts(long time.Duration) { t.cluster.last(t, time.Now().Add(long)) }

// Close ends the unit of work. It may be called more than once.
func (t *Target) Close() {
	t.once.Do(func() {
		t.cluster.last(t, time.Time{})
		t.cluster.end()
	})
}

// Admit begins a run of the loop for the key, which ends with the function that
// it returns; a hand-over waits for that. Where the run may not begin, the
// function is nil: look again after the given time; or, with a time of zero, not
// here at all.
func (c *Clusters) Admit(key shard.Key) (end func(), after time.Duration) {
	found := c.find(key)
	if found == nil {
		return nil, 0
	}
	return found.admit()
}

// Preparing is for the part of a run that writes nothing at the target yet. Its context
// ends, with ErrNotOwner as the cause, when the hand-over of the key begins: that waits for
// the end of the run. The function frees the context.
func (c *Clusters) Preparing(ctx context.Context, key shard.Key) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	found := c.find(key)
	if found == nil {
		end(reconcile.ErrNotOwner)
		return ctx, func() {}
	}
	stop := context.AfterFunc(found.leaving, func() { end(reconcile.ErrNotOwner) })
	return ctx, func() { stop(); end(nil) }
}

// MayWrite says whether this agent may still write the status of objects of
// the key: from the time it is assigned until it has been handed over.
func (c *Clusters) MayWrite(key shard.Key) bool { return c.find(key) != nil }

func (c *Clusters) find(key shard.Key) *cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.clusters[key]; ok {
		return found.cluster
	}
	return nil
}

// keep makes sure that the key is served. It returns false while the key is
// still being handed over, or served on behalf of another RemoteCluster.
func (c *Clusters) keep(ctx context.Context, key shard.Key, record types.NamespacedName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.clusters[key]; ok {
		// Kept for another RemoteCluster: look again when that has let it go.
		return found.record == record && !found.draining()
	}
	if c.stopping {
		return true
	}
	life, stop := context.WithCancel(log.IntoContext(c.life, log.FromContext(ctx)))
	closed, cut := context.WithCancel(context.WithoutCancel(ctx))
	leaving, leave := context.WithCancel(closed)
	made := &cluster{
		key: key, record: record, parent: c,
		refresh: make(chan struct{}, 1),
		cut:     cut, closed: closed,
		leave: leave, leaving: leaving,
		stopped: make(chan struct{}),
	}
	made.fence = c.newFence(ctx, made)
	c.clusters[key] = &kept{cluster: made, stop: stop}
	go made.run(life)
	return true
}

// newFence is the fence of a key, not held.
func (c *Clusters) newFence(ctx context.Context, of *cluster) *fence {
	ctx = context.WithoutCancel(ctx)
	const tenuresOfOne = 32
	made := &fence{
		FenceOptions: c.Fence,
		// A key that is given away and comes back has numbers that nobody has seen.
		tenures:  c.fences.Add(1) << tenuresOfOne,
		name:     shard.FenceName(c.HubUID, of.key),
		identity: c.Identity,
		clock:    c.Clock,
		ledger: &ledger{
			client: c.Client, live: c.Live,
			record: of.record, partition: of.key.Partition, agent: c.Agent,
		},
		busy:     of.busy,
		draining: of.draining,
		disowned: func() { c.give(ctx, of.key) },
		target:   &place{kind: fleetv1.TargetFence, namespace: c.Fence.Namespace},
	}
	if of.key.IsHub() {
		made.target.namespace = c.Namespace
	} else {
		made.hub = &place{kind: fleetv1.HubFence, namespace: c.Namespace, leases: c.hubLeases}
	}
	return made
}

// give hands a key over, in the background.
func (c *Clusters) give(ctx context.Context, key shard.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopping {
		c.giveLocked(ctx, key)
	}
}

func (c *Clusters) giveLocked(ctx context.Context, key shard.Key) {
	found, ok := c.clusters[key]
	if !ok {
		return
	}
	idle, first := found.drain()
	if !first {
		return
	}
	ctx = context.WithoutCancel(ctx)
	c.closing.Go(func() {
		if err := found.handOver(ctx, idle, found.stop); err != nil {
			log.FromContext(ctx).Info("fence left to run out", "target", key.String(), "error", reconcile.Redact(err.Error()))
		}
		c.mu.Lock()
		delete(c.clusters, key)
		c.mu.Unlock()
		log.FromContext(ctx).Info("target handed over", "target", key.String())
	})
}

// Start waits for the end of the process and then gives all targets up. The
// manager cancels the controllers after that has begun, so that the runs in
// flight are waited for here and not cut off.
func (c *Clusters) Start(ctx context.Context) error {
	<-ctx.Done()
	ctx = context.WithoutCancel(ctx)
	c.mu.Lock()
	c.stopping = true
	for key := range c.clusters {
		c.giveLocked(ctx, key)
	}
	c.mu.Unlock()
	defer time.AfterFunc(c.Drain, func() { close(c.late) }).Stop()
	c.closing.Wait()
	c.kill()
	return nil
}

// NeedLeaderElection is false: every agent runs.
func (c *Clusters) NeedLeaderElection() bool { return false }
