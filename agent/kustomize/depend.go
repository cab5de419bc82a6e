package kustomize

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// maxChain is how many Kustomizations are read to find a cycle. A longer one is
// waited for without being called a cycle.
const maxChain = 20

// checkExpressions compiles what the spec has of CEL, before anything else is
// looked at: only a person can mend it.
func (r *Reconciler) checkExpressions(obj *kustomizev1.Kustomization) error {
	for i, ref := range obj.Spec.DependsOn {
		if ref.ReadyExpr == "" {
			continue
		}
		if _, err := r.expressions.CompileReady(ref.ReadyExpr); err != nil {
			return reconcile.Stall(meta.InvalidCELExpressionReason, fmt.Errorf("spec.dependsOn[%d].readyExpr: %w", i, err))
		}
	}
	if _, err := r.expressions.Rules(obj.Spec.HealthCheckExprs); err != nil {
		return reconcile.Stall(meta.InvalidCELExpressionReason, fmt.Errorf("spec.healthCheckExprs%w", err))
	}
	return nil
}

// dependencies waits for the Kustomizations that have to be ready first. They
// are read past the cache, which leaves out those of other agents.
func (r *Reconciler) dependencies(ctx context.Context, obj *kustomizev1.Kustomization, src *meta.Artifact) error {
	for _, ref := range obj.Spec.DependsOn {
		name := dependency(obj, ref)
		if r.Options.NoCrossNamespaceRefs && name.Namespace != obj.Namespace {
			return accessDenied(name)
		}
		var dep kustomizev1.Kustomization
		err := r.Live.Get(ctx, name, &dep)
		switch {
		case apierrors.IsNotFound(err):
			return r.unmet(fmt.Sprintf("dependency '%s' not found", name))
		case err != nil:
			return fmt.Errorf("read the dependency %s: %w", name, err)
		}
		why := r.unready(ctx, obj, &dep, ref.ReadyExpr, src)
		if why == "" {
			continue
		}
		if cycle := r.cycle(ctx, obj, &dep); cycle != nil {
			why += ": the dependencies form a cycle, " + strings.Join(cycle, " → ")
		}
		return r.unmet(why)
	}
	return nil
}

func (r *Reconciler) unmet(why string) error {
	return reconcile.Wait(meta.DependencyNotReadyReason, why, r.Options.RequeueDependency)
}

// dependency is the full name of what a reference names.
func dependency(obj *kustomizev1.Kustomization, ref meta.DependencyReference) types.NamespacedName {
	return types.NamespacedName{Namespace: cmp.Or(ref.Namespace, obj.Namespace), Name: ref.Name}
}

// accessDenied stalls a reference into another namespace.
func accessDenied(name types.NamespacedName) error {
	return reconcile.Stall(meta.AccessDeniedReason,
		fmt.Errorf("can't access '%s', cross-namespace references have been blocked", name))
}

// unready says why the dependency is not ready for the object; empty when it
// is. An expression takes the place of the usual rules, as in Flux; what it asks for
// may not be there yet.
func (r *Reconciler) unready(ctx context.Context, obj, dep *kustomizev1.Kustomization, expression string, src *meta.Artifact) string {
	name := types.NamespacedName{Namespace: dep.Namespace, Name: dep.Name}
	if expression != "" {
		holds, err := r.expressions.Ready(ctx, expression, obj, dep)
		if err != nil {
			return fmt.Sprintf("dependency '%s': readyExpr: %v", name, err)
		}
		if !holds {
			return fmt.Sprintf("dependency '%s' is not ready according to readyExpr eval", name)
		}
		if !r.Options.AdditiveReadyExpr {
			return ""
		}
	}
	switch {
	case dep.Generation != dep.Status.ObservedGeneration,
		!apimeta.IsStatusConditionTrue(dep.Status.Conditions, meta.ReadyCondition):
		return fmt.Sprintf("dependency '%s' is not ready", name)
	case sameSource(obj, dep) && dep.Status.LastAppliedRevision != src.Revision:
		return fmt.Sprintf("dependency '%s' is not updated yet", name)
	}
	return ""
}

// sameSource says whether both apply the same source.
func sameSource(a, b *kustomizev1.Kustomization) bool {
	return a.Spec.SourceRef.Kind == b.Spec.SourceRef.Kind &&
		a.Spec.SourceRef.Name == b.Spec.SourceRef.Name &&
		a.SourceNamespace() == b.SourceNamespace()
}

// cycle finds the way from a dependency back to the object, nil when there is
// none, or when it is long. A cycle would be waited for in silence, and for ever.
func (r *Reconciler) cycle(ctx context.Context, obj, dep *kustomizev1.Kustomization) []string {
	self := types.NamespacedName{Namespace: obj.Namespace, Name: obj.Name}
	type step struct {
		at   *kustomizev1.Kustomization
		path []string
	}
	first := types.NamespacedName{Namespace: dep.Namespace, Name: dep.Name}
	if first == self {
		return []string{self.String(), self.String()}
	}
	seen := map[types.NamespacedName]bool{first: true}
	for queue := []step{{dep, []string{self.String(), first.String()}}}; len(queue) > 0; queue = queue[1:] {
		for _, ref := range queue[0].at.Spec.DependsOn {
			name := dependency(queue[0].at, ref)
			path := append(queue[0].path[:len(queue[0].path):len(queue[0].path)], name.String())
			if name == self {
				return path
			}
			if seen[name] || len(seen) >= maxChain {
				continue
			}
			seen[name] = true
			var next kustomizev1.Kustomization
			if err := r.Live.Get(ctx, name, &next); err == nil {
				queue = append(queue, step{&next, path})
			}
		}
	}
	return nil
}
