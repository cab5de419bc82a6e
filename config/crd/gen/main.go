// Command gen adds the older API versions to the CRDs that controller-gen has
// written: gen <directory>.
//
// Each kind has one Go type and therefore one schema. The older versions are
// served with a copy of it and without conversion, which is right because the
// schema holds the fields of all versions: the API server only rewrites
// apiVersion, and drops nothing. It never invents a version of its own: what is
// listed below is what Flux has served.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen <directory of CRDs>")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		before, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		after, err := addVersions(before)
		if err != nil {
			return fmt.Errorf("older versions of %s: %w", path, err)
		}
		if bytes.Equal(before, after) {
			continue
		}
		if err := os.WriteFile(path, after, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// addVersions returns the CRD with its storage version and a copy of it for
// each older one.
func addVersions(crd []byte) ([]byte, error) {
	var content map[string]any
	if err := yaml.Unmarshal(crd, &content); err != nil {
		return nil, err
	}
	spec, _ := content["spec"].(map[string]any)
	names, _ := spec["names"].(map[string]any)
	group, _ := spec["group"].(string)
	kind, _ := names["kind"].(string)
	current, err := storageVersion(spec)
	if err != nil {
		return nil, err
	}
	versions := []any{current}
	for _, name := range olderVersions(group, kind) {
		versions = append(versions, olderVersion(current, name, group, kind))
	}
	spec["versions"] = versions
	out, err := yaml.Marshal(content)
	return append([]byte("---\n"), out...), err
}

func storageVersion(spec map[string]any) (map[string]any, error) {
	versions, _ := spec["versions"].([]any)
	for _, v := range versions {
		if version, ok := v.(map[string]any); ok && version["storage"] == true {
			return version, nil
		}
	}
	return nil, fmt.Errorf("spec.versions has none with storage: true; mark one type with +kubebuilder:storageversion")
}

func olderVersion(current map[string]any, name, group, kind string) map[string]any {
	older := map[string]any{}
	for key, value := range current {
		older[key] = value
	}
	older["name"] = name
	older["storage"] = false
	older["deprecated"] = true
	older["deprecationWarning"] = fmt.Sprintf("%s/%s %s is deprecated, use %s/%s %s",
		group, name, kind, group, current["name"], kind)
	return older
}

// olderVersions are the versions of a kind that Flux has served before the
// current one, the newest first.
func olderVersions(group, kind string) []string {
	switch {
	case kind == "ExternalArtifact":
		return nil
	case kind == "OCIRepository":
		return []string{"v1beta2"}
	case group == "helm.toolkit.fluxcd.io":
		return []string{"v2beta2", "v2beta1"}
	case group == "source.toolkit.fluxcd.io",
		group == "kustomize.toolkit.fluxcd.io",
		group == "image.toolkit.fluxcd.io":
		return []string{"v1beta2", "v1beta1"}
	default:
		return nil
	}
}
