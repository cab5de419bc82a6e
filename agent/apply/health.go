package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Check is one object whose health is asked for.
type Check struct {
	Ref Ref
	// MayVanish says that the object being gone is as good as it being
	// healthy: a Job that removes itself when it is done.
	MayVanish bool
	// Rule, if set, tells the health of the object in place of kstatus.
	Rule Rule
}

// Rule tells the health of a live object in the words of kstatus.
type Rule interface {
	Status(context.Context, *unstructured.Unstructured) (status.Status, error)
}

// Observed is a check and the object as it was found; nil when there is none.
type Observed struct {
	Check Check
	Live  *unstructured.Unstructured

	// said is what the check's rule says of the object, and why it cannot.
	said   status.Status
	saidOf error
	// unread is why the object could not be read.
	unread error
}

// Unhealthy is one object that is not, or not yet, as it should be.
type Unhealthy struct {
	Ref Ref
	// Status is the kstatus word for it: InProgress, NotFound, Failed, ...
	Status string
	// Why the status cannot be told; empty where it can.
	Why string
}

// Health is the judgement of a set of objects. With both lists empty all of
// them are current.
type Health struct {
	// Waiting are the objects that may yet become healthy.
	Waiting []Unhealthy
	// Failed are the objects that will not by themselves.
	Failed []Unhealthy
}

// Cached has Look read what the API server has in memory, which may be of a moment
// ago, and costs it less.
var Cached client.GetOption = &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}}

// Look reads the objects once and judges them. Of one that cannot be read just
// now the status is unknown, and Why says what was in the way: a server that
// restarts ends no wait. Errors are only what is an answer: a target that belongs
// to another agent or has an outcome of its own, a refusal, an ended context.
func (a *Applier) Look(ctx context.Context, checks []Check, options ...client.GetOption) (Health, error) {
	observed := make([]Observed, len(checks))
	errs := a.parallel(ctx, len(checks), func(i int) error {
		live, err := a.get(ctx, checks[i].Ref, options...)
		observed[i] = Observed{Check: checks[i], Live: live}
		if err != nil && !apimeta.IsNoMatchError(err) {
			observed[i].unread = err
			return final(ctx, err)
		}
		if rule := checks[i].Rule; rule != nil && live != nil {
			observed[i].said, observed[i].saidOf = rule.Status(ctx, live)
		}
		return nil
	})
	if len(errs) > 0 {
		return Health{}, joined(errs)
	}
	return Judge(observed), nil
}

// final returns the error of a read that another read will not mend, nil for one
// that it may.
func final(ctx context.Context, err error) error {
	_, outcome := reconcile.ReasonOf(err)
	if ctx.Err() != nil || outcome || errors.Is(err, reconcile.ErrNotOwner) ||
		apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return err
	}
	return nil
}

// Judge says which of the objects are not current, by the rules of kstatus. It
// looks at nothing but its argument. The lists are in the order of the
// objects' names.
func Judge(observed []Observed) Health {
	var health Health
	for _, o := range observed {
		word := statusOf(o)
		bad := Unhealthy{Ref: o.Check.Ref, Status: word.String()}
		switch {
		case o.unread != nil:
			// The name stands before it already.
			bad.Why = strings.TrimPrefix(reconcile.OneLine(o.unread), o.Check.Ref.String()+" ")
		case o.saidOf != nil:
			bad.Why = o.saidOf.Error()
		}
		switch word {
		case status.CurrentStatus:
		case status.FailedStatus:
			health.Failed = append(health.Failed, bad)
		default:
			health.Waiting = append(health.Waiting, bad)
		}
	}
	byName := func(a, b Unhealthy) int { return cmp.Compare(a.Ref.String(), b.Ref.String()) }
	slices.SortFunc(health.Waiting, byName)
	slices.SortFunc(health.Failed, byName)
	return health
}

func statusOf(o Observed) status.Status {
	if o.unread != nil {
		return status.UnknownStatus
	}
	if o.Live == nil {
		if o.Check.MayVanish {
			return status.CurrentStatus
		}
		return status.NotFoundStatus
	}
	if o.saidOf != nil {
		return status.UnknownStatus
	}
	if o.said != "" {
		return o.said
	}
	result, err := status.Compute(o.Live)
	if err != nil {
		return status.UnknownStatus
	}
	return result.Status
}

// listed is how many objects a text names.
const listed = 10

// Describe names the objects and their statuses in Flux's words:
// [Kind/namespace/name status: 'InProgress', ...]. Long lists are cut.
func Describe(objects []Unhealthy) string {
	var parts []string
	for i, o := range objects {
		if i == listed {
			parts = append(parts, fmt.Sprintf("and %d more", len(objects)-listed))
			break
		}
		part := fmt.Sprintf("%s status: '%s'", o.Ref, o.Status)
		if o.Why != "" {
			part += ": " + o.Why
		}
		parts = append(parts, part)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// StageCheck is the question that a later stage waits for the answer to. There is
// none of definitions, namespaces and cluster roles: Settle knows when those can
// be used.
func (c Change) StageCheck() (Check, bool) {
	if stage(c.Ref.GroupKind, nil) == 0 {
		return Check{}, false
	}
	return c.Check()
}

// Check is the question whether what was applied is healthy. There is none of
// an object that was left alone or deleted.
func (c Change) Check() (Check, bool) {
	if c.Action == Skipped || c.Action == Deleted {
		return Check{}, false
	}
	return Check{Ref: c.Ref, MayVanish: Expires(c.desired)}, true
}

// Expires says whether the object is a Job that removes itself when it is done.
func Expires(obj *unstructured.Unstructured) bool {
	ref := RefTo(obj)
	_, limited, _ := unstructured.NestedFieldNoCopy(obj.Object, "spec", "ttlSecondsAfterFinished")
	return ref.Group == "batch" && ref.Kind == kindJob && limited
}
