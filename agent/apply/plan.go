package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

	// Held is how long a correction has to wait because the object was put back
	// too often; zero for all others. Rival is the manager that changes it, named
	// the first time only.
	Held  time.Duration
	Rival string

	// desired is what is to be applied, and digest stands for it. One that is made
	// anew gets all of the manifest, with the fields that are left to others.
	desired, manifest *unstructured.Unstructured
	digest            digest
	// before is what was remembered of the object, if anything.
	before     known
	remembered bool
	// direct says that the object is known well enough to be written without
	// having been read; version is what it had before.
	direct  bool
	version string
	// leads says that the object goes before all others of its stage, and is its
	// own dry-run: if it is refused nothing has been applied.
	leads bool
	// rival is the manager, besides us, that has changed the object last.
	rival string
	// replace says that the object has to be deleted first.
	replace bool
	// stuck says that the server takes no apply for a version that it has lost.
	stuck bool
}

// Remembered says whether anything is known of the object's state: not of one
// whose manifest asks for it to be left alone.
func (c Change) Remembered() bool {
	return c.remembered || c.Action != Skipped || c.Live != nil
}

// corrects says whether the change puts back what somebody else has changed.
func (c *Change) corrects() bool {
	return c.remembered && c.before.desired == c.digest
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

// Writes returns the objects that the plan creates or changes.
func (p *Plan) Writes() []Ref {
	var refs []Ref
	for _, change := range p.Changes {
		if change.Action == Created || change.Action == Configured {
			refs = append(refs, change.Ref)
		}
	}
	return refs
}

// Plan looks at the objects of one stage and finds out what applying them will
// do. Objects that are known to be as they were applied are not asked about; the
// others are dry-run at the server. It writes nothing. It fails when the server
// rejects any of them; the error names each.
func (a *Applier) Plan(ctx context.Context, stage []*unstructured.Unstructured) (*Plan, error) {
	plan := &Plan{Changes: make([]Change, len(stage))}
	left, err := a.Leave(ctx, stage)
	if err != nil {
		return nil, err
	}
	var open []*Change
	for i, obj := range left {
		change := &plan.Changes[i]
		change.manifest = stage[i]
		decided, err := a.recognise(change, obj)
		if err != nil {
			return nil, err
		}
		if !decided {
			open = append(open, change)
		}
	}
	if errs := a.check(open); len(errs) > 0 {
		return nil, joined(errs)
	}
	if errs := a.find(ctx, open); len(errs) > 0 {
		return nil, joined(errs)
	}
	for _, change := range plan.Changes {
		if change.Live == nil || change.Action == Skipped {
			continue
		}
		if owner, owned := a.Owner.Of(change.Live); owned && !a.Owner.is(owner) {
			plan.Conflicts = append(plan.Conflicts, Conflict{Ref: change.Ref, Owner: owner})
		}
	}
	return plan, nil
}

// find finds out what applying the objects of one stage would do.
func (a *Applier) find(ctx context.Context, open []*Change) []error {
	errs := a.parallel(ctx, len(open), func(i int) error {
		open[i].leads = i == 0 && a.mayLead(ctx, open[i])
		if open[i].leads || open[i].direct && (a.Unchecked || a.rehearse(ctx, open[i])) {
			return nil
		}
		return a.ask(ctx, open[i])
	})
	if len(errs) > 0 && open[0].leads {
		// It is not written now, so that what there is to say of it is still to be
		// asked.
		if err := a.ask(ctx, open[0]); err != nil {
			errs = slices.Insert(errs, 0, err)
		}
	}
	return errs
}

// check lets the caller's Check judge what is about to be changed.
func (a *Applier) check(open []*Change) []error {
	var errs []error
	for _, change := range open {
		if a.Check == nil {
			break
		}
		if err := a.Check(change.desired); err != nil {
			errs = append(errs, &objectError{ref: change.Ref, verb: "validation", err: err})
		}
	}
	return errs
}

// recognise fills in a change as far as that goes without asking the server, and
// says whether that is all.
func (a *Applier) recognise(change *Change, obj *unstructured.Unstructured) (decided bool, err error) {
	change.Ref, change.Action, change.desired = RefTo(obj), Skipped, obj
	if a.Owner.excluded(obj) {
		return true, nil
	}
	if change.digest, err = digestOf(obj); err != nil {
		return false, fmt.Errorf("%s: %w", change.Ref, err)
	}
	change.before, change.remembered = a.Memory.recall(change.Ref)
	if !change.remembered || a.Full {
		return false, nil
	}
	verdict, unchanged := compare(change.before, change.Ref, a.View), change.before.desired == change.digest
	switch {
	case a.onlyCreates(obj):
		return a.isPresent(change.Ref), nil
	case unchanged && verdict == same:
		if !change.before.skipped {
			change.Action = Unchanged
		}
		return true, nil
	case unchanged && verdict == drifted && a.Now != nil:
		change.Held = change.before.next(a.Now())
		if change.Held > 0 {
			change.Action, change.Rival = Unchanged, a.Memory.warn(change.Ref)
			return true, nil
		}
	case verdict == same && !change.before.skipped:
		change.Action, change.direct, change.version = Configured, true, change.before.version
	}
	return false, nil
}

// onlyCreates says whether the object is left alone once it is there.
func (a *Applier) onlyCreates(obj *unstructured.Unstructured) bool {
	return a.Owner.says(obj, "ssa", "ifnotpresent")
}

func (a *Applier) isPresent(ref Ref) bool {
	if a.View == nil {
		return false
	}
	seen, ok := a.View.Look(ref)
	return ok && seen.Present
}

// mayLead says whether the first object of a stage that is to be written can go
// without a dry-run: one that is known, or that is not there yet.
func (a *Applier) mayLead(ctx context.Context, change *Change) bool {
	if a.Unchecked || change.direct || change.remembered {
		return !a.Unchecked && change.direct
	}
	live, err := a.get(ctx, change.Ref)
	if err != nil || live != nil {
		return false // what there is to say of it the dry-run says
	}
	change.Action, change.direct = Created, true
	return true
}

// rehearse dry-runs an object that is known. It is false when the server does
// not take it that way, and has to be asked for more.
func (a *Applier) rehearse(ctx context.Context, change *Change) bool {
	answer, err := a.put(ctx, withUID(change.desired, change.before.uid), client.DryRunAll)
	if err != nil {
		return false
	}
	change.version = answer.GetResourceVersion()
	return true
}

// ask finds out from the server what applying an object would do, or with
// Unchecked as much of it as a look tells.
func (a *Applier) ask(ctx context.Context, change *Change) error {
	change.direct = false
	if a.Unchecked {
		return a.glance(ctx, change)
	}
	return a.dryRun(ctx, change)
}

// dryRun finds out from the server what applying an object would do. The dry-run
// comes first: its answer tells by itself when the object is new.
func (a *Applier) dryRun(ctx context.Context, change *Change) error {
	if a.onlyCreates(change.desired) {
		if live, err := a.get(ctx, change.Ref); live != nil || err != nil {
			return a.skip(change, live, err)
		}
	}
	applied := change.desired.DeepCopy()
	rejected := a.apply(ctx, applied, client.DryRunAll)
	if rejected == nil && applied.GetResourceVersion() == "" {
		change.Action = Created
		a.miss(change)
		return nil
	}
	live, err := a.get(ctx, change.Ref)
	if err != nil || live != nil && a.Owner.excluded(live) {
		return a.skip(change, live, err)
	}
	change.Live = live
	switch {
	case rejected != nil:
		return a.refused(ctx, change, rejected)
	case live == nil:
		change.Action = Created
		return nil
	}
	return a.judge(change, applied)
}

// refused finds out whether an object that the server has not taken can be applied
// all the same.
func (a *Applier) refused(ctx context.Context, change *Change, why error) error {
	switch {
	case change.Live == nil:
	case apierrors.IsInternalError(why) && a.lostVersions(change.Live, change.desired):
		// The server cannot convert what it says of the fields, and takes no apply at
		// all until they are moved, which comes before the object is applied.
		change.Action, change.stuck = Configured, true
		return nil
	case a.forces(change.desired) && a.hasToReplace(ctx, change.manifest, why):
		change.Action, change.replace = Created, true
		return nil
	}
	return &objectError{ref: change.Ref, verb: "dry-run", err: why}
}

// glance looks at an object that is to be applied without having been checked.
// Whether that changes it shows in the answer.
func (a *Applier) glance(ctx context.Context, change *Change) error {
	live, err := a.get(ctx, change.Ref)
	if err != nil || live != nil && (a.Owner.excluded(live) || a.onlyCreates(change.desired)) {
		return a.skip(change, live, err)
	}
	change.Live, change.Action = live, Created
	if live == nil {
		return nil
	}
	if a.forces(change.desired) {
		if err := a.apply(ctx, change.desired.DeepCopy(), client.DryRunAll); err != nil && a.hasToReplace(ctx, change.manifest, err) {
			change.replace = true
			return nil
		}
	}
	change.Action, change.rival = Configured, a.Owner.otherManager(live)
	return nil
}

// judge compares an object that is there with what the dry-run made of it.
func (a *Applier) judge(change *Change, applied *unstructured.Unstructured) error {
	patch, err := a.cleanUp(change.desired, change.Live, false)
	if err != nil {
		return &objectError{ref: change.Ref, verb: "dry-run", err: err}
	}
	if len(patch) > 0 || differs(change.Live, applied, a.Owner.FieldManager) {
		change.Action, change.rival = Configured, a.Owner.otherManager(change.Live)
		a.miss(change)
		return nil
	}
	change.Action = Unchanged
	a.note(change, change.Live)
	return nil
}

// skip leaves an object alone as it is.
func (a *Applier) skip(change *Change, live *unstructured.Unstructured, err error) error {
	if err != nil {
		return err
	}
	change.Action, change.Live = Skipped, live
	if live != nil {
		a.Memory.remember(a.Owner, change.Ref, live, known{desired: change.digest, skipped: true, once: a.onlyCreates(change.desired)})
	}
	return nil
}

// note remembers an object as the server has it now.
func (a *Applier) note(change *Change, live metav1.Object) {
	now := known{desired: change.digest, once: a.onlyCreates(change.desired)}
	if change.corrects() {
		before := change.before
		now.corrections, now.corrected, now.delay = before.corrections, before.corrected, before.delay
		now.rival, now.warned = before.rival, before.warned
		if change.Action != Unchanged && a.Now != nil {
			now = now.correct(a.Now(), a.Interval)
			if change.rival != "" {
				now.rival = change.rival
			}
		}
	}
	a.Memory.remember(a.Owner, change.Ref, live, now)
}

// miss tells of a difference that the view had not shown.
func (a *Applier) miss(change *Change) {
	if a.Full && a.Missed != nil && change.corrects() && compare(change.before, change.Ref, a.View) == same {
		a.Missed(change.Ref)
	}
}

// get reads an object, nil when there is none.
func (a *Applier) get(ctx context.Context, ref Ref, options ...client.GetOption) (*unstructured.Unstructured, error) {
	obj := ref.object()
	err := a.Client.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, obj, options...)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, &objectError{ref: ref, verb: "get", err: err}
	}
	return obj, nil
}

