package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Annotations and labels that other tools leave behind and that are taken away,
// as Flux does: kubectl's record of what was applied last, and the marks of
// Flux's first version.
var (
	strayAnnotations = []string{"kubectl.kubernetes.io/last-applied-configuration", "kustomize.toolkit.fluxcd.io/checksum", "fluxcd.io/sync-checksum"}
	strayLabels      = []string{"fluxcd.io/sync-gc-mark"}
)

// stripped are the JSON paths of such annotations and labels that the object has.
func stripped(obj metav1.Object) []string {
	var paths []string
	for _, key := range strayAnnotations {
		if _, ok := obj.GetAnnotations()[key]; ok {
			paths = append(paths, "/metadata/annotations/"+escaped(key))
		}
	}
	for _, key := range strayLabels {
		if _, ok := obj.GetLabels()[key]; ok {
			paths = append(paths, "/metadata/labels/"+escaped(key))
		}
	}
	return paths
}

// escaped is a key as a JSON pointer has it.
func escaped(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// operation is one of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// cleanUp is the patch that goes before an apply: it makes the fields of
// managers that are not to manage the object beside us ours, so that the apply
// removes those that are not in the manifest; an apply alone would leave them
// standing. It is empty when there is nothing to do.
func (a *Applier) cleanUp(desired, live *unstructured.Unstructured, stuck bool) ([]operation, error) {
	var patch []operation
	entries, changed := live.GetManagedFields(), false
	if !a.Owner.merges(desired) {
		var err error
		if entries, changed, err = a.Owner.adopt(entries); err != nil {
			return nil, err
		}
		for _, path := range stripped(live) {
			patch = append(patch, operation{Op: "remove", Path: path})
		}
	}
	entries, moved := a.moveVersions(entries, desired, stuck)
	if changed || moved {
		patch = append(patch, operation{"replace", "/metadata/managedFields", entries})
	}
	if len(patch) > 0 {
		patch = append(patch, operation{"replace", "/metadata/resourceVersion", live.GetResourceVersion()})
	}
	return patch, nil
}

// moveVersions writes the version of the manifest into our entries of a version
// that the server does not have any more: it would drop them, and with them the
// knowledge of which fields are ours. Where the object is stuck, which then takes no
// apply by anybody, it moves the others' as well.
func (a *Applier) moveVersions(entries []metav1.ManagedFieldsEntry, desired *unstructured.Unstructured, stuck bool) ([]metav1.ManagedFieldsEntry, bool) {
	moved := false
	for i, entry := range entries {
		if !stuck && !a.Owner.isOurs(entry) || entry.APIVersion == desired.GetAPIVersion() {
			continue
		}
		old, err := schema.ParseGroupVersion(entry.APIVersion)
		if err != nil || old.Group != desired.GroupVersionKind().Group {
			continue
		}
		if _, err := a.Mapper.RESTMapping(desired.GroupVersionKind().GroupKind(), old.Version); !apimeta.IsNoMatchError(err) {
			continue
		}
		if !moved {
			entries, moved = slices.Clone(entries), true
		}
		entries[i].APIVersion = desired.GetAPIVersion()
	}
	return entries, moved
}

// lostVersions says whether somebody owns fields by a version that the server does
// not have. What is remembered of its kinds may be older than the loss.
func (a *Applier) lostVersions(live, desired *unstructured.Unstructured) bool {
	other := func(entry metav1.ManagedFieldsEntry) bool { return entry.APIVersion != desired.GetAPIVersion() }
	if !slices.ContainsFunc(live.GetManagedFields(), other) {
		return false
	}
	apimeta.MaybeResetRESTMapper(a.Mapper)
	_, lost := a.moveVersions(live.GetManagedFields(), desired, true)
	return lost
}

// takeForeign applies the clean-up to the server's object. One that changes in the
// middle of it, as by a status update, is read again and tried anew; one that was
// replaced meanwhile is not touched.
func (a *Applier) takeForeign(ctx context.Context, desired, live *unstructured.Unstructured, stuck bool) error {
	uid := live.GetUID()
	var conflict error
	for range conflictAttempts {
		conflict = a.takeOnce(ctx, desired, live, stuck)
		if !apierrors.IsConflict(conflict) {
			return conflict
		}
		var err error
		if live, err = a.get(ctx, RefTo(desired)); err != nil {
			return err
		}
		if live == nil || live.GetUID() != uid {
			return conflict
		}
	}
	return conflict
}

// takeOnce applies the clean-up to the object as it was read.
func (a *Applier) takeOnce(ctx context.Context, desired, live *unstructured.Unstructured, stuck bool) error {
	operations, err := a.cleanUp(desired, live, stuck)
	if err != nil || len(operations) == 0 {
		return err
	}
	patch, err := json.Marshal(operations)
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
		ours := o.isOurs(entry)
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
		slices.Contains(o.Overrides, entry.Manager) ||
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
