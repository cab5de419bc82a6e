package shard

import (
	"cmp"
	"strings"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
)

// ManagedLabel with the value true marks the RemoteClusters that the hub made
// itself, and deletes when nothing refers to them.
const ManagedLabel = "fleet.headwater.dev/managed"

// kubeConfigSuffix is what Cluster API appends to the name of a Cluster to name
// its kubeconfig Secret.
const kubeConfigSuffix = "-kubeconfig"

// HubCluster is the name of the RemoteCluster, in the system namespace, that
// stands for the hub itself.
const HubCluster = hubName

// KeysOf are the keys for which the RemoteCluster holds the record, by
// partition. A hub has one only in the system namespace and under its own name:
// a RemoteCluster of mode Hub anywhere else stands for nothing.
func KeysOf(cluster *fleetv1.RemoteCluster, systemNamespace string) []Key {
	namespace, name := cluster.Namespace, cluster.Name
	switch {
	case cluster.GetMode() == fleetv1.HubMode && namespace == systemNamespace && name == HubCluster:
		keys := make([]Key, Partitions)
		for i := range keys {
			keys[i] = HubKey(int32(i))
		}
		return keys
	case cluster.GetMode() == fleetv1.HubMode:
		return nil
	case cluster.GetMode() == fleetv1.PullMode:
		return []Key{{Namespace: namespace, Name: name, DataKey: defaultDataKey}}
	case cluster.Spec.ClusterRef != nil:
		return []Key{{Namespace: namespace, Name: cluster.Spec.ClusterRef.Name + kubeConfigSuffix, DataKey: defaultDataKey}}
	case cluster.Spec.KubeConfig != nil:
		return []Key{KeyFor(namespace, name, cluster.Spec.KubeConfig)}
	default:
		return nil
	}
}

// Precedence orders RemoteClusters that hold the record of one key: the first
// is in force. What a user made goes before what the hub made, then the older,
// then by name.
func Precedence(a, b *fleetv1.RemoteCluster) int {
	return cmp.Or(
		cmp.Compare(managed(a), managed(b)),
		a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
	)
}

// pullPrefix begins the names of the agents of pull clusters. Other agents have
// names without dots, or are at least never called that.
const pullPrefix = "pull."

// MaxPullName is how long the namespace and the name of a RemoteCluster of mode
// Pull may be together: the name of its agent is the value of a label.
const MaxPullName = 57

// PullAgent is the name of the one agent that acts for a RemoteCluster of mode
// Pull: the one inside of that cluster. A namespace has no dots, so that no two
// clusters have the same.
func PullAgent(namespace, name string) string {
	return pullPrefix + namespace + "." + name
}

// PullCluster is the RemoteCluster that the agent of that name is inside of;
// found is false for the name of any other agent.
func PullCluster(agent string) (namespace, name string, found bool) {
	rest, pulls := strings.CutPrefix(agent, pullPrefix)
	namespace, name, found = strings.Cut(rest, ".")
	return namespace, name, found && pulls
}

// IsPullAgent says whether the name is that of an agent inside of a cluster.
func IsPullAgent(agent string) bool { return strings.HasPrefix(agent, pullPrefix) }

// MayJoin says whether an agent of that name may have its membership Lease in
// that namespace. Agents have theirs in the system namespace; that of a pull
// cluster has it in the namespace of its RemoteCluster, the only one that it may
// write to. Any other Lease is one that a tenant has made up.
func MayJoin(agent, namespace, systemNamespace string) bool {
	if IsPullAgent(agent) {
		return strings.HasPrefix(agent, PullAgent(namespace, ""))
	}
	return namespace == systemNamespace
}

// IsManaged says whether the hub made the RemoteCluster.
func IsManaged(cluster *fleetv1.RemoteCluster) bool { return cluster.Labels[ManagedLabel] == "true" }

func managed(cluster *fleetv1.RemoteCluster) int {
	if IsManaged(cluster) {
		return 1
	}
	return 0
}
