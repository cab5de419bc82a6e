package postrender

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/openapi"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
)

// kustomize runs one step on the objects.
func kustomize(objects []*unstructured.Unstructured, step helmv2.Kustomize, partial bool) ([]*unstructured.Unstructured, error) {
	patches, err := patchesOf(step, objects, partial)
	if err != nil {
		return nil, err
	}
	build := types.Kustomization{Patches: patches}
	for _, image := range step.Images {
		build.Images = append(build.Images, types.Image{Name: image.Name, NewName: image.NewName, NewTag: image.NewTag, Digest: image.Digest})
	}
	files := filesys.MakeFsInMemory()
	for i, obj := range objects {
		text, err := json.Marshal(obj.Object)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("%d.yaml", i)
		build.Resources = append(build.Resources, name)
		if err := files.WriteFile(name, text); err != nil {
			return nil, err
		}
	}
	text, err := yaml.Marshal(build)
	if err != nil {
		return nil, err
	}
	if err := files.WriteFile("kustomization.yaml", text); err != nil {
		return nil, err
	}
	var built []byte
	openapi.Shared(func() { built, err = run(files) })
	if err != nil {
		return nil, withoutContents(err)
	}
	return release.Objects(string(built))
}

// run runs kustomize and survives its panics.
func run(files filesys.FileSystem) (built []byte, err error) {
	defer func() {
		if crash := recover(); crash != nil {
			built, err = nil, errors.New("kustomize crashed on these objects")
		}
	}()
	options := &krusty.Options{LoadRestrictions: types.LoadRestrictionsRootOnly, PluginConfig: types.DisabledPluginConfig()}
	resources, err := krusty.MakeKustomizer(options).Run(files, ".")
	if err != nil {
		return nil, err
	}
	return resources.AsYaml()
}

// quoted is the part of kustomize's errors that repeats what they are about.
var quoted = regexp.MustCompile("(?s)( with config: `.*`|node contents.*|\\[patch: .*)")

func withoutContents(err error) error {
	return errors.New(strings.TrimSpace(quoted.ReplaceAllString(err.Error(), "")))
}

// patchesOf are the patches in all their spellings.
func patchesOf(step helmv2.Kustomize, objects []*unstructured.Unstructured, partial bool) ([]types.Patch, error) {
	var patches []types.Patch
	add := func(text string, target *meta.Selector) {
		if target == nil && partial && !names(objects, text) {
			return
		}
		patches = append(patches, types.Patch{Patch: text, Target: selector(target)})
	}
	for _, patch := range step.Patches {
		add(patch.Patch, patch.Target)
	}
	for _, patch := range step.PatchesStrategicMerge {
		add(string(patch.Raw), nil)
	}
	for i, patch := range step.PatchesJSON6902 {
		text, err := json.Marshal(patch.Patch)
		if err != nil {
			return nil, fmt.Errorf("patchesJson6902[%d]: %w", i, err)
		}
		add(string(text), &patch.Target)
	}
	return patches, nil
}

// names says whether a patch is for one of the objects. One that cannot be read
// is left to kustomize, which says why.
func names(objects []*unstructured.Unstructured, patch string) bool {
	var wanted unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(patch), &wanted.Object); err != nil || wanted.GetKind() == "" {
		return true
	}
	for _, obj := range objects {
		if obj.GetKind() == wanted.GetKind() && obj.GetName() == wanted.GetName() {
			return true
		}
	}
	return false
}

func selector(target *meta.Selector) *types.Selector {
	if target == nil {
		return nil
	}
	return &types.Selector{
		ResId: resid.ResId{
			Gvk:  resid.Gvk{Group: target.Group, Version: target.Version, Kind: target.Kind},
			Name: target.Name, Namespace: target.Namespace,
		},
		AnnotationSelector: target.AnnotationSelector,
		LabelSelector:      target.LabelSelector,
	}
}
