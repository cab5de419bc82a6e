package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// foreign says whether the live object has fields of managers that are not to
// manage it beside us: an apply alone would leave them standing.
func (a *Applier) foreign(desired, live *unstructured.Unstructured) bool {
	if a.Owner.says(desired, "ssa", "merge") {
		return false
	}
	_, taken, err := a.Owner.adopt(live.GetManagedFields())
	return err == nil && taken
}

// takeForeign makes the fields of such managers ours, so that the apply that
// follows removes those that are not in the manifest.
func (a *Applier) takeForeign(ctx context.Context, desired, live *unstructured.Unstructured) error {
	if !a.foreign(desired, live) {
		return nil
	}
	entries, _, err := a.Owner.adopt(live.GetManagedFields())
	if err != nil {
		return err
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": entries},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
	})
	if err != nil {
		return err
	}
	return a.Client.Patch(ctx, live.DeepCopy(), client.RawPatch(types.JSONPatchType, patch),
		client.FieldOwner(a.Owner.FieldManager))
}

// adopt returns the entries with the fields of foreign managers moved into
// ours, and whether there were any.
func (o Owner) adopt(entries []metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, bool, error) {
	var (
		rest   []metav1.ManagedFieldsEntry
		own    *metav1.ManagedFieldsEntry
		fields = fieldpath.NewSet()
		taken  bool
	)
	for _, entry := range entries {
		ours := entry.Manager == o.FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
		if !ours && !o.isForeign(entry) {
			rest = append(rest, entry)
			continue
		}
		set, err := fieldsOf(entry)
		if err != nil {
			return nil, false, err
		}
		if !ours {
			var spared *fieldpath.Set
			set, spared = o.divide(set)
			if set.Empty() {
				rest = append(rest, entry)
				continue
			}
			taken = true
			if !spared.Empty() {
				kept := entry
				if kept.FieldsV1, err = toFields(spared); err != nil {
					return nil, false, err
				}
				rest = append(rest, kept)
			}
		}
		fields = fields.Union(set)
		if own == nil || ours {
			own = entry.DeepCopy()
		}
	}
	if !taken {
		return entries, false, nil
	}
	own.Manager, own.Operation = o.FieldManager, metav1.ManagedFieldsOperationApply
	var err error
	own.FieldsV1, err = toFields(fields)
	return append(rest, *own), true, err
}

// isForeign says whether an entry is of a client that people use by hand, of
// the time before the object was applied, or of ourselves by other means than
// applying.
func (o Owner) isForeign(entry metav1.ManagedFieldsEntry) bool {
	return entry.Subresource == "" && (strings.HasPrefix(entry.Manager, "kubectl") ||
		entry.Manager == "before-first-apply" ||
		entry.Manager == o.FieldManager && entry.Operation == metav1.ManagedFieldsOperationUpdate)
}

// divide separates the labels and annotations that people may set by hand from
// the rest. The maps that hold them go where there is anything.
func (o Owner) divide(set *fieldpath.Set) (rest, spared *fieldpath.Set) {
	rest, spared, holders := fieldpath.NewSet(), fieldpath.NewSet(), fieldpath.NewSet()
	set.Iterate(func(path fieldpath.Path) {
		path = slices.Clone(path)
		isMap := len(path) >= 2 && isField(path[0], "metadata") && (isField(path[1], "labels") || isField(path[1], "annotations"))
		switch {
		case isMap && len(path) == 2:
			holders.Insert(path)
		case isMap && o.spares(path[2]):
			spared.Insert(path)
		default:
			rest.Insert(path)
		}
	})
	if !rest.Empty() {
		rest = rest.Union(holders)
	}
	return rest, spared
}

func (o Owner) spares(element fieldpath.PathElement) bool {
	return element.FieldName != nil && slices.ContainsFunc(o.Spare, func(prefix string) bool {
		return strings.HasPrefix(*element.FieldName, prefix)
	})
}

func isField(element fieldpath.PathElement, name string) bool {
	return element.FieldName != nil && *element.FieldName == name
}

func fieldsOf(entry metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	set := fieldpath.NewSet()
	if entry.FieldsV1 == nil {
		return set, nil
	}
	if err := set.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
		return nil, fmt.Errorf("managed fields of %s: %w", entry.Manager, err)
	}
	return set, nil
}

func toFields(set *fieldpath.Set) (*metav1.FieldsV1, error) {
	raw, err := set.ToJSON()
	if err != nil {
		return nil, err
	}
	return metav1.NewFieldsV1(string(raw)), nil
}
