package render

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/api/meta"
)

// enter prepares the directory at which the build begins: it gets a
// kustomization file if it has none, and the settings on top of it, as Flux
// does. It returns nil where there is nothing to build.
func (t *tree) enter(dir string, settings Settings) (*types.Kustomization, error) {
	k := &types.Kustomization{TypeMeta: types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind}}
	name := t.kustomizationFile(dir)
	if name == "" {
		name = path.Join(dir, "kustomization.yaml")
		k.Resources = t.manifests(dir, dir)
		if len(k.Resources) == 0 && len(settings.Components) == 0 {
			return nil, nil
		}
	} else if err := t.read(name, k); err != nil {
		return nil, err
	}
	if err := t.override(dir, k, settings); err != nil {
		return nil, err
	}
	content, err := yaml.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.over[name] = content
	return k, nil
}

// read reads an existing kustomization file at the entry point. Fields that
// kustomize does not know are dropped, as Flux drops them there (and nowhere
// else).
func (t *tree) read(name string, k *types.Kustomization) error {
	if size, ok := t.larger[name]; ok {
		return tooLarge(name, size)
	}
	content, _ := t.content(name)
	if err := t.limitSettings(name, content); err != nil {
		return err
	}
	if err := yaml.Unmarshal(content, k); err != nil {
		return fmt.Errorf("%s: invalid Kustomization: %s", name, strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "))
	}
	if len(k.Resources) == 0 {
		// So Flux keeps kustomize from taking the file for an empty one. The
		// annotations that it causes are in every fleet by now.
		k.BuildMetadata = []string{types.OriginAnnotations}
	}
	return nil
}

// override lays the settings over a kustomization.
func (t *tree) override(dir string, k *types.Kustomization, settings Settings) error {
	for field, value := range map[*string]string{
		&k.Namespace:  settings.TargetNamespace,
		&k.NamePrefix: settings.NamePrefix,
		&k.NameSuffix: settings.NameSuffix,
	} {
		if value != "" {
			*field = value
		}
	}
	patches, err := settings.patches()
	if err != nil {
		return err
	}
	k.Patches = append(k.Patches, patches...)
	for _, component := range settings.Components {
		if err := localPath(component); err != nil {
			return fmt.Errorf("components: %w", err)
		}
		if settings.IgnoreMissingComponents && !t.Exists(path.Join(dir, component)) {
			continue
		}
		k.Components = append(k.Components, component)
	}
	for _, image := range settings.Images {
		k.Images = withImage(k.Images, image)
	}
	for _, image := range k.Images {
		// kustomize takes the name for a pattern, and crashes on one that is none.
		if _, err := regexp.Compile(image.Name); err != nil {
			return fmt.Errorf("images: name %q: %w", image.Name, err)
		}
	}
	if len(settings.BuildMetadata) > 0 {
		k.BuildMetadata = settings.BuildMetadata
	}
	return nil
}

// patches are those of the spec, with the older spellings folded in.
func (s Settings) patches() ([]types.Patch, error) {
	var found []types.Patch
	for _, patch := range s.PatchesStrategicMerge {
		found = append(found, types.Patch{Patch: string(patch.Raw)})
	}
	for _, patch := range s.Patches {
		found = append(found, types.Patch{Patch: patch.Patch, Target: selector(patch.Target)})
	}
	for i := range s.PatchesJSON6902 {
		operations, err := json.Marshal(s.PatchesJSON6902[i].Patch)
		if err != nil {
			return nil, fmt.Errorf("patchesJson6902: %w", err)
		}
		found = append(found, types.Patch{Patch: string(operations), Target: selector(&s.PatchesJSON6902[i].Target)})
	}
	return found, nil
}

// withImage merges one image into those of the kustomization file. Tag and
// digest are one thing, the version: a new one of either takes both away.
func withImage(images []types.Image, image meta.Image) []types.Image {
	at := slices.IndexFunc(images, func(known types.Image) bool { return known.Name == image.Name })
	if at < 0 {
		return append(images, types.Image{Name: image.Name, NewName: image.NewName, NewTag: image.NewTag, Digest: image.Digest})
	}
	if image.NewName != "" {
		images[at].NewName = image.NewName
	}
	if image.NewTag != "" || image.Digest != "" {
		images[at].NewTag, images[at].Digest = image.NewTag, image.Digest
	}
	return images
}

// localPath refuses what is no relative path.
func localPath(name string) error {
	if overNetwork.MatchString(name) || path.IsAbs(name) {
		return fmt.Errorf("component path '%s' must be local and relative", abbreviated(name))
	}
	return nil
}

func selector(s *meta.Selector) *types.Selector {
	if s == nil {
		return nil
	}
	return &types.Selector{
		ResId: resid.ResId{
			Gvk:       resid.Gvk{Group: s.Group, Version: s.Version, Kind: s.Kind},
			Name:      s.Name,
			Namespace: s.Namespace,
		},
		AnnotationSelector: s.AnnotationSelector,
		LabelSelector:      s.LabelSelector,
	}
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
	return strings.TrimPrefix(name[len(root):], "/")
}
