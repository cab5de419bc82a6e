package kustomize

import (
	"context"
	"fmt"
	"strings"
	"sync"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/apply"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// listed is how many lines the message of an event has.
const listed = 100

// announce publishes what was changed at the target, if anything was.
func (r *Reconciler) announce(ctx context.Context, obj *kustomizev1.Kustomization, at *target, changes []apply.Change) {
	lines := changeList(changes)
	if len(lines) == 0 {
		return
	}
	metadata := r.revisionOf(obj)
	if at.src != nil {
		metadata = revisionMetadata(at.src.Revision, at.src.Metadata[originRevision])
	}
	r.Events.Publish(ctx, obj, reconcile.Event{
		Severity: reconcile.SeverityInfo,
		Reason:   meta.ProgressingReason,
		Message:  strings.Join(shortened(lines), "\n"),
		Metadata: metadata,
	})
}

// changeList has one line for each object that was changed:
// Kind/namespace/name created.
func changeList(changes []apply.Change) []string {
	var lines []string
	for _, change := range changes {
		switch change.Action {
		case apply.Created, apply.Configured, apply.Deleted:
			lines = append(lines, fmt.Sprintf("%s %s", change.Ref, change.Action))
		}
	}
	return lines
}

// shortened cuts a list that is too long for an event.
func shortened(lines []string) []string {
	if len(lines) <= listed {
		return lines
	}
	return append(lines[:listed:listed], fmt.Sprintf("... and %d more", len(lines)-listed))
}

// revisions remembers which artifact each Kustomization is at, for the events of a run
// that ends before the status has it. It is safe for concurrent use.
type revisions struct {
	mu sync.Mutex
	of map[types.NamespacedName]*meta.Artifact
}

// set notes the artifact of a run; nil when there is none yet.
func (r *revisions) set(name types.NamespacedName, src *meta.Artifact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[types.NamespacedName]*meta.Artifact{}
	}
	if src == nil {
		delete(r.of, name)
		return
	}
	r.of[name] = src
}

func (r *revisions) get(name types.NamespacedName) *meta.Artifact {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[name]
}

// revisionOf is the metadata of events about a Kustomization: the commit that the run
// is about, or else that of the last one.
func (r *Reconciler) revisionOf(obj *kustomizev1.Kustomization) map[string]string {
	if src := r.revisions.get(client.ObjectKeyFromObject(obj)); src != nil {
		return revisionMetadata(src.Revision, src.Metadata[originRevision])
	}
	return revisionMetadata(obj.Status.LastAttemptedRevision, obj.Status.LastAppliedOriginRevision)
}

// readyMetadata is the metadata of events about the Ready condition. A success
// is marked as an update of a commit's status, as Flux does: receivers that write
// for people leave those out.
func (r *Reconciler) readyMetadata(obj *kustomizev1.Kustomization) map[string]string {
	metadata := r.revisionOf(obj)
	if apimeta.IsStatusConditionTrue(obj.Status.Conditions, meta.ReadyCondition) {
		metadata[kustomizev1.GroupVersion.Group+"/commit_status"] = "update"
	}
	return metadata
}

// healthPassed says that the check of a revision has passed.
func healthPassed(src *meta.Artifact) reconcile.Event {
	return reconcile.Event{
		Severity: reconcile.SeverityInfo,
		Reason:   meta.ProgressingReason,
		Message:  healthyMessage,
		Metadata: revisionMetadata(src.Revision, src.Metadata[originRevision]),
	}
}

func revisionMetadata(revision, origin string) map[string]string {
	metadata := map[string]string{}
	if revision != "" {
		metadata[kustomizev1.GroupVersion.Group+"/revision"] = revision
	}
	if origin != "" {
		metadata[kustomizev1.GroupVersion.Group+"/originRevision"] = origin
	}
	return metadata
}
