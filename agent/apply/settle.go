package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// settleTimeout is how long a definition or namespace may take to become
	// usable. Servers take well under a second.
	settleTimeout = 60 * time.Second
	settlePoll    = 100 * time.Millisecond

	// awaitPoll is how often the health of an early stage is looked at. It ends
	// before the run's time does, by a tenth and no more than awaitReserve: what
	// has become of the run has still to be written.
	awaitPoll    = time.Second
	awaitReserve = 5 * time.Second
	reserveShare = 10
)

// Settle waits until what was applied can be used by the stages after it:
// definitions are established and their kinds served, namespaces active. An
// object that is not ready within a minute is an error that names it.
func (a *Applier) Settle(ctx context.Context, done []Change) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for _, change := range done {
		if change.Action == Skipped || established(change.Live) && change.Action == Unchanged {
			continue
		}
		if err := a.settleOne(ctx, change); err != nil {
			a.Memory.forget(change.Ref)
			return err
		}
	}
	return nil
}

func (a *Applier) settleOne(ctx context.Context, change Change) error {
	live := change.Live
	var last error
	err := wait.PollUntilContextCancel(ctx, settlePoll, true, func(ctx context.Context) (bool, error) {
		now, err := live, error(nil)
		if !established(live) {
			now, err = a.get(ctx, change.Ref)
		}
		if err == nil && established(now) {
			err = a.served(ctx, now)
		}
		if errors.Is(err, reconcile.ErrNotOwner) {
			return false, err
		}
		if ctx.Err() != nil {
			// Being out of time is not what it was waiting for.
			return false, nil
		}
		live, last = now, err
		return last == nil && established(live), nil
	})
	switch {
	case err == nil, errors.Is(err, reconcile.ErrNotOwner):
		return err
	case last != nil:
		return fmt.Errorf("%s was applied but is not ready: %w", change.Ref, last)
	}
	return fmt.Errorf("%s was applied but is not ready: %s", change.Ref, unready(live))
}

// Await waits until all the objects are current, so that the stage after them can
// begin (FLUX.md §2.2: classes, and the kinds that are named early). The context
// bounds it: it ends a little before the deadline, with an error that names the
// objects and their statuses. One that will not become current by itself ends it
// at once, and so does a target that belongs to another agent.
func (a *Applier) Await(ctx context.Context, checks []Check) error {
	if len(checks) == 0 {
		return nil
	}
	ctx, cancel := withReserve(ctx)
	defer cancel()
	waiting := unknown(checks)
	err := wait.PollUntilContextCancel(ctx, awaitPoll, true, func(ctx context.Context) (bool, error) {
		health, err := a.Look(ctx, checks)
		if err != nil {
			return false, err
		}
		if len(health.Failed) > 0 {
			return false, fmt.Errorf("the next stage cannot begin: failed early due to stalled resources: %s", Describe(health.Failed))
		}
		waiting = health.Waiting
		return len(waiting) == 0, nil
	})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("the next stage cannot begin: timeout waiting for: %s", Describe(waiting))
	}
	return err
}

// withReserve is the context with some time taken off its end.
func withReserve(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, end.Add(-min(time.Until(end)/reserveShare, awaitReserve)))
}

// unknown is what can be said of objects that nobody has looked at.
func unknown(checks []Check) []Unhealthy {
	objects := make([]Unhealthy, 0, len(checks))
	for _, check := range checks {
		objects = append(objects, Unhealthy{Ref: check.Ref, Status: status.UnknownStatus.String()})
	}
	return objects
}

// served says, by an error, which kind of a definition the server does not
// know yet: discovery follows the definition with a delay.
func (a *Applier) served(ctx context.Context, live *unstructured.Unstructured) error {
	if live == nil || live.GetKind() != kindCRD {
		return nil
	}
	group, _, _ := unstructured.NestedString(live.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(live.Object, "spec", "names", "kind")
	versions, _, _ := unstructured.NestedSlice(live.Object, "spec", "versions")
	for _, item := range versions {
		version, _ := item.(map[string]any)
		if version["served"] != true {
			continue
		}
		name, _ := version["name"].(string)
		_, err := a.Mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind}, name)
		if err == nil {
			err = a.answers(ctx, schema.GroupVersionKind{Group: group, Version: name, Kind: kind})
		}
		if err != nil {
			return fmt.Errorf("the server does not serve it yet: %w", err)
		}
	}
	return nil
}

// answers asks for one object of the kind: the server may know the kind
// before it serves it.
func (a *Applier) answers(ctx context.Context, gvk schema.GroupVersionKind) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	err := a.Client.List(ctx, list, client.Limit(1))
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

// unready says in a few words what an object is waiting for.
func unready(obj *unstructured.Unstructured) string {
	if obj == nil {
		return "it is gone"
	}
	conditions, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		if condition["type"] == "NamesAccepted" && condition["status"] == "False" {
			return fmt.Sprintf("its names are not accepted: %v", condition["message"])
		}
	}
	if obj.GetKind() == kindNamespace {
		return "it is not active; is an older namespace of that name being deleted?"
	}
	return "it is not established"
}
