package apply

import (
	"bytes"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// comparedMetadata are the fields of metadata that a manifest may set. All
// others are the server's.
var comparedMetadata = []string{"labels", "annotations", "finalizers", "ownerReferences"}

// differs says whether applying would change the object: live is what is
// there, applied what the server's dry-run made of it. Status and the server's
// own metadata are left out; the manager's entry in managedFields is not, for it
// shows when a field belongs to somebody else although its value is the same.
func differs(live, applied *unstructured.Unstructured, manager string) bool {
	for _, field := range comparedMetadata {
		a, _, _ := unstructured.NestedFieldNoCopy(live.Object, "metadata", field)
		b, _, _ := unstructured.NestedFieldNoCopy(applied.Object, "metadata", field)
		if !equality.Semantic.DeepEqual(a, b) {
			return true
		}
	}
	return !equality.Semantic.DeepEqual(content(live), content(applied)) ||
		!sameOwnership(live, applied, manager)
}

// content is the object without what differs does not compare field by field.
func content(obj *unstructured.Unstructured) map[string]any {
	fields := make(map[string]any, len(obj.Object))
	for key, value := range obj.Object {
		switch key {
		case "metadata", "status", "apiVersion", "kind":
		default:
			fields[key] = value
		}
	}
	return fields
}

// sameOwnership compares the fields that the manager owns by applying.
func sameOwnership(a, b *unstructured.Unstructured, manager string) bool {
	return bytes.Equal(ownedFields(a, manager), ownedFields(b, manager))
}

func ownedFields(obj *unstructured.Unstructured, manager string) []byte {
	for _, entry := range obj.GetManagedFields() {
		if entry.Manager == manager && entry.Operation == metav1.ManagedFieldsOperationApply &&
			entry.Subresource == "" && entry.FieldsV1 != nil {
			return entry.FieldsV1.GetRawBytes()
		}
	}
	return nil
}
