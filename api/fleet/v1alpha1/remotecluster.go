package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

// RemoteClusterKind is the kind of a RemoteCluster.
const RemoteClusterKind = "RemoteCluster"

// Conditions of a RemoteCluster. They come from different writers, so none
// sums up the others.
const (
	// ConnectedCondition says whether the owning agent reaches the cluster.
	ConnectedCondition = "Connected"
	// AssignedCondition says whether every partition has an agent.
	AssignedCondition = "Assigned"
	// FencedCondition says where the fence is held that keeps other agents out.
	FencedCondition = "Fenced"
)

// ClusterMode says who connects to whom.
//
// +kubebuilder:validation:Enum=Push;Pull;Hub
type ClusterMode string

// Values of RemoteClusterSpec.Mode.
const (
	// PushMode is a cluster that agents in the hub connect to.
	PushMode ClusterMode = "Push"
	// PullMode is a cluster in which its own agent runs.
	PullMode ClusterMode = "Pull"
	// HubMode is the hub itself, as a target.
	HubMode ClusterMode = "Hub"
)

// LostAction is what becomes of Kustomizations and HelmReleases that are
// deleted while their cluster is out of reach.
//
// +kubebuilder:validation:Enum=Orphan;Wait
type LostAction string

// Values of LostPolicy.Action.
const (
	// OrphanLost gives their objects up.
	OrphanLost LostAction = "Orphan"
	// WaitLost waits for the cluster, however long it takes.
	WaitLost LostAction = "Wait"
)

// defaultLostAfter is the default of LostPolicy.After.
const defaultLostAfter = time.Hour

// ClusterReference names a Cluster API Cluster in the same namespace.
type ClusterReference struct {
	// APIVersion of the Cluster, as group/version, for the reader: the name of
	// its kubeconfig Secret is the same in all versions.
	// +kubebuilder:validation:Pattern=`^cluster\.x-k8s\.io/`
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the referent.
	// +kubebuilder:validation:Enum=Cluster
	// +kubebuilder:default=Cluster
	// +optional
	Kind string `json:"kind,omitempty"`

	// Name of the Cluster.
	// +kubebuilder:validation:MinLength=1
	// +required
	Name string `json:"name"`
}

// LostPolicy says how the deletion of an object ends whose cluster is out of
// reach.
type LostPolicy struct {
	// Action taken when the cluster has been out of reach for the time after.
	// +kubebuilder:default=Orphan
	// +optional
	Action LostAction `json:"action,omitempty"`

	// After is how long a cluster has to be out of reach to count as lost.
	// Default 1h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:default="1h"
	// +optional
	After *metav1.Duration `json:"after,omitempty"`
}

