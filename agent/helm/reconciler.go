package helm

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/headwater-dev/headwater/agent/build"
	"github.com/headwater-dev/headwater/agent/expr"
	"github.com/headwater-dev/headwater/agent/remote"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

// Targets hands out the clusters that this agent owns; *remote.Clusters does.
type Targets interface {
	// Open begins a unit of work for a key. Its error carries an outcome.
	Open(context.Context, shard.Key) (*remote.Target, error)
	// Admit begins a run for a key, if it may begin here.
	Admit(shard.Key) (end func(), after time.Duration)
	// MayWrite says whether statuses of a key's objects may be written here.
	MayWrite(shard.Key) bool
	// Options make a controller's queue fair between keys.
	Options(keyOf func(ctrl.Request) shard.Key) controller.Options
}

// Reconciler is the kind HelmRelease. It is safe for concurrent use.
type Reconciler struct {
	// Targets are the clusters to release to.
	Targets Targets
	// Artifacts downloads and keeps what sources made.
	Artifacts *artifact.Cache
	// Builder runs kustomize, for post-renderers.
	Builder *build.Builder
	// Events publishes what was done.
	Events *reconcile.Recorder
	// Meter measures the work for each key; may be nil.
	Meter func(shard.Key) (end func())
	// Options are what an administrator decides for all HelmReleases.
	Options Options

	// Client reads the hub from the cache; the manager's when nil.
	Client client.Client
	// Sources reads sources; Client when nil.
	Sources client.Reader
	// Live reads the hub past the cache. The manager's when nil.
	Live client.Reader
	// Clock is the real one when nil.
	Clock clock.PassiveClock

	status      *reconcile.Status
	expressions *expr.Compiler
	runs        *runs
	places      *places
	charts      *charts
	memories    *memories
	// configs are the digests of values by what they are composed of.
	configs     *lru.Cache[compositionKey, string]
	discoveries *discoveries
}

// Reconcile does the next thing about the release.
func (r *Reconciler) Reconcile(ctx context.Context, obj *helmv2.HelmRelease) error {
	if err := unsupported(obj); err != nil {
		return err
	}
	if err := r.checkExpressions(obj); err != nil {
		return err
	}
	if err := r.busy(obj); err != nil {
		return err
	}
	known, err := r.collect(ctx, obj)
	if err != nil {
		return err
	}
	inputs, err := r.inputs(ctx, obj)
	if err != nil {
		return err
	}
	to, err := r.open(ctx, obj)
	if err != nil {
		return err
	}
	defer to.release()
	err = r.advance(ctx, obj, look{to: to, in: inputs}, known)
	if _, waits := reconcile.ReasonOf(err); err == nil || !waits || !isProgress(err) {
		r.runs.rest(client.ObjectKeyFromObject(obj))
	}
	if err == nil {
		r.runs.recovered(client.ObjectKeyFromObject(obj))
	}
	return err
}

// isProgress says whether the series of actions goes on.
func isProgress(err error) bool {
	reason, _ := reconcile.ReasonOf(err)
	return reason == meta.ProgressingReason
}

// Settled forgets an action whose outcome is in the status.
func (r *Reconciler) Settled(obj client.Object) { r.runs.settled(obj) }

// Forget drops what is remembered of a HelmRelease that is gone, or that belongs
// to another agent now.
func (r *Reconciler) Forget(name types.NamespacedName) {
	r.runs.forget(name)
	r.memories.forget(name)
}

// Ready is what a HelmRelease says when all is done.
func (r *Reconciler) Ready(obj *helmv2.HelmRelease) (reason, message string) {
	for _, kind := range []string{testSuccessCondition, releasedCondition} {
		condition := apimeta.FindStatusCondition(obj.Status.Conditions, kind)
		if condition != nil && condition.Status == "True" {
			return condition.Reason, condition.Message
		}
	}
	return meta.SucceededReason, adopted(obj)
}

// keyOf is the key that the HelmRelease belongs to.
func keyOf(obj *helmv2.HelmRelease) shard.Key {
	return shard.KeyFor(obj.Namespace, obj.Name, obj.Spec.KubeConfig)
}