// locate reads an object by whichever version its kind is served in now. It is nil
// when there is none, and also where the cluster has the kind no more: with the
// definition the objects have gone.
func (a *Applier) locate(ctx context.Context, ref Ref) (*unstructured.Unstructured, error) {
	obj := ref.object()
	err := a.Client.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, obj)
	switch {
	case apimeta.IsNoMatchError(err) || isNoPath(err):
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, &objectError{ref: ref, verb: "get", err: err}
	default:
		return obj, nil
	}
	served, err := a.Mapper.RESTMapping(ref.GroupKind)
	if apimeta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, &objectError{ref: ref, verb: "get", err: err}
	}
	ref.Version = served.GroupVersionKind.Version
	return a.get(ctx, ref)
}

// isNoPath says whether the server has found nothing for it does not serve the
// path at all.
func isNoPath(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// apply sends the object and replaces it by the server's answer.
func (a *Applier) apply(ctx context.Context, obj *unstructured.Unstructured, options ...client.ApplyOption) error {
	options = append(options, client.ForceOwnership, client.FieldOwner(a.Owner.FieldManager))
	return a.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), options...)
}

// put applies an object as apply does, and returns what the server has to say of it.
// That is the metadata alone, where nothing else is needed of the kind: what is
// remembered of an object is in there, and an answer else is as large as the object.
func (a *Applier) put(ctx context.Context, obj *unstructured.Unstructured, options ...client.PatchOption) (metav1.Object, error) {
	body, err := obj.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var answer client.Object = &metav1.PartialObjectMetadata{}
	if countsWhole(obj) {
		answer = &unstructured.Unstructured{}
	}
	answer.GetObjectKind().SetGroupVersionKind(obj.GroupVersionKind())
	answer.SetNamespace(obj.GetNamespace())
	answer.SetName(obj.GetName())
	options = append(options, client.ForceOwnership, client.FieldOwner(a.Owner.FieldManager))
	return answer, a.Client.Patch(ctx, answer, client.RawPatch(types.ApplyPatchType, body), options...)
}

// countsWhole says whether more is needed of an object that was applied than its
// metadata: whether it is established, or may vanish.
func countsWhole(obj *unstructured.Unstructured) bool {
	return slices.Contains([]string{kindNamespace, kindCRD, kindJob}, obj.GetKind())
}

// withUID is the object with a uid, so that the server applies it to that very object,
// and does not bring back one that is gone.
func withUID(obj *unstructured.Unstructured, uid types.UID) *unstructured.Unstructured {
	if uid == "" {
		return obj
	}
	made := &unstructured.Unstructured{Object: maps.Clone(obj.Object)}
	metadata, _ := obj.Object["metadata"].(map[string]any)
	metadata = maps.Clone(metadata)
	made.Object["metadata"] = metadata
	made.SetUID(uid)
	return made
}
