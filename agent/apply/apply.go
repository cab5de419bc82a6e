package apply

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
		errs := a.parallel(ctx, len(wave), func(i int) error {
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
	obj := change.desired.DeepCopy()
	if change.Live != nil {
		if err := a.takeForeign(ctx, obj, change.Live); err != nil {
			return &objectError{ref: change.Ref, verb: "apply", err: err}
		}
		// An apply that carries a uid fails on any other object of the name,
		// and does not bring back one that is gone.
		obj.SetUID(change.Live.GetUID())
	}
	if err := a.apply(ctx, obj); err != nil {
		return &objectError{ref: change.Ref, verb: "apply", err: err}
	}
	change.Live = obj
	return nil
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
