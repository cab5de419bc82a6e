package helm

import (
	"cmp"
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// checkExpressions compiles what the spec has of CEL, before anything else is
// looked at: only a person can mend it.
func (r *Reconciler) checkExpressions(obj *helmv2.HelmRelease) error {
	for i, ref := range obj.Spec.DependsOn {
		if ref.ReadyExpr == "" {
			continue
		}
		if _, err := r.expressions.CompileReady(ref.ReadyExpr); err != nil {
			return reconcile.Stall(meta.InvalidCELExpressionReason, fmt.Errorf("spec.dependsOn[%d].readyExpr: %w", i, err))
		}
	}
	_, err := r.rules(obj)
	return err
}

// dependencies waits for the HelmReleases that have to be ready first. They are
// read past the cache, which leaves out those of other agents.
func (r *Reconciler) dependencies(ctx context.Context, obj *helmv2.HelmRelease) error {
	for _, ref := range obj.Spec.DependsOn {
		name := dependency(obj, ref)
		if r.Options.NoCrossNamespaceRefs && name.Namespace != obj.Namespace {
			return accessDenied(name)
		}
		if name.Namespace == obj.Namespace && name.Name == obj.Name {
			return r.unmet(fmt.Sprintf("dependency '%s' is the HelmRelease itself", name))
		}
		var dep helmv2.HelmRelease
		err := r.Live.Get(ctx, name, &dep)
		switch {
		case apierrors.IsNotFound(err):
			return r.unmet(fmt.Sprintf("dependency '%s' not found", name))
		case err != nil:
			return fmt.Errorf("read the dependency %s: %w", name, err)
		}
		why, err := r.unready(ctx, obj, &dep, ref.ReadyExpr)
		if err != nil {
			return reconcile.Fail(meta.DependencyNotReadyReason, err)
		}
		if why != "" {
			return r.unmet(why)
		}
	}
	return nil
}

func (r *Reconciler) unmet(why string) error {
	return reconcile.Wait(meta.DependencyNotReadyReason, why, r.Options.RequeueDependency)
}

// dependency is the full name of what a reference names.
func dependency(obj *helmv2.HelmRelease, ref meta.DependencyReference) types.NamespacedName {
	return types.NamespacedName{Namespace: cmp.Or(ref.Namespace, obj.Namespace), Name: ref.Name}
}

// unready says why the dependency is not ready for the object; empty when it
// is. An expression takes the place of the usual rules, as in Flux.
func (r *Reconciler) unready(ctx context.Context, obj, dep *helmv2.HelmRelease, expression string) (string, error) {
	name := types.NamespacedName{Namespace: dep.Namespace, Name: dep.Name}
	if expression != "" {
		holds, err := r.expressions.Ready(ctx, expression, obj, dep)
		if err != nil {
			return "", fmt.Errorf("dependency '%s': readyExpr: %w", name, err)
		}
		if !holds {
			return fmt.Sprintf("dependency '%s' is not ready according to readyExpr eval", name), nil
		}
		if !r.Options.AdditiveReadyExpr {
			return "", nil
		}
	}
	if dep.Generation != dep.Status.ObservedGeneration || !apimeta.IsStatusConditionTrue(dep.Status.Conditions, meta.ReadyCondition) {
		return fmt.Sprintf("dependency '%s' is not ready", name), nil
	}
	return "", nil
}
