package postrender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
)

// kustomize runs one step on the objects.
func (r *Renderer) kustomize(ctx context.Context, objects []*unstructured.Unstructured, step helmv2.Kustomize, partial bool) ([]*unstructured.Unstructured, error) {
	patches, err := patchesOf(step, objects, partial)
	if err != nil {
		return nil, err
	}
	steps := types.Kustomization{Patches: patches}
	for _, image := range step.Images {
		steps.Images = append(steps.Images, types.Image{Name: image.Name, NewName: image.NewName, NewTag: image.NewTag, Digest: image.Digest})
	}
	files := filesys.MakeFsInMemory()
	for i, obj := range objects {
		text, err := json.Marshal(obj.Object)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("%d.yaml", i)
		steps.Resources = append(steps.Resources, name)
		if err := files.WriteFile(name, text); err != nil {
			return nil, err
		}
	}
	text, err := yaml.Marshal(steps)
	if err != nil {
		return nil, err
	}
	if err := files.WriteFile("kustomization.yaml", text); err != nil {
		return nil, err
	}
	var built []*unstructured.Unstructured
	err = r.builder.Run(ctx, files, ".", func(name string, raw []byte) error {
		obj := &unstructured.Unstructured{}
		if err := obj.UnmarshalJSON(raw); err != nil {
			return fmt.Errorf("%s: it is no Kubernetes object any more", name)
		}
		built = append(built, obj)
		return nil
	})
	if err != nil {
		return nil, withoutContents(err)
	}
	return built, nil
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
