package render

import (
	"context"
	"maps"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// placeable are kinds in which spec.targetNamespace sets metadata.namespace and
// nothing else: kustomize knows them to be namespaced, and to name no object by
// its namespace.
var placeable = map[schema.GroupKind]bool{
	{Kind: "ConfigMap"}:                                     true,
	{Kind: "PersistentVolumeClaim"}:                         true,
	{Kind: "Secret"}:                                        true,
	{Kind: "Service"}:                                       true,
	{Kind: "ServiceAccount"}:                                true,
	{Group: "apps", Kind: "DaemonSet"}:                      true,
	{Group: "apps", Kind: "Deployment"}:                     true,
	{Group: "apps", Kind: "StatefulSet"}:                    true,
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: true,
	{Group: "batch", Kind: "CronJob"}:                       true,
	{Group: "batch", Kind: "Job"}:                           true,
	{Group: "networking.k8s.io", Kind: "Ingress"}:           true,
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}:     true,
	{Group: "policy", Kind: "PodDisruptionBudget"}:          true,
}

// placed builds what goes into a namespace of the spec's from the build without
// one, which all namespaces share. It is false where kustomize has to see the
// namespace.
func (r *Renderer) placed(ctx context.Context, req Request) (result, bool) {
	namespace := req.Settings.TargetNamespace
	req.Settings.TargetNamespace = ""
	if namespace == "" || req.Long || r.options.noShortWay || !reflect.DeepEqual(req.Settings, Settings{Path: req.Settings.Path}) {
		return result{}, false
	}
	made, err := r.shared(ctx, req)
	if err != nil || !made.short || !mayPlace(made.objects) {
		return result{}, false
	}
	made.objects = place(made.objects, namespace)
	return made, true
}

// mayPlace says whether the objects can all be in one namespace and are of kinds
// that only have to be told so.
func mayPlace(objects []*unstructured.Unstructured) bool {
	known := map[string]bool{}
	for _, obj := range objects {
		kind := obj.GroupVersionKind().GroupKind()
		id := kind.String() + " " + obj.GetName()
		if !placeable[kind] || known[id] {
			return false
		}
		known[id] = true
	}
	return true
}

// place returns the objects in the namespace. They share with the old ones all but
// their metadata.
func place(objects []*unstructured.Unstructured, namespace string) []*unstructured.Unstructured {
	moved := make([]*unstructured.Unstructured, len(objects))
	for i, obj := range objects {
		metadata, _ := obj.Object["metadata"].(map[string]any)
		metadata = maps.Clone(metadata)
		metadata["namespace"] = namespace
		content := maps.Clone(obj.Object)
		content["metadata"] = metadata
		moved[i] = &unstructured.Unstructured{Object: content}
	}
	return moved
}
