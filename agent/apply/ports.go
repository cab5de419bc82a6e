package apply

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// podSpecs is where each built-in kind keeps the spec of its pods.
var podSpecs = map[string][]string{
	"Pod":         {"spec"},
	"Deployment":  {"spec", "template", "spec"},
	"ReplicaSet":  {"spec", "template", "spec"},
	"StatefulSet": {"spec", "template", "spec"},
	"DaemonSet":   {"spec", "template", "spec"},
	"Job":         {"spec", "template", "spec"},
	"CronJob":     {"spec", "jobTemplate", "spec", "template", "spec"},
}

// spellOutProtocols writes down the protocol of ports that name none. It is
// part of what identifies a port, and Flux writes it down: an object that it has
// applied stays as it is.
func spellOutProtocols(obj *unstructured.Unstructured) {
	switch obj.GroupVersionKind().Group {
	case "", "apps", "batch":
	default:
		return
	}
	if obj.GetKind() == "Service" {
		setProtocols(obj.Object, "spec")
		return
	}
	path, ok := podSpecs[obj.GetKind()]
	if !ok {
		return
	}
	spec, _, _ := unstructured.NestedFieldNoCopy(obj.Object, path...)
	for _, field := range []string{"containers", "initContainers"} {
		for _, container := range items(spec, field) {
			setProtocols(container)
		}
	}
}

// setProtocols sets the protocol of the ports below the given fields.
func setProtocols(value any, fields ...string) {
	content, _ := value.(map[string]any)
	inner, _, _ := unstructured.NestedFieldNoCopy(content, fields...)
	for _, item := range items(inner, "ports") {
		if port, ok := item.(map[string]any); ok && port["protocol"] == nil {
			port["protocol"] = "TCP"
		}
	}
}

// items is the list in a field of an object; none where it is something else.
func items(value any, field string) []any {
	content, _ := value.(map[string]any)
	list, _ := content[field].([]any)
	return list
}
