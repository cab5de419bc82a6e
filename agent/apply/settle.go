package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// settleTimeout is how long a definition or namespace may take to become
	// usable. Servers take well under a second; this is the only place where
	// applying waits at all.
	settleTimeout = 60 * time.Second
	settlePoll    = 100 * time.Millisecond
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
