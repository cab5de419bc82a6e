package apply

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// conflictAttempts is how often a write that is for one version of an object is
// tried while the object changes all the time.
const conflictAttempts = 3

// Prune deletes the objects in the reverse of the order of applying. Objects
// that are gone, that carry another owner's labels or none, or that ask not to
// be pruned, are left alone and are nobody's any more. It returns what it
// deleted, and with an error also the objects that it could not delete.
func (a *Applier) Prune(ctx context.Context, refs []Ref) (deleted []Change, kept []Ref, err error) {
	refs = slices.Clone(refs)
	slices.SortFunc(refs, func(x, y Ref) int { return compareRefs(y, x) })
	kinds := make([]string, len(refs))
	for i, ref := range refs {
		kinds[i] = ref.Kind
	}
	var errs []error
	first := 0
	for _, end := range waves(kinds) {
		wave, gone := refs[first:end], make([]Action, end-first)
		errs = append(errs, a.parallel(ctx, len(wave), func(i int) error {
			var err error
			gone[i], err = a.pruneOne(ctx, wave[i])
			return err
		})...)
		for i, ref := range wave {
			switch gone[i] {
			case "":
				kept = append(kept, ref)
			case Deleted:
				a.Memory.forget(ref)
				deleted = append(deleted, Change{Ref: ref, Action: Deleted})
			}
		}
		first = end
	}
	return deleted, kept, joined(errs)
}

// pruneOne deletes one object and says whether it did. The action is empty
// when it failed.
func (a *Applier) pruneOne(ctx context.Context, ref Ref) (Action, error) {
	var err error
	for range conflictAttempts {
		var live *unstructured.Unstructured
		live, err = a.locate(ctx, ref)
		if err != nil {
			return "", err
		}
		if live == nil || !a.mayPrune(live) {
			return Skipped, nil
		}
		err = a.delete(ctx, live)
		switch {
		case err == nil:
			return Deleted, nil
		case apierrors.IsNotFound(err):
			return Skipped, nil
		case !apierrors.IsConflict(err):
			return "", &objectError{ref: ref, verb: "delete", err: err}
		}
	}
	return "", &objectError{ref: ref, verb: "delete", err: err}
}

// mayPrune says whether a live object is ours to delete and has not been
// deleted already.
func (a *Applier) mayPrune(live *unstructured.Unstructured) bool {
	owner, owned := a.Owner.Of(live)
	return owned && a.Owner.is(owner) &&
		live.GetDeletionTimestamp().IsZero() &&
		!a.Owner.excluded(live) &&
		!a.Owner.says(live, "prune", "disabled")
}

// delete asks for the very object that was looked at to be deleted, and what
// depends on it in the background.
func (a *Applier) delete(ctx context.Context, live *unstructured.Unstructured) error {
	uid, version := live.GetUID(), live.GetResourceVersion()
	return a.Client.Delete(ctx, live,
		client.PropagationPolicy(metav1.DeletePropagationBackground),
		client.Preconditions{UID: &uid, ResourceVersion: &version})
}
