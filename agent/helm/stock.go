package helm

import (
	"context"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headwater-dev/headwater/agent/apply"
	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// stock is the inventory of the release: its objects, without hooks, and the CRDs
// that came with its chart. One that cannot be told is left out, and an event says
// so: nothing but what people read depends on it.
func (r *Reconciler) stock(ctx context.Context, obj *helmv2.HelmRelease, to *target, record release.Record) *meta.ResourceInventory {
	refs, err := refsOf(to.Mapper, record, bringsCRDs(obj))
	if err != nil {
		r.Events.Publish(ctx, obj, reconcile.Event{
			Severity: reconcile.SeverityError, Reason: inventoryReason, Message: err.Error(), Metadata: eventMetadata(obj),
		})
	}
	inventory := &meta.ResourceInventory{Entries: []meta.ResourceRef{}}
	for _, entry := range apply.Inventory(refs) {
		inventory.Entries = append(inventory.Entries, meta.ResourceRef{ID: entry.ID, Version: entry.Version})
	}
	return inventory
}

// bringsCRDs says whether the CRDs of the chart were brought to the cluster with the
// release, or with one before it: what there is of them stays.
func bringsCRDs(obj *helmv2.HelmRelease) bool {
	install := obj.Spec.Install == nil || obj.Spec.Install.CRDs != helmv2.Skip
	upgrade := obj.Spec.Upgrade == nil || obj.Spec.Upgrade.CRDs != helmv2.Skip
	installed := len(obj.Status.History) > 0 && obj.Status.History[0].Action == string(state.Install)
	return install || upgrade && !installed
}

// refsOf names the objects of a release where they are, with the chart's CRDs if
// these were brought there.
func refsOf(mapper apimeta.RESTMapper, record release.Record, crds bool) ([]apply.Ref, error) {
	objects, err := release.Objects(record.Manifest)
	if err == nil && crds {
		var definitions []*unstructured.Unstructured
		definitions, err = record.Definitions()
		objects = append(objects, definitions...)
	}
	if err != nil {
		return nil, fmt.Errorf("inventory of the release %s: %w", record.Target, err)
	}
	refs := make([]apply.Ref, 0, len(objects))
	var trouble error
	for _, obj := range objects {
		ref := apply.RefTo(obj)
		mapping, err := mapper.RESTMapping(ref.GroupKind, ref.Version)
		switch {
		case err != nil:
			trouble = fmt.Errorf("inventory of the release %s: %s: %w", record.Target, ref, err)
		case mapping.Scope.Name() == apimeta.RESTScopeNameRoot:
			ref.Namespace = ""
		case ref.Namespace == "":
			ref.Namespace = record.Namespace
		}
		refs = append(refs, ref)
	}
	return refs, trouble
}
