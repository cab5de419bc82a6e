package meta

// Annotations, labels and finalizers with a meaning for all kinds.
const (
	// ReconcileRequestAnnotation asks for one reconcile at once: any new value
	// does.
	ReconcileRequestAnnotation = "reconcile.fluxcd.io/requestedAt"
	// ForceRequestAnnotation, with the value of ReconcileRequestAnnotation, asks
	// for one install or upgrade of a HelmRelease whatever its state is.
	ForceRequestAnnotation = "reconcile.fluxcd.io/forceAt"
	// ResetRequestAnnotation, with the value of ReconcileRequestAnnotation, asks
	// to forget the failures of a HelmRelease.
	ResetRequestAnnotation = "reconcile.fluxcd.io/resetAt"
	// Finalizer is Flux's, so that a fleet can move between the two.
	Finalizer = "finalizers.fluxcd.io"
	// EventAnnotationPrefix marks annotations that are copied into the
	// metadata of events.
	EventAnnotationPrefix = "event.toolkit.fluxcd.io/"
	// WatchLabel with the value Enabled on a ConfigMap or Secret wakes the
	// objects that read it when it changes.
	WatchLabel = "reconcile.fluxcd.io/watch"

	// AgentLabel routes an object to the agent that acts for its target. It is
	// written by placement alone.
	AgentLabel = "fleet.headwater.dev/agent"
	// ShardLabel names the AgentPool that serves an object's target, as it names
	// a shard for Flux's sharded controllers.
	ShardLabel = "sharding.fluxcd.io/key"
	// PinLabel keeps an object's target on the named agent.
	PinLabel = "fleet.headwater.dev/pin"
	// ClusterLabel with the value true on a kubeconfig Secret makes a
	// RemoteCluster of it.
	ClusterLabel = "fleet.headwater.dev/cluster"
)
