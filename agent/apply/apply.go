package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Apply does what the plan says, wave after wave, and returns what was done, in
// the order of the plan. It returns that also when it fails: then the objects
// that failed, and those of later waves that were never tried, are left out.
func (a *Applier) Apply(ctx context.Context, plan *Plan) ([]Change, error) {
	kinds := make([]string, len(plan.Changes))
	for i, change := range plan.Changes {
		kinds[i] = change.Ref.Kind
	}
	var done []Change
	first := 0
	for _, end := range waves(kinds) {
		wave, ok := plan.Changes[first:end], make([]bool, end-first)
		leader := slices.IndexFunc(wave, func(change Change) bool { return change.leads })
		if leader >= 0 {
			if err := a.applyOne(ctx, &wave[leader]); err != nil {
				return done, joined([]error{err})
			}
			ok[leader] = true
		}
		errs := a.parallel(ctx, len(wave), func(i int) error {
			if i == leader {
				return nil
			}
			err := a.applyOne(ctx, &wave[i])
			ok[i] = err == nil
			return err
		})
		for i, change := range wave {
			if ok[i] {
				done = append(done, change)
			}
		}
		if len(errs) > 0 {
			return done, joined(errs)
		}
		first = end
	}
	return done, nil
}

// applyOne applies one object and notes what the server made of it.
func (a *Applier) applyOne(ctx context.Context, change *Change) error {
	if change.Action != Created && change.Action != Configured {
		return nil
	}
	if change.direct {
		if a.update(ctx, change) == nil {
			return nil
		}
		// It is not as it was known, or not acceptable: find out.
		if err := a.ask(ctx, change); err != nil || change.Action == Unchanged || change.Action == Skipped {
			return err
		}
	}
	obj, live := change.desired, change.Live
	switch {
	case change.replace:
		obj = change.manifest
		if err := a.remove(ctx, change.Ref, live); err != nil {
			return &objectError{ref: change.Ref, verb: "delete", err: err}
		}
	case live != nil:
		if err := a.takeForeign(ctx, obj, live, change.stuck); err != nil {
			return &objectError{ref: change.Ref, verb: "apply", err: err}
		}
		obj = withUID(obj, live.GetUID())
	}
	answer, err := a.put(ctx, obj)
	if err != nil {
		return &objectError{ref: change.Ref, verb: "apply", err: err}
	}
	if change.Action == Configured && live.GetResourceVersion() == answer.GetResourceVersion() {
		// The server keeps no write that changes nothing.
		change.Action = Unchanged
	}
	a.done(change, answer)
	return nil
}

// errForeign says that there is something in an object that the clean-up takes away.
var errForeign = errors.New("others own fields that they are not to own")

// update applies an object that is known well enough not to be read. It fails also
// when that was not all, as for one that others may not merge into any longer.
func (a *Applier) update(ctx context.Context, change *Change) error {
	answer, err := a.put(ctx, withUID(change.desired, change.before.uid))
	if err != nil {
		return err
	}
	if a.Owner.hasForeign(answer) {
		return errForeign
	}
	if answer.GetResourceVersion() == change.version {
		change.Action = Unchanged
	}
	a.done(change, answer)
	return nil
}

// done notes what the server has made of an object.
func (a *Applier) done(change *Change, answer metav1.Object) {
	if whole, ok := answer.(*unstructured.Unstructured); ok {
		change.Live = whole
	}
	a.note(change, answer)
}

// remove deletes an object that is to be made anew, and waits until it is gone.
func (a *Applier) remove(ctx context.Context, ref Ref, live *unstructured.Unstructured) error {
	uid := live.GetUID()
	for range conflictAttempts {
		err := a.delete(ctx, live)
		if err == nil || apierrors.IsNotFound(err) {
			break
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		if live, err = a.get(ctx, ref); err != nil {
			return err
		}
		if live == nil || live.GetUID() != uid {
			break
		}
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	var held []string
	err := wait.PollUntilContextCancel(ctx, settlePoll, true, func(ctx context.Context) (bool, error) {
		live, err := a.get(ctx, ref)
		if err != nil || live == nil || live.GetUID() != uid {
			return err == nil, err
		}
		held = live.GetFinalizers()
		return false, nil
	})
	if wait.Interrupted(err) && len(held) > 0 {
		return fmt.Errorf("it is to be made anew and does not go, held by the finalizers %s: see to what is to clean up for them", strings.Join(held, ", "))
	}
	return err
}

// established says whether an object that others of later stages need is ready
// to be used.
func established(obj *unstructured.Unstructured) bool {
	switch {
	case obj == nil:
		return true
	case obj.GetKind() == kindNamespace:
		phase, _, _ := unstructured.NestedString(obj.Object, "status", "phase")
		return phase == "Active"
	case obj.GetKind() == kindCRD:
		return hasCondition(obj, "Established")
	}
	return true
}

func hasCondition(obj *unstructured.Unstructured, kind string) bool {
	conditions, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		if condition["type"] == kind {
			return condition["status"] == "True"
		}
	}
	return false
}
