package source

import (
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	newArtifactReason = "NewArtifact"
	// metadataPrefix is that of the API group: receivers keep no other keys.
	metadataPrefix = "source.toolkit.fluxcd.io/"
)

// newArtifact announces content that was not stored before.
func newArtifact(a *meta.Artifact, summary string) reconcile.Event {
	return reconcile.Event{
		Severity: reconcile.SeverityInfo,
		Reason:   newArtifactReason,
		Message:  "stored artifact " + summary,
		Metadata: eventMetadata(a),
	}
}

// eventMetadata says which state of a source an event is about; nil when there
// is none.
func eventMetadata(a *meta.Artifact) map[string]string {
	if a == nil {
		return nil
	}
	return map[string]string{metadataPrefix + "revision": a.Revision, metadataPrefix + "digest": a.Digest}
}

// Revision is what the loop's own events say of the object's state.
func (r *Reconciler[T]) Revision(obj T) map[string]string {
	return eventMetadata(obj.GetArtifact())
}
