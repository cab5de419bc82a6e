package kustomize

import (
	"context"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

// The kinds of objects that a Kustomization reads values from.
const (
	kindSecret    = "Secret"
	kindConfigMap = "ConfigMap"
)

// dependenciesOf is the index of a Kustomization by what it depends on.
func dependenciesOf(obj *kustomizev1.Kustomization) []string {
	names := make([]string, 0, len(obj.Spec.DependsOn))
	for _, ref := range obj.Spec.DependsOn {
		names = append(names, dependency(obj, ref).String())
	}
	return names
}

// configsOf is the index of a Kustomization by the ConfigMaps and Secrets that
// it reads.
func configsOf(obj *kustomizev1.Kustomization) []string {
	var names []string
	add := func(kind, name string) {
		names = append(names, configIndex(kind, obj.Namespace, name))
	}
	if obj.Spec.PostBuild != nil {
		for _, ref := range obj.Spec.PostBuild.SubstituteFrom {
			add(ref.Kind, ref.Name)
		}
	}
	if obj.Spec.Decryption != nil && obj.Spec.Decryption.SecretRef != nil {
		add(kindSecret, obj.Spec.Decryption.SecretRef.Name)
	}
	if target := obj.Spec.KubeConfig; target != nil {
		if target.SecretRef != nil {
			add(kindSecret, target.SecretRef.Name)
		}
		if target.ConfigMapRef != nil {
			add(kindConfigMap, target.ConfigMapRef.Name)
		}
	}
	return names
}

func configIndex(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

// dependents enqueues the Kustomizations that wait for one.
func (r *Reconciler) dependents() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, dep client.Object) []ctrl.Request {
		return r.users(ctx, byDependency, client.ObjectKeyFromObject(dep).String())
	})
}

// readers enqueues the Kustomizations that read a ConfigMap or Secret.
func (r *Reconciler) readers(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, config client.Object) []ctrl.Request {
		return r.users(ctx, byConfig, configIndex(kind, config.GetNamespace(), config.GetName()))
	})
}

// becameReady passes Kustomizations that others may go on after: ready now, or
// with another revision applied.
func becameReady() predicate.Predicate {
	state := func(obj client.Object) (ready bool, revision string) {
		own, ok := obj.(*kustomizev1.Kustomization)
		if !ok {
			return false, ""
		}
		return own.Generation == own.Status.ObservedGeneration &&
			apimeta.IsStatusConditionTrue(own.Status.Conditions, meta.ReadyCondition), own.Status.LastAppliedRevision
	}
	return predicate.Funcs{
		// What is there at the start is looked at by all anyway.
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, before := state(e.ObjectOld)
			is, after := state(e.ObjectNew)
			return is && (!was || before != after)
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// watched passes changes of the ConfigMaps and Secrets that carry the label.
func watched(selector labels.Selector) predicate.Predicate {
	has := func(obj client.Object) bool { return selector.Matches(labels.Set(obj.GetLabels())) }
	return predicate.Funcs{
		// At the start every Kustomization runs by itself.
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList && has(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return has(e.ObjectNew) && e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion()
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}
