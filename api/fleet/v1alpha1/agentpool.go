package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// AgentPoolKind is the kind of an AgentPool.
	AgentPoolKind = "AgentPool"
	// DefaultAgentPool is the name of the pool that exists without being
	// created: all agents for all clusters.
	DefaultAgentPool = "default"
)

// AgentState says how an agent is doing.
//
// +kubebuilder:validation:Enum=Ready;Draining;Lost
type AgentState string

// Values of AgentStatus.State.
const (
	// AgentReady renews its membership and takes clusters.
	AgentReady AgentState = "Ready"
	// AgentDraining hands its clusters over.
	AgentDraining AgentState = "Draining"
	// AgentLost has not renewed its membership in time.
	AgentLost AgentState = "Lost"
)

// AgentPoolSpec says which agents act for which clusters.
type AgentPoolSpec struct {
	// ClusterSelector picks the RemoteClusters that the pool serves, by their
	// labels. When unset, all that no other pool serves.
	// +optional
	ClusterSelector *metav1.LabelSelector `json:"clusterSelector,omitempty"`

	// Agents picks the agents of the pool, by their labels. When unset, all
	// that are in no other pool.
	// +optional
	Agents *metav1.LabelSelector `json:"agents,omitempty"`

	// Placement says how clusters are spread over the agents. It counts with
	// agents, and in the pool default: a pool without agents of its own shares
	// those of default, under the rules of that.
	// +optional
	Placement Placement `json:"placement,omitzero"`
}

// Placement says how clusters are spread over agents.
type Placement struct {
	// MaxLoadFactor is how many times the mean an agent may carry, besides the
	// largest single cluster: a decimal number of at least 1, in quotes.
	// Default "1.25".
	// +kubebuilder:validation:Pattern=`^[1-9][0-9]{0,2}(\.[0-9]{1,3})?$`
	// +optional
	MaxLoadFactor string `json:"maxLoadFactor,omitempty"`

	// MovesPerMinute is how many clusters may change agents in a minute for
	// the sake of balance, because another pool serves them now, or to the agent
	// that they are pinned to. Clusters without an agent do not count. Default 10.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MovesPerMinute int32 `json:"movesPerMinute,omitempty"`

	// ReassignAfter is how long an agent that was stopped may be away, as for an
	// upgrade, before its clusters go to others. One that falls silent, as by a
	// crash, has half of it, but not less than its Lease lasts. When
	// unset, the hub's --reassign-after, by default 30s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	ReassignAfter *metav1.Duration `json:"reassignAfter,omitempty"`
}

// AgentStatus says how one agent is doing.
type AgentStatus struct {
	// Name of the agent.
	// +required
	Name string `json:"name"`

	// State of the agent.
	// +required
	State AgentState `json:"state"`

	// Clusters is the number of clusters that it acts for.
	// +optional
	Clusters int32 `json:"clusters,omitempty"`

	// Cost is what these clusters cost it, as placement counts: the time that
	// reconciles take and the number of objects.
	// +optional
	Cost int64 `json:"cost,omitempty"`
}

// AgentPoolStatus says how a pool is doing.
type AgentPoolStatus struct {
	// ObservedGeneration is the generation of the spec that was last placed.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions of the pool.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Agents of the pool, one entry each.
	// +listType=map
	// +listMapKey=name
	// +optional
	Agents []AgentStatus `json:"agents,omitempty"`

	// ReadyAgents is the number of agents in the state Ready.
	// +optional
	ReadyAgents int32 `json:"readyAgents,omitempty"`

	// Clusters is the number of clusters that the pool serves.
	// +optional
	Clusters int32 `json:"clusters,omitempty"`

	// Moving is the number of clusters that are on their way from one agent to
	// another.
	// +optional
	Moving int32 `json:"moving,omitempty"`
}

// AgentPool says which agents act for which clusters, and how the clusters are
// spread over them. The pool called default exists without being created.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:metadata:labels={"app.kubernetes.io/component=hub","app.kubernetes.io/part-of=flux"}
// +kubebuilder:resource:shortName=pool,categories={fleet}
// +kubebuilder:printcolumn:name="Agents",type="integer",JSONPath=".status.readyAgents"
// +kubebuilder:printcolumn:name="Clusters",type="integer",JSONPath=".status.clusters"
// +kubebuilder:printcolumn:name="Moving",type="integer",JSONPath=".status.moving"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp"
type AgentPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which agents act for which clusters.
	Spec AgentPoolSpec `json:"spec,omitempty"`

	// Status says how the pool is doing.
	Status AgentPoolStatus `json:"status,omitempty"`
}

// AgentPoolList is a list of AgentPools.
//
// +kubebuilder:object:root=true
type AgentPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items of the list.
	Items []AgentPool `json:"items"`
}
