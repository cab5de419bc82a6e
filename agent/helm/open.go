package helm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"

	"github.com/headwater-dev/headwater/agent/helm/action"
	"github.com/headwater-dev/headwater/agent/remote"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

// errAccountMissing says that nobody is there on whose behalf to uninstall.
var errAccountMissing = errors.New("the ServiceAccount to impersonate does not exist at the target")

// errTenure says that the fence was taken anew in the middle of an action:
// another agent may have acted in between.
var errTenure = errors.New("the target's fence was lost in the middle of the action")

// target is an open cluster. It is closed by whoever has it last: the run, or the
// goroutine of an action that the run has begun.
type target struct {
	*remote.Target
	key    shard.Key
	tenure int64
	// kept says that an action has it now.
	kept bool
}

// release closes the target unless an action has it.
func (t *target) release() {
	if !t.kept {
		t.Close()
	}
}

// open connects to the cluster that the spec names.
func (r *Reconciler) open(ctx context.Context, obj *helmv2.HelmRelease) (*target, error) {
	key := keyOf(obj)
	opened, err := r.Targets.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := r.impersonate(ctx, obj, opened); err != nil {
		opened.Close()
		return nil, err
	}
	return &target{Target: opened, key: key}, nil
}

// impersonate makes the target act as the ServiceAccount that the spec names, or
// as the agents' default. When the HelmRelease is deleted the target is asked
// first whether it has the account: without it, nothing can be uninstalled.
func (r *Reconciler) impersonate(ctx context.Context, obj *helmv2.HelmRelease, to *remote.Target) error {
	account := cmp.Or(obj.Spec.ServiceAccountName, r.Options.DefaultServiceAccount)
	if account == "" {
		return nil
	}
	if !obj.DeletionTimestamp.IsZero() {
		missing, err := to.AccountMissing(ctx, obj.Namespace, account)
		if err != nil {
			return err
		}
		if missing {
			return fmt.Errorf("spec.serviceAccountName %q: %w", account, errAccountMissing)
		}
	}
	return to.Impersonate(obj.Namespace, account)
}

// fence makes sure that this process may write to the target, and that what it
// knows of the HelmRelease is not the past of an agent that held the fence
// before.
func (r *Reconciler) fence(ctx context.Context, obj *helmv2.HelmRelease, to *target) error {
	if err := to.take(ctx); err != nil {
		return err
	}
	return r.status.Confirm(ctx, obj, to.tenure)
}

// take makes sure that this process may write to the target.
func (t *target) take(ctx context.Context) (err error) {
	t.tenure, err = t.Fence(ctx)
	return err
}

// hold keeps the fence in use for an action, and says whether it is still that
// of the tenure that the action has begun in.
func (t *target) hold(ctx context.Context) error {
	tenure, err := t.Fence(ctx)
	switch {
	case err != nil:
		return err
	case tenure != t.tenure:
		return errTenure
	}
	return nil
}

// discoveries hold what is known of the kinds of servers, for as long as the
// connection is the same: another one has another gate, and the old one's is shut.
// What is known for keys that were handed over is let go of with the next action. It
// is safe for concurrent use.
type discoveries struct {
	kinds *action.Kinds
	// owns says whether a key is this agent's.
	owns func(shard.Key) bool
	mu   sync.Mutex
	of   map[shard.Key]known
}

type known struct {
	by        http.RoundTripper
	discovery *action.Discovery
}

func newDiscoveries(owns func(shard.Key) bool) *discoveries {
	return &discoveries{kinds: action.NewKinds(), owns: owns, of: map[shard.Key]known{}}
}

func (d *discoveries) at(to *target) (*action.Discovery, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.of, func(key shard.Key, _ known) bool { return !d.owns(key) })
	found, config := d.of[to.key], to.Shared()
	if found.discovery != nil && found.by == config.Transport {
		return found.discovery, nil
	}
	made, err := action.NewDiscovery(config, d.kinds)
	if err != nil {
		return nil, reconcile.Fail(clientReason, fmt.Errorf("client of the target: %w", err))
	}
	d.of[to.key] = known{by: config.Transport, discovery: made}
	return made, nil
}
