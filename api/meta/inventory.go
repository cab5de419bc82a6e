package meta

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ResourceInventory lists the objects that were applied, so that those which
// leave the source can be found and deleted.
type ResourceInventory struct {
	// Entries, one for each object.
	// +required
	Entries []ResourceRef `json:"entries"`
}

// ResourceRef names one applied object.
type ResourceRef struct {
	// ID is <namespace>_<name>_<group>_<kind>, with a part empty where the
	// object has none; in names of RBAC objects a colon is written as __.
	// +required
	ID string `json:"id"`

	// Version of the API that the object was applied with.
	// +required
	Version string `json:"v"`
}

// History is a list of snapshots, the newest first.
type History []Snapshot

// Snapshot counts the reconciles of one set of rendered objects that ended in
// the same way.
type Snapshot struct {
	// Digest of the rendered objects, as algorithm:hex.
	// +required
	Digest string `json:"digest"`

	// FirstReconciled is when the set was reconciled for the first time.
	// +required
	FirstReconciled metav1.Time `json:"firstReconciled"`

	// LastReconciled is when the set was reconciled for the last time.
	// +required
	LastReconciled metav1.Time `json:"lastReconciled"`

	// LastReconciledDuration is how long the last reconcile took.
	// +kubebuilder:validation:Type=string
	// +required
	LastReconciledDuration metav1.Duration `json:"lastReconciledDuration"`

	// LastReconciledStatus is the reason with which the last reconcile ended.
	// +required
	LastReconciledStatus string `json:"lastReconciledStatus"`

	// TotalReconciliations is the number of reconciles that this snapshot
	// stands for.
	// +required
	TotalReconciliations int64 `json:"totalReconciliations"`

	// Metadata is more about the set, such as its revision.
	// +optional
	Metadata map[string]string `json:"metadata,omitempty"`
}
