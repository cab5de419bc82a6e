package apply

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Print is the fingerprint of an object: what of its metadata changes when
// somebody changes what we have applied.
type Print [16]byte

// askedOf are the words after the owner's group that an object may carry and
// that say how it is to be treated.
var askedOf = []string{"name", "namespace", "prune", "reconcile", "force", "ssa"}

// Fingerprint reduces an object's metadata to what tells whether the object is
// still as we have applied it. The API server takes a field out of our entry in
// managedFields when somebody else changes it, so the entry stands for the
// values; the rest is the object's identity, the owner's labels and
// annotations, whether it is being deleted, and whether there is anything in
// it that the clean-up takes away. What others add, and what is reported as
// status, does not change it.
//
// It is false for objects without an entry of ours, which cannot be judged that
// way.
func (o Owner) Fingerprint(obj metav1.Object) (Print, bool) {
	sum, owned := sha256.New(), false
	write(sum, string(obj.GetUID()), fmt.Sprint(obj.GetDeletionTimestamp() != nil))
	for _, key := range askedOf {
		write(sum, obj.GetLabels()[o.Group+"/"+key], obj.GetAnnotations()[o.Group+"/"+key])
	}
	for _, entry := range obj.GetManagedFields() {
		if !o.isOurs(entry) {
			continue
		}
		owned = true
		write(sum, entry.APIVersion)
		if entry.Time != nil {
			write(sum, fmt.Sprint(entry.Time.Unix()))
		}
		write(sum, FieldsText(entry))
	}
	if o.hasForeign(obj) {
		write(sum, "foreign")
	}
	var reduced Print
	copy(reduced[:], sum.Sum(nil))
	return reduced, owned
}

// FieldsText is the fields of an entry in one order; empty for none. Servers write those of
// a list by its keys, numbers as numbers, and who reads them into a map by the letters.
func FieldsText(entry metav1.ManagedFieldsEntry) string {
	if entry.FieldsV1 == nil {
		return ""
	}
	var read map[string]any
	if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &read); err != nil {
		return entry.FieldsV1.GetRawString()
	}
	written, err := json.Marshal(read)
	if err != nil {
		return entry.FieldsV1.GetRawString()
	}
	return string(written)
}

// write adds texts to a sum so that no two lists of them are the same.
func write(sum hash.Hash, texts ...string) {
	for _, text := range texts {
		_, _ = fmt.Fprintf(sum, "%d:", len(text))
		_, _ = sum.Write([]byte(text))
	}
}

// isOurs says whether an entry is of our applying.
func (o Owner) isOurs(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager == o.FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
}

// hasForeign says whether the clean-up would take something away.
func (o Owner) hasForeign(obj metav1.Object) bool {
	if o.merges(obj) {
		return false
	}
	if len(stripped(obj)) > 0 {
		return true
	}
	return slices.ContainsFunc(obj.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		if o.isOurs(entry) || !o.isForeign(entry) {
			return false
		}
		set, err := fieldsOf(entry)
		if err != nil {
			return false
		}
		rest, _ := o.divide(set)
		return !rest.Empty()
	})
}

// merges says whether the object wants to keep what others write by hand.
func (o Owner) merges(obj metav1.Object) bool {
	return strings.EqualFold(obj.GetLabels()[o.Group+"/ssa"], "merge") ||
		strings.EqualFold(obj.GetAnnotations()[o.Group+"/ssa"], "merge")
}
