package kustomize

import (
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/wake"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

// The kinds of objects that a Kustomization reads values from.
const (
	kindSecret    = "Secret"
	kindConfigMap = "ConfigMap"
)

// users finds the Kustomizations that have to be looked at again.
func (r *Reconciler) users() *wake.Index[*kustomizev1.Kustomization] {
	return &wake.Index[*kustomizev1.Kustomization]{
		Reader:  r.Client,
		Kind:    "Kustomizations",
		NewList: func() client.ObjectList { return &kustomizev1.KustomizationList{} },
		Source: func(obj *kustomizev1.Kustomization) string {
			return wake.Name(obj.Spec.SourceRef.Kind, obj.SourceNamespace(), obj.Spec.SourceRef.Name)
		},
		Target:       keyOf,
		Dependencies: dependenciesOf,
		Configs:      configsOf,
		// What was applied is to be built anew, whether or not it is healthy yet.
		Changed: r.waits.spoil,
	}
}

// dependenciesOf are the names of what a Kustomization depends on.
func dependenciesOf(obj *kustomizev1.Kustomization) []string {
	names := make([]string, 0, len(obj.Spec.DependsOn))
	for _, ref := range obj.Spec.DependsOn {
		names = append(names, dependency(obj, ref).String())
	}
	return names
}

// configsOf are the ConfigMaps and Secrets that a Kustomization reads.
func configsOf(obj *kustomizev1.Kustomization) []string {
	var names []string
	add := func(kind, name string) {
		names = append(names, wake.Name(kind, obj.Namespace, name))
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

// state says whether others may go on after a Kustomization, and the revision
// that it has applied.
func state(obj client.Object) (ready bool, revision string) {
	own, ok := obj.(*kustomizev1.Kustomization)
	if !ok {
		return false, ""
	}
	return own.Generation == own.Status.ObservedGeneration &&
		apimeta.IsStatusConditionTrue(own.Status.Conditions, meta.ReadyCondition), own.Status.LastAppliedRevision
}
