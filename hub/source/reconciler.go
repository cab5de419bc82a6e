package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	ctrlreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/queue"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Reconciler keeps the artifact of each object of one kind as new as its
// remote. It is a reconcile.Kind.
type Reconciler[T Object] struct {
	// Fetcher knows the kind.
	Fetcher Fetcher[T]
	// Store keeps the artifacts.
	Store *artifact.Store
	// Events announces new artifacts.
	Events *reconcile.Recorder
	// Pace is how hard the controller works.
	Pace reconcile.Pace
	// Stored is the message of an object that is well, with one %s for its
	// revision; "stored artifact for revision '%s'".
	Stored string
	// Watches adds to what the controller watches; may be nil.
	Watches func(*builder.Builder)
	// Wrap puts a reconciler of the kind's own in front of the loop; may be
	// nil.
	Wrap func(ctrlreconcile.Reconciler) ctrlreconcile.Reconciler

	// places are those of the runs that make something of what they have fetched.
	places *queue.Places
}

// Reconcile resolves the remote and publishes a new artifact if need be.
func (r *Reconciler[T]) Reconcile(ctx context.Context, obj T) error {
	ctx, leave := r.places.Visit(ctx)
	defer leave()
	before := obj.GetArtifact()
	if err := r.checkStored(obj); err != nil {
		return err
	}
	rev, err := r.Fetcher.Resolve(ctx, obj)
	if err != nil {
		return fetchFailed(obj, err)
	}
	defer rev.release()
	if r.current(obj, rev) {
		obj.GetArtifact().URL = r.Store.URL(obj.GetArtifact().Path)
		r.done(ctx, obj, rev)
		return nil
	}
	outdated(obj, rev)
	summary, err := r.rebuild(ctx, obj, rev)
	if err != nil {
		return err
	}
	r.done(ctx, obj, rev)
	if isNew(before, obj.GetArtifact()) {
		r.announce(ctx, obj, summary)
	}
	return nil
}

// checkStored takes an artifact out of the status that is not in the store any
// longer, or damaged there: it is rebuilt although the remote has not moved.
func (r *Reconciler[T]) checkStored(obj T) error {
	if obj.GetArtifact() == nil {
		return nil
	}
	err := r.Store.Verify(obj.GetArtifact())
	switch {
	case errors.Is(err, artifact.ErrNotFound), errors.Is(err, artifact.ErrDigest):
		obj.SetArtifact(nil)
		lost(obj)
		return nil
	case err != nil:
		return storageFailed(obj, readOperationFailedReason, err)
	}
	return nil
}

// current says whether the artifact in status is what a rebuild would give.
func (r *Reconciler[T]) current(obj T, rev Revision) bool {
	stored := obj.GetArtifact()
	ignore, observed := r.Fetcher.Ignore(obj)
	observer, more := r.Fetcher.(Observer[T])
	return stored != nil && !rev.Stale && stored.Revision == rev.Name && path.Base(stored.Path) == rev.file() &&
		ptr.Equal(ignore, *observed) &&
		(!more || observer.Observed(obj))
}

// rebuild fetches the revision and publishes it. The artifact in status changes
// at its end only.
func (r *Reconciler[T]) rebuild(ctx context.Context, obj T, rev Revision) (summary string, err error) {
	work, done, err := r.Store.WorkDir()
	if err != nil {
		return "", storageFailed(obj, directoryCreationFailedReason, err)
	}
	defer done()
	dir := filepath.Join(work, "tree")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", storageFailed(obj, directoryCreationFailedReason, fmt.Errorf("making a directory to fetch into: %w", err))
	}
	content, err := r.Fetcher.Fetch(ctx, obj, rev, dir)
	if err != nil {
		return "", fetchFailed(obj, err)
	}
	defer content.Close()
	fetched(obj)
	if err := r.publish(ctx, obj, rev, dir, content); err != nil {
		return "", err
	}
	return content.Summary, nil
}

