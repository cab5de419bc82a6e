package postrender

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/agent/build"
	"github.com/headwater-dev/headwater/agent/helm/release"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// Renderer changes rendered manifests. It is safe for concurrent use.
type Renderer struct {
	builder *build.Builder
	steps   []helmv2.Kustomize
	// strategy says what becomes of hooks.
	strategy            string
	labels, annotations map[string]string
	owner               map[string]string
}

// New is the renderer of the HelmRelease, which has the builder run kustomize.
func New(obj *helmv2.HelmRelease, builder *build.Builder) *Renderer {
	r := &Renderer{
		builder:  builder,
		strategy: cmp.Or(obj.Spec.PostRenderStrategy, helmv2.PostRenderStrategyCombined),
		owner: map[string]string{
			helmv2.GroupVersion.Group + "/name":      obj.Name,
			helmv2.GroupVersion.Group + "/namespace": obj.Namespace,
		},
	}
	for _, step := range obj.Spec.PostRenderers {
		if step.Kustomize != nil {
			r.steps = append(r.steps, *step.Kustomize.DeepCopy())
		}
	}
	if common := obj.Spec.CommonMetadata; common != nil {
		r.labels, r.annotations = maps.Clone(common.Labels), maps.Clone(common.Annotations)
	}
	return r
}

// Objects changes all manifests but hooks.
func (r *Renderer) Objects(ctx context.Context, rendered *bytes.Buffer) (*bytes.Buffer, error) {
	return r.run(ctx, rendered.Bytes(), r.strategy == helmv2.PostRenderStrategyCombined)
}

// Hook changes the manifest of one hook, where the strategy has hooks changed.
func (r *Renderer) Hook(ctx context.Context, manifest string) (string, error) {
	if r.strategy == helmv2.PostRenderStrategyNoHooks {
		return manifest, nil
	}
	changed, err := r.run(ctx, []byte(manifest), true)
	if err != nil {
		return "", err
	}
	return changed.String(), nil
}

// Label puts the marks of the HelmRelease on an object.
func (r *Renderer) Label(obj client.Object) {
	obj.SetLabels(over(obj.GetLabels(), r.labels, r.owner))
	obj.SetAnnotations(over(obj.GetAnnotations(), r.annotations))
}

// OwnerOf is the HelmRelease whose marks are on the objects of manifests, if one's
// are.
func OwnerOf(manifests string) (owner types.NamespacedName, found bool) {
	objects, err := release.Objects(manifests)
	if err != nil {
		return types.NamespacedName{}, false
	}
	for _, obj := range objects {
		labels := obj.GetLabels()
		owner = types.NamespacedName{
			Namespace: labels[helmv2.GroupVersion.Group+"/namespace"], Name: labels[helmv2.GroupVersion.Group+"/name"],
		}
		if owner.Namespace != "" && owner.Name != "" {
			return owner, true
		}
	}
	return types.NamespacedName{}, false
}

// run changes the manifests in order. With several streams that belong together a
// patch that names an object of another one is no error.
func (r *Renderer) run(ctx context.Context, rendered []byte, partial bool) (*bytes.Buffer, error) {
	objects, err := release.Objects(string(rendered))
	if err != nil {
		return nil, err
	}
	if err := r.count(len(objects)); err != nil {
		return nil, err
	}
	for i, step := range r.steps {
		if len(objects) == 0 {
			break
		}
		if objects, err = r.kustomize(ctx, objects, step, partial); err != nil {
			return nil, fmt.Errorf("spec.postRenderers[%d].kustomize: %w", i, err)
		}
	}
	var out bytes.Buffer
	for _, obj := range objects {
		r.Label(obj)
		text, err := yaml.Marshal(obj.Object)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	return &out, nil
}

// over lays maps over each other; nil when there is nothing in them.
func over(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, one := range all {
		maps.Copy(merged, one)
	}
	if len(merged) == 0 {
		return nil
	}
	return merged
}
