package kustomize

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headwater-dev/headwater/agent/apply"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// inventoryOf returns the objects that the Kustomization has applied.
func inventoryOf(ctx context.Context, obj *kustomizev1.Kustomization) []apply.Ref {
	if obj.Status.Inventory == nil {
		return nil
	}
	var refs []apply.Ref
	for _, entry := range obj.Status.Inventory.Entries {
		ref, err := apply.ParseID(entry.ID, entry.Version)
		if err != nil {
			// Nothing can be done with it, and failing would be for ever.
			log.FromContext(ctx).Error(err, "inventory entry dropped")
			continue
		}
		refs = append(refs, ref)
	}
	return refs
}

// toInventory is the inventory of the objects. The same objects always give the
// same.
func toInventory(refs []apply.Ref) *kustomizev1.ResourceInventory {
	entries := make([]kustomizev1.ResourceRef, 0, len(refs))
	for _, entry := range apply.Inventory(refs) {
		entries = append(entries, kustomizev1.ResourceRef{ID: entry.ID, Version: entry.Version})
	}
	return &kustomizev1.ResourceInventory{Entries: entries}
}

// lists says whether the Kustomization's inventory has the object.
func lists(obj *kustomizev1.Kustomization, ref apply.Ref) bool {
	if obj.Status.Inventory == nil {
		return false
	}
	for _, entry := range obj.Status.Inventory.Entries {
		if entry.ID == ref.ID() {
			return true
		}
	}
	return false
}