// publish makes the artifact, within spec.timeout where the kind has one: many
// excludes and many files take long together.
func (r *Reconciler[T]) publish(ctx context.Context, obj T, rev Revision, dir string, content Content) error {
	if err := queue.Enter(ctx); err != nil {
		return storageFailed(obj, archiveOperationFailedReason, err)
	}
	if limited, ok := any(obj).(interface{ Timeout() time.Duration }); ok {
		within, cancel := r.Pace.MaxTimeout.Within(ctx, limited.Timeout())
		defer cancel()
		ctx = within
	}
	ignore, observed := r.Fetcher.Ignore(obj)
	write, err := writer(ctx, dir, content, ignore)
	if err != nil {
		return storageFailed(obj, sourceIgnoreErrorReason, err)
	}
	stored, err := r.Store.Publish(ctx, r.ref(obj), rev.Name, rev.file(), write)
	if err != nil {
		return storageFailed(obj, archiveOperationFailedReason, err)
	}
	stored.Metadata = content.Metadata
	obj.SetArtifact(stored)
	*observed = ignore
	return nil
}

// writer makes the artifact of what was fetched.
func writer(ctx context.Context, dir string, content Content, ignore *string) (func(io.Writer) error, error) {
	if content.File != "" {
		return func(w io.Writer) error { return copyFile(w, content.File) }, nil
	}
	tree := content.Files(dir)
	var exclude func(string, bool) bool
	if !content.Whole {
		var err error
		if exclude, err = excluder(ctx, tree, ignore); err != nil {
			return nil, err
		}
	}
	return func(w io.Writer) error { return artifact.Archive(ctx, w, tree, exclude) }, nil
}

func copyFile(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}

// done ends a run that went well. The link to the newest artifact leads to this one
// also where another was published meanwhile that never got into the status.
func (r *Reconciler[T]) done(ctx context.Context, obj T, rev Revision) {
	if observer, more := r.Fetcher.(Observer[T]); more {
		observer.Observe(obj, rev)
	}
	if err := r.Store.Link(obj.GetArtifact()); err != nil {
		log.FromContext(ctx).Error(err, "link not renewed")
	}
	if linked, ok := any(obj).(interface{ SetLatestURL(url string) }); ok {
		linked.SetLatestURL(r.Store.LatestURL(obj.GetArtifact().Path))
	}
	reason, message := r.Ready(obj)
	stored(obj, reason, message)
}

// Settled collects the garbage, when the status is written: until then it names the
// artifact before. Garbage that cannot be collected harms nobody now, and is tried
// again after the next run.
func (r *Reconciler[T]) Settled(written client.Object) {
	obj, ok := written.(T)
	if !ok || obj.GetArtifact() == nil {
		return
	}
	if _, err := r.Store.GC(r.ref(obj), obj.GetArtifact().Path); err != nil {
		log.Log.Error(err, "garbage not collected", "kind", r.Fetcher.Kind(), "namespace", obj.GetNamespace(), "name", obj.GetName())
	}
}

// Finalize removes what is stored for the object.
func (r *Reconciler[T]) Finalize(_ context.Context, obj T) error {
	if err := r.Store.Remove(r.ref(obj)); err != nil {
		return reconcile.Fail(garbageCollectionFailedReason, err)
	}
	return nil
}

// Ready says which revision is stored.
func (r *Reconciler[T]) Ready(obj T) (reason, message string) {
	if teller, own := r.Fetcher.(Teller[T]); own {
		return teller.Ready(obj)
	}
	format := r.Stored
	if format == "" {
		format = "stored artifact for revision '%s'"
	}
	return meta.SucceededReason, fmt.Sprintf(format, obj.GetArtifact().Revision)
}

func (r *Reconciler[T]) ref(obj T) artifact.Ref {
	return artifact.Ref{Kind: r.Fetcher.Kind(), Namespace: obj.GetNamespace(), Name: obj.GetName()}
}
