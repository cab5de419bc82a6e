package source

import (
	"context"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	newArtifactReason = "NewArtifact"
	// metadataPrefix is that of the API group: receivers keep no other keys.
	metadataPrefix = "source.toolkit.fluxcd.io/"
)

// announce tells of content that was not stored before.
func (r *Reconciler[T]) announce(ctx context.Context, obj T, summary string) {
	reason, message := newArtifactReason, "stored artifact "+summary
	if teller, own := r.Fetcher.(Teller[T]); own {
		reason, message = teller.Ready(obj)
	}
	r.Events.Publish(ctx, obj, reconcile.Event{
		Severity: reconcile.SeverityInfo,
		Reason:   reason,
		Message:  message,
		Metadata: eventMetadata(obj.GetArtifact()),
	})
}

// isNew says whether the artifact has other content than the one before.
func isNew(before, now *meta.Artifact) bool { return before == nil || before.Digest != now.Digest }

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
