package main

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// objects are the four of the i-th application, of a version that shows in
// each of them. The Deployment has no replicas: what Pods cost is not ours.
func objects(namespace string, i int, version string) []*unstructured.Unstructured {
	name := appName(i)
	labels := map[string]any{"app": name}
	port := map[string]any{"name": "http", "port": int64(80), "protocol": "TCP", "targetPort": "http"}
	backend := map[string]any{"service": map[string]any{"name": name, "port": map[string]any{"name": "http"}}}
	made := []*unstructured.Unstructured{
		object("v1", "ServiceAccount", nil),
		object("apps/v1", "Deployment", map[string]any{
			"replicas": int64(0),
			"selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{
				"metadata": map[string]any{"labels": labels},
				"spec": map[string]any{
					"serviceAccountName": name,
					"containers": []any{map[string]any{
						"name": "app", "image": "app:" + version,
						"ports": []any{map[string]any{"name": "http", "containerPort": int64(8080), "protocol": "TCP"}},
					}},
				},
			},
		}),
		object("v1", "Service", map[string]any{"selector": labels, "ports": []any{port}}),
		object("networking.k8s.io/v1", "Ingress", map[string]any{
			"rules": []any{map[string]any{
				"host": name + ".example.com",
				"http": map[string]any{"paths": []any{map[string]any{"path": "/", "pathType": "Prefix", "backend": backend}}},
			}},
		}),
	}
	for _, o := range made {
		o.SetName(name)
		o.SetNamespace(namespace)
		o.SetLabels(map[string]string{"app": name, "version": version})
	}
	return made
}

func object(apiVersion, kind string, spec map[string]any) *unstructured.Unstructured {
	content := map[string]any{"apiVersion": apiVersion, "kind": kind}
	if spec != nil {
		content["spec"] = spec
	}
	return &unstructured.Unstructured{Object: content}
}

// files are the objects as a Git repository: a directory for each application.
func files(count int, version string) (map[string]string, error) {
	all := map[string]string{}
	for i := range count {
		text := ""
		for _, o := range objects(productNamespace, i, version) {
			encoded, err := yaml.Marshal(o.Object)
			if err != nil {
				return nil, err
			}
			text += "---\n" + string(encoded)
		}
		dir := "apps/" + appName(i) + "/"
		all[dir+"app.yaml"] = text
		all[dir+"kustomization.yaml"] = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- app.yaml\n"
	}
	return all, nil
}
