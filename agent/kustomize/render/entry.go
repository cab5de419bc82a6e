package render

import (
	"fmt"
	"path"
	"slices"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

// enter prepares the directory at which the build begins: it gets a
// kustomization file if it has none, and the settings of the spec on top of it.
// It returns false where there is nothing to build.
func (t *tree) enter(dir, namespace string) (bool, error) {
	name := t.kustomizationFile(dir)
	var k types.Kustomization
	switch {
	case name == "":
		name = path.Join(dir, "kustomization.yaml")
		k.TypeMeta = types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind}
		k.Resources = t.manifests(dir, dir)
		if len(k.Resources) == 0 {
			return false, nil
		}
	case namespace == "":
		return true, nil
	default:
		content, _ := t.content(name)
		if err := t.limitAliases(name, content); err != nil {
			return false, err
		}
		if err := k.Unmarshal(content); err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
	}
	if namespace != "" {
		k.Namespace = namespace
	}
	content, err := yaml.Marshal(k)
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	t.over[name] = content
	return true, nil
}

// manifests lists what a kustomization file for plain YAML names, relative to
// the directory of that file: every YAML file below, except that a directory
// with a kustomization file of its own stands for what is in it.
func (t *tree) manifests(root, dir string) []string {
	var found []string
	for _, base := range t.dirs[dir] {
		name := path.Join(dir, base)
		switch {
		case !t.isDir(name):
			if slices.Contains([]string{".yaml", ".yml"}, path.Ext(base)) {
				found = append(found, relative(root, name))
			}
		case t.kustomizationFile(name) != "":
			found = append(found, relative(root, name))
		default:
			found = append(found, t.manifests(root, name)...)
		}
	}
	return found
}

// relative is the path of a file below the root, as seen from the root.
func relative(root, name string) string {
	if root == "" {
		return name
	}
	return name[len(root)+1:]
}
