package apply

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Action is what happens, or happened, to one object.
type Action string

// The actions, in the words of events.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Skipped    Action = "skipped"
	Deleted    Action = "deleted"
)

// Change is one object of a plan, or what was done to it.
type Change struct {
	Ref    Ref
	Action Action
	// Live is the object as the server had it when it was looked at last: nil
	// when it is absent.
	Live *unstructured.Unstructured

	// desired is what is to be applied.
	desired *unstructured.Unstructured
}

// Conflict is an object whose labels name another owner.
type Conflict struct {
	Ref   Ref
	Owner types.NamespacedName
}

// Plan is what applying one stage will do.
type Plan struct {
	// Changes has one entry for each object, in the order of applying.
	Changes []Change
	// Conflicts are the objects that somebody else owns. The plan takes them
	// over: a caller that does not want that does not apply it.
	Conflicts []Conflict
}

// Creates returns the objects that the plan creates.
func (p *Plan) Creates() []Ref {
	var refs []Ref
	for _, change := range p.Changes {
		if change.Action == Created {
			refs = append(refs, change.Ref)
		}
	}
	return refs
}

// Writes says whether the plan writes anything.
func (p *Plan) Writes() bool {
	for _, change := range p.Changes {
		if change.Action == Created || change.Action == Configured {
			return true
		}
	}
	return false
}

// Plan looks at the objects of one stage and finds out, by a server-side
// dry-run of each, what applying them will do. It writes nothing. It fails when
// the server rejects any of them; the error names each.
func (a *Applier) Plan(ctx context.Context, stage []*unstructured.Unstructured) (*Plan, error) {
	plan := &Plan{Changes: make([]Change, len(stage))}
	errs := a.parallel(ctx, len(stage), func(i int) error {
		var err error
		plan.Changes[i], err = a.planOne(ctx, stage[i])
		return err
	})
	if len(errs) > 0 {
		return nil, joined(errs)
	}
	for _, change := range plan.Changes {
		if change.Live == nil || change.Action == Skipped {
			continue
		}
		if owner, owned := a.Owner.of(change.Live); owned && !a.Owner.is(owner) {
			plan.Conflicts = append(plan.Conflicts, Conflict{Ref: change.Ref, Owner: owner})
		}
	}
	return plan, nil
}

func (a *Applier) planOne(ctx context.Context, obj *unstructured.Unstructured) (Change, error) {
	ref := RefTo(obj)
	change := Change{Ref: ref, Action: Skipped, desired: obj}
	if a.Owner.excluded(obj) {
		return change, nil
	}
	live, err := a.get(ctx, ref)
	if err != nil {
		return change, err
	}
	change.Live = live
	if live != nil && (a.Owner.excluded(live) || a.Owner.says(obj, "ssa", "ifnotpresent")) {
		return change, nil
	}
	applied := obj.DeepCopy()
	if err := a.apply(ctx, applied, client.DryRunAll); err != nil {
		return change, &objectError{ref: ref, verb: "dry-run", err: err}
	}
	switch {
	case live == nil:
		change.Action = Created
	case differs(live, applied, a.Owner.FieldManager) || a.foreign(obj, live):
		change.Action = Configured
	default:
		change.Action = Unchanged
	}
	return change, nil
}

// get reads an object, nil when there is none.
func (a *Applier) get(ctx context.Context, ref Ref) (*unstructured.Unstructured, error) {
	obj := ref.object()
	err := a.Client.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, obj)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, &objectError{ref: ref, verb: "get", err: err}
	}
	return obj, nil
}

// apply sends the object and replaces it by the server's answer.
func (a *Applier) apply(ctx context.Context, obj *unstructured.Unstructured, options ...client.ApplyOption) error {
	options = append(options, client.ForceOwnership, client.FieldOwner(a.Owner.FieldManager))
	return a.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), options...)
}
