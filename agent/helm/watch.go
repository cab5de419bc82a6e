package helm

import (
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/headwater-dev/headwater/agent/wake"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
)

// The kinds of objects that a HelmRelease reads values from.
const (
	kindSecret    = "Secret"
	kindConfigMap = "ConfigMap"
)

// users finds the HelmReleases that have to be looked at again.
func (r *Reconciler) users() *wake.Index[*helmv2.HelmRelease] {
	return &wake.Index[*helmv2.HelmRelease]{
		Reader:  r.Client,
		Kind:    "HelmReleases",
		NewList: func() client.ObjectList { return &helmv2.HelmReleaseList{} },
		Source: func(obj *helmv2.HelmRelease) string {
			kind, name := sourceOf(obj)
			return wake.Name(kind, name.Namespace, name.Name)
		},
		Target:       keyOf,
		Dependencies: dependenciesOf,
		Configs:      configsOf,
	}
}

// dependenciesOf are the names of what a HelmRelease depends on.
func dependenciesOf(obj *helmv2.HelmRelease) []string {
	names := make([]string, 0, len(obj.Spec.DependsOn))
	for _, ref := range obj.Spec.DependsOn {
		names = append(names, dependency(obj, ref).String())
	}
	return names
}

// configsOf are the ConfigMaps and Secrets that a HelmRelease reads.
func configsOf(obj *helmv2.HelmRelease) []string {
	var names []string
	for _, ref := range obj.Spec.ValuesFrom {
		names = append(names, wake.Name(ref.Kind, obj.Namespace, ref.Name))
	}
	if target := obj.Spec.KubeConfig; target != nil {
		if target.SecretRef != nil {
			names = append(names, wake.Name(kindSecret, obj.Namespace, target.SecretRef.Name))
		}
		if target.ConfigMapRef != nil {
			names = append(names, wake.Name(kindConfigMap, obj.Namespace, target.ConfigMapRef.Name))
		}
	}
	return names
}

// newChart passes sources whose artifact is another than before, or counts now.
func newChart() predicate.Predicate {
	revision := func(obj client.Object) string {
		made, _ := artifactOf(obj)
		if made == nil {
			return ""
		}
		return made.Revision + " " + made.Digest
	}
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			after := revision(e.ObjectNew)
			return after != "" && revision(e.ObjectOld) != after
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// ready says whether others may go on after a HelmRelease. A new revision of
// one that stays ready is none of theirs.
func ready(obj client.Object) (ready bool, revision string) {
	own, ok := obj.(*helmv2.HelmRelease)
	return ok && own.Generation == own.Status.ObservedGeneration &&
		apimeta.IsStatusConditionTrue(own.Status.Conditions, meta.ReadyCondition), ""
}
