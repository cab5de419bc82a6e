package action

import (
	"crypto/sha256"
	"encoding/json"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-dev/headwater/agent/apply"
)

// Looked is an object as a look for drift has found it.
type Looked struct {
	apply.Ref
	// ResourceVersion is empty for one that is not there.
	ResourceVersion string
	Print           [16]byte
	// Blind says that its metadata does not show what becomes of it: its labels do not
	// name the HelmRelease, or the server notes nobody's fields.
	Blind bool
	// Expires says that it removes itself when it is done.
	Expires bool
}

// lookedAt notes an object; live is nil where it is not there.
func lookedAt(owner apply.Owner, desired, live *unstructured.Unstructured) Looked {
	made := Looked{Ref: apply.RefTo(desired), Expires: apply.Expires(desired)}
	marked := desired
	if live != nil {
		made.ResourceVersion, made.Print, marked = live.GetResourceVersion(), Print(live), live
		made.Blind = len(live.GetManagedFields()) == 0
	}
	if name, _ := owner.Of(marked); name.Namespace != owner.Namespace || name.Name != owner.Name {
		made.Blind = true
	}
	return made
}

// Print reduces an object's metadata to what changes when somebody changes the
// object: whose fields they are, and since when. What is reported as status does
// not count. It may be another one where nothing of the release has changed.
func Print(obj metav1.Object) (reduced [16]byte) {
	type entry struct {
		Manager, Operation, Version, Subresource, Fields string
		Time                                             time.Time
	}
	of := struct {
		UID           types.UID
		Generation    int64
		Deleted       bool
		Label, Exempt string
		Fields        []entry
	}{
		UID: obj.GetUID(), Generation: obj.GetGeneration(), Deleted: obj.GetDeletionTimestamp() != nil,
		Label: obj.GetLabels()[exempt], Exempt: obj.GetAnnotations()[exempt],
	}
	for _, from := range obj.GetManagedFields() {
		if from.Subresource == "status" {
			continue
		}
		made := entry{Manager: from.Manager, Operation: string(from.Operation), Version: from.APIVersion, Subresource: from.Subresource, Fields: apply.FieldsText(from)}
		if from.Time != nil {
			made.Time = from.Time.UTC()
		}
		of.Fields = append(of.Fields, made)
	}
	raw, _ := json.Marshal(of) // cannot fail: these are texts and numbers
	sum := sha256.Sum256(raw)
	copy(reduced[:], sum[:])
	return reduced
}
