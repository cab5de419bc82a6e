package meta

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Status is the part of an object's status that the reconcile loop owns. Every
// reconciled kind inlines it.
type Status struct {
	// ObservedGeneration is the newest generation of the spec that was brought
	// to an end: reconciled, or found to need a person.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions say how the object is doing: Ready always; Reconciling,
	// Stalled and Suspended only while they are true.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// LastHandledReconcileAt is the value of the annotation
	// reconcile.fluxcd.io/requestedAt that was handled last.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
}