// RemoteClusterSpec says how a cluster is reached and who acts for it.
//
// +kubebuilder:validation:XValidation:rule="self.mode != 'Push' || has(self.kubeConfig) != has(self.clusterRef)",message="exactly one of spec.kubeConfig and spec.clusterRef must be set when spec.mode is Push"
// +kubebuilder:validation:XValidation:rule="self.mode == 'Push' || (!has(self.kubeConfig) && !has(self.clusterRef))",message="spec.kubeConfig and spec.clusterRef can only be set when spec.mode is Push"
type RemoteClusterSpec struct {
	// KubeConfig names the kubeconfig of the cluster.
	// +optional
	KubeConfig *meta.KubeConfigReference `json:"kubeConfig,omitempty"`

	// ClusterRef names the Cluster API Cluster that the kubeconfig belongs to.
	// +optional
	ClusterRef *ClusterReference `json:"clusterRef,omitempty"`

	// Mode says who connects. Push: an agent in the hub connects to the
	// cluster. Pull: an agent in the cluster connects to the hub. Hub: the
	// target is the hub itself. Default Push.
	// +kubebuilder:default=Push
	// +optional
	Mode ClusterMode `json:"mode,omitempty"`

	// AgentSelector picks the agents that may act for the cluster, by their
	// labels. When unset, all may.
	// +optional
	AgentSelector *metav1.LabelSelector `json:"agentSelector,omitempty"`

	// LostPolicy says how deletions end while the cluster is out of reach.
	// +kubebuilder:default={}
	// +optional
	LostPolicy LostPolicy `json:"lostPolicy,omitzero"`

	// Suspend stops all work for the cluster. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// Assignment is the record of who should act for one partition of a cluster.
type Assignment struct {
	// Partition of the cluster: 0, but for the hub, which has 0 to 15.
	// +kubebuilder:validation:Minimum=0
	// +required
	Partition int32 `json:"partition"`

	// Agent that should act; empty while none is fit to.
	// +optional
	Agent string `json:"agent,omitempty"`

	// Epoch grows by one with each change of the agent.
	// +kubebuilder:validation:Minimum=0
	// +required
	Epoch int64 `json:"epoch"`
}

// FencePlace is where a fence is kept.
//
// +kubebuilder:validation:Enum=Target;Hub
type FencePlace string

// Values of Fence.Place.
const (
	// TargetFence is a Lease in the cluster itself.
	TargetFence FencePlace = "Target"
	// HubFence is a Lease in the hub, for clusters whose credentials forbid
	// Leases. Work for such a cluster stops while the hub is out of reach.
	HubFence FencePlace = "Hub"
)

// Fence says where the Lease is that keeps all agents but one out of a
// partition.
type Fence struct {
	// Partition of the cluster.
	// +kubebuilder:validation:Minimum=0
	// +required
	Partition int32 `json:"partition"`

	// Place of the Lease.
	// +required
	Place FencePlace `json:"place"`
}

// RemoteClusterStatus says how a cluster is doing. The hub and the owning agent
// write disjoint fields of it, by server-side apply.
type RemoteClusterStatus struct {
	// ObservedGeneration is the generation of the spec that was last placed.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions: Connected and Fenced by the agent, Assigned by the hub.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Version of Kubernetes that the cluster runs, such as v1.36.3.
	// +optional
	Version string `json:"version,omitempty"`

	// ClusterUID is the uid of the cluster's kube-system namespace. Two
	// RemoteClusters with the same one are the same cluster.
	// +optional
	ClusterUID string `json:"clusterUID,omitempty"`

	// Agent that should act for partition 0.
	// +optional
	Agent string `json:"agent,omitempty"`

	// ServedBy is the agent that last reported on the connection. While that is
	// not the agent that should act, the cluster is being handed over.
	// +optional
	ServedBy string `json:"servedBy,omitempty"`

	// LatencyMilliseconds is how long the cluster took to answer the last
	// probe.
	// +optional
	LatencyMilliseconds int64 `json:"latencyMilliseconds,omitempty"`

	// LastProbeTime is when the cluster last answered a probe. It is written
	// along with other news, and now and then without any.
	// +optional
	LastProbeTime *metav1.Time `json:"lastProbeTime,omitempty"`

	// Objects is the number of Kustomizations and HelmReleases that deploy to
	// the cluster. It may be half a minute old.
	// +optional
	Objects int32 `json:"objects,omitempty"`

	// Assignments say who should act, for each partition. Placement alone
	// writes them.
	// +listType=map
	// +listMapKey=partition
	// +optional
	Assignments []Assignment `json:"assignments,omitempty"`

	// Fences are those that were made once, and where. An agent notes one
	// before it makes it: whoever finds the Lease of such a fence gone knows that
	// somebody deleted it, and waits until its holder can no longer write.
	// +listType=map
	// +listMapKey=partition
	// +optional
	Fences []Fence `json:"fences,omitempty"`
}

// FencePlace is where the fence of the partition was made; empty when it never
// was.
func (in *RemoteClusterStatus) FencePlace(partition int32) FencePlace {
	for _, fence := range in.Fences {
		if fence.Partition == partition {
			return fence.Place
		}
	}
	return ""
}

// Assignment is the record of the partition; zero when there is none.
func (in *RemoteClusterStatus) Assignment(partition int32) Assignment {
	for _, assignment := range in.Assignments {
		if assignment.Partition == partition {
			return assignment
		}
	}
	return Assignment{}
}

// RemoteCluster is a cluster that Kustomizations and HelmReleases deploy to.
// The hub makes one for each kubeconfig in use; its labels are the user's.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=hub","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName=rcl,categories={fleet}
// +kubebuilder:printcolumn:name="Connected",type="string",JSONPath=".status.conditions[?(@.type==\"Connected\")].status"
// +kubebuilder:printcolumn:name="Version",type="string",JSONPath=".status.version"
// +kubebuilder:printcolumn:name="Agent",type="string",JSONPath=".status.agent"
// +kubebuilder:printcolumn:name="Objects",type="integer",JSONPath=".status.objects"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
// +kubebuilder:printcolumn:name="Message",type="string",JSONPath=".status.conditions[?(@.type==\"Connected\")].message"
type RemoteCluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says how the cluster is reached.
	Spec RemoteClusterSpec `json:"spec,omitempty"`

	// Status says how the cluster is doing.
	Status RemoteClusterStatus `json:"status,omitempty"`
}

// RemoteClusterList is a list of RemoteClusters.
//
// +kubebuilder:object:root=true
type RemoteClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []RemoteCluster `json:"items"`
}

// GetMode is spec.mode with its default.
func (in *RemoteCluster) GetMode() ClusterMode {
	if in.Spec.Mode == "" {
		return PushMode
	}
	return in.Spec.Mode
}

// LostAfter is how long the cluster has to be out of reach to count as lost;
// false when it never does.
func (in *RemoteCluster) LostAfter() (time.Duration, bool) {
	switch {
	case in.Spec.LostPolicy.Action == WaitLost:
		return 0, false
	case in.Spec.LostPolicy.After == nil:
		return defaultLostAfter, true
	default:
		return in.Spec.LostPolicy.After.Duration, true
	}
}
