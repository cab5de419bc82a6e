package kustomize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// maxHistory is how many snapshots the history has, as Flux's.
const maxHistory = 5

// attempt is one run that reached the target.
type attempt struct {
	// digest of the rendered objects.
	digest  string
	started time.Time
	// before is the status as the run found it.
	before kustomizev1.KustomizationStatus
	// moving says that the next build of the same may have another result.
	moving bool
}

// digestOf identifies what was rendered.
func digestOf(objects []*unstructured.Unstructured) (string, error) {
	sum := sha256.New()
	encoder := json.NewEncoder(sum)
	for _, obj := range objects {
		if err := encoder.Encode(obj.Object); err != nil {
			return "", fmt.Errorf("digest of the rendered objects: %w", err)
		}
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// record puts the end of a run into the history. A run that ended as the last
// one did is counted in memory, and written along with the next real change:
// else a status would be written at each interval.
func (r *Reconciler) record(ctx context.Context, obj *kustomizev1.Kustomization, to *target, run attempt, err error) error {
	word, ended := resultOf(err)
	if !ended {
		return err
	}
	now := r.Clock.Now()
	snapshot := meta.Snapshot{
		Digest:                 run.digest,
		LastReconciled:         metav1.NewTime(now),
		LastReconciledDuration: metav1.Duration{Duration: now.Sub(run.started).Round(time.Millisecond)},
		LastReconciledStatus:   word,
		Metadata:               map[string]string{"revision": to.src.Revision},
	}
	if origin := to.src.Metadata[originRevision]; origin != "" {
		snapshot.Metadata["originRevision"] = origin
	}
	snapshot.TotalReconciliations = r.counts.add(obj, run.digest, word)
	if isLast(obj.Status.History, snapshot) && unchanged(run.before, obj.Status) {
		return err
	}
	if fenceErr := r.fence(ctx, obj, to); fenceErr != nil {
		// The outcome of the run is what is to be told; the history waits.
		return err
	}
	r.counts.drop(client.ObjectKeyFromObject(obj))
	obj.Status.History = withSnapshot(obj.Status.History, snapshot)
	if obj.Status.LastAttemptedRevision != to.src.Revision {
		// What was waited for is another revision's.
		obj.Status.LastAttemptedRevision, obj.Status.WaitingSince = to.src.Revision, nil
	}
	return err
}

// resultOf is the reason that a run ended with; not ended are those that wait.
func resultOf(err error) (word string, ended bool) {
	if err == nil {
		return meta.ReconciliationSucceededReason, true
	}
	switch reason, _ := reconcile.ReasonOf(err); reason {
	case meta.ReconciliationFailedReason, meta.PruneFailedReason, meta.HealthCheckFailedReason, meta.OwnershipConflictReason:
		return reason, true
	}
	return "", false
}

// isLast says whether the snapshot is the newest in the history once more.
func isLast(history meta.History, snapshot meta.Snapshot) bool {
	return len(history) > 0 && history[0].Digest == snapshot.Digest &&
		history[0].LastReconciledStatus == snapshot.LastReconciledStatus &&
		equality.Semantic.DeepEqual(history[0].Metadata, snapshot.Metadata)
}

// unchanged says whether nothing but conditions, which anybody may write who the
// record names, differs.
func unchanged(before, after kustomizev1.KustomizationStatus) bool {
	before.Conditions, after.Conditions = nil, nil
	return equality.Semantic.DeepEqual(before, after)
}

// withSnapshot puts the snapshot at the head of the history: into the one of the
// same digest and outcome, or as a new one. The oldest falls off.
func withSnapshot(history meta.History, snapshot meta.Snapshot) meta.History {
	snapshot.FirstReconciled = snapshot.LastReconciled
	rest := make(meta.History, 0, len(history)+1)
	for _, old := range history {
		if old.Digest == snapshot.Digest && old.LastReconciledStatus == snapshot.LastReconciledStatus {
			snapshot.FirstReconciled = old.FirstReconciled
			snapshot.TotalReconciliations += old.TotalReconciliations
			continue
		}
		rest = append(rest, old)
	}
	rest = slices.Insert(rest, 0, snapshot)
	return rest[:min(len(rest), maxHistory)]
}

// counts remembers how many runs have ended alike since the history was
// written. It is safe for concurrent use, and what it holds may be lost: these
// are numbers for people.
type counts struct {
	mu sync.Mutex
	of map[types.NamespacedName]sameRuns
}

type sameRuns struct {
	uid          types.UID
	digest, word string
	runs         int64
}

// add counts one more run and returns how many there are.
func (c *counts) add(obj *kustomizev1.Kustomization, digest, word string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := client.ObjectKeyFromObject(obj)
	last := c.of[name]
	if last.uid != obj.UID || last.digest != digest || last.word != word {
		last = sameRuns{uid: obj.UID, digest: digest, word: word}
	}
	last.runs++
	if c.of == nil {
		c.of = map[types.NamespacedName]sameRuns{}
	}
	c.of[name] = last
	return last.runs
}

func (c *counts) drop(name types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, name)
}
