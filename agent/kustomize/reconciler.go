package kustomize

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/headwater-dev/headwater/agent/build"
	"github.com/headwater-dev/headwater/agent/expr"
	"github.com/headwater-dev/headwater/agent/kustomize/render"
	"github.com/headwater-dev/headwater/agent/remote"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
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
	// Preparing is for the part of a run that writes nothing at the target yet: its
	// context ends, with ErrNotOwner as the cause, when the key's hand-over begins.
	Preparing(context.Context, shard.Key) (context.Context, context.CancelFunc)
	// SameCluster says whether two keys lead to one cluster, or that it has to be
	// waited for to know.
	SameCluster(ctx context.Context, before, wanted shard.Key) (bool, error)
	// MayWrite says whether statuses of a key's objects may be written here.
	MayWrite(shard.Key) bool
	// Options make a controller's queue fair between keys.
	Options(keyOf func(ctrl.Request) shard.Key) controller.Options
}

// Reconciler is the kind Kustomization. It is safe for concurrent use.
type Reconciler struct {
	// Targets are the clusters to apply to.
	Targets Targets
	// Artifacts downloads and keeps what sources made.
	Artifacts *artifact.Cache
	// Events publishes what was changed.
	Events *reconcile.Recorder
	// Meter measures the work for each key; may be nil.
	Meter func(shard.Key) (end func())

	// Builder runs kustomize; nil is one of its own.
	Builder *build.Builder
	// Builds configure how artifacts are rendered.
	Builds BuildOptions
	// Options are what an administrator decides for all Kustomizations.
	Options Options
	// Drift says how changes at a target are noticed.
	Drift DriftOptions

	// Client reads the hub from the cache; the manager's when nil.
	Client client.Client
	// Sources reads sources; Client when nil.
	Sources client.Reader
	// Live reads the hub past the cache: other Kustomizations may belong to
	// other agents, which the cache leaves out. The manager's when nil.
	Live client.Reader
	// Clock tells how long health is waited for; the real one when nil.
	Clock clock.PassiveClock

	status    *reconcile.Status
	renderer  *render.Renderer
	waits     waits
	counts    counts
	revisions revisions
	// expressions compiles what specs have of CEL.
	expressions *expr.Compiler
	memories    memories
	turns       turns
	early       []schema.GroupKind
}

// Reconcile brings the target in line with the source.
func (r *Reconciler) Reconcile(ctx context.Context, obj *kustomizev1.Kustomization) error {
	if err := r.check(obj); err != nil {
		return err
	}
	src, err := r.source(ctx, obj)
	r.revisions.set(client.ObjectKeyFromObject(obj), src)
	if err != nil {
		return err
	}
	if waited, ok := r.waits.resume(obj, src); ok {
		return r.verifyAgain(ctx, obj, waited)
	}
	if err := r.dependencies(ctx, obj, src); err != nil {
		return err
	}
	run := attempt{started: r.Clock.Now(), before: *obj.Status.DeepCopy()}
	if short, err := r.unchanged(ctx, obj, src); short || err != nil {
		return err
	}
	// Also for a build, which may have to wait for others.
	ctx, cancel := context.WithTimeout(ctx, obj.Timeout())
	defer cancel()
	want, moving, err := r.prepare(ctx, obj, src)
	if err != nil {
		return err
	}
	run.moving = moving
	if run.digest, err = digestOf(want); err != nil {
		return err
	}
	to, err := r.open(ctx, obj, src)
	if err != nil {
		return err
	}
	defer to.Close()
	defer r.memories.hold(client.ObjectKeyFromObject(obj))()
	return r.record(ctx, obj, to, run, r.bring(ctx, obj, to, want, run))
}

// prepare builds what is wanted, unless the key is handed over meanwhile: the next agent
// builds it as well.
func (r *Reconciler) prepare(ctx context.Context, obj *kustomizev1.Kustomization, src *meta.Artifact) (want []*unstructured.Unstructured, moving bool, err error) {
	ctx, end := r.Targets.Preparing(ctx, keyOf(obj))
	defer end()
	want, moving, err = r.build(ctx, obj, src)
	if errors.Is(context.Cause(ctx), reconcile.ErrNotOwner) {
		return nil, false, reconcile.ErrNotOwner
	}
	return want, moving, err
}

// check refuses what only a person can mend in the spec. One that is waited for
// has been accepted.
func (r *Reconciler) check(obj *kustomizev1.Kustomization) error {
	if r.waits.has(obj) {
		return nil
	}
	if err := unsupported(obj); err != nil {
		return err
	}
	return r.checkExpressions(obj)
}

// bring applies what is wanted and looks at its health.
func (r *Reconciler) bring(ctx context.Context, obj *kustomizev1.Kustomization, to *target, want []*unstructured.Unstructured, run attempt) error {
	doing(ctx, obj, to.src, "Detecting drift")
	changes, err := r.apply(ctx, obj, to, want)
	if err != nil {
		return err
	}
	if err := r.verify(ctx, obj, to, newWait(obj, to.src, run, changes)); err != nil {
		return err
	}
	r.settle(obj, to, run, changes)
	return nil
}

// Forget drops what is remembered of a Kustomization that is gone, or that
// belongs to another agent now.
func (r *Reconciler) Forget(name types.NamespacedName) {
	r.waits.drop(name)
	r.counts.drop(name)
	r.revisions.set(name, nil)
	r.memories.drop(name)
	r.turns.drop(name)
	r.passTurn(name)
}

// Ready is what a Kustomization says when all is done.
func (r *Reconciler) Ready(obj *kustomizev1.Kustomization) (reason, message string) {
	return meta.ReconciliationSucceededReason, "Applied revision: " + obj.Status.LastAppliedRevision
}

// keyOf is the key that the Kustomization belongs to now: where its objects are,
// until they have been taken away from there, and else where its spec says.
func keyOf(obj *kustomizev1.Kustomization) shard.Key {
	return shard.CurrentKey(obj.Namespace, obj.Name, obj.Spec.KubeConfig, obj.Status.Target)
}

// wantedKey is the key that the spec names.
func wantedKey(obj *kustomizev1.Kustomization) shard.Key {
	return shard.KeyFor(obj.Namespace, obj.Name, obj.Spec.KubeConfig)
}
