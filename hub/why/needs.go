package why

import (
	"cmp"
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/shard"
)

func (r *reader) kustomization(ctx context.Context, k *kustomizev1.Kustomization) {
	r.facts.subject = &subject{
		meta: k.ObjectMeta, suspended: k.Spec.Suspend, status: k.Status.Status, waiting: k.Status.WaitingSince,
		wanted: shard.KeyFor(k.Namespace, k.Name, k.Spec.KubeConfig),
	}
	r.facts.keys = []shard.Key{shard.CurrentKey(k.Namespace, k.Name, k.Spec.KubeConfig, k.Status.Target)}
	r.source(ctx, k.Spec.SourceRef.Kind, types.NamespacedName{Namespace: k.SourceNamespace(), Name: k.Spec.SourceRef.Name})
	r.dependencies(ctx, kustomizev1.GroupVersion.WithKind(r.kind), k.Spec.DependsOn)
}

func (r *reader) release(ctx context.Context, h *helmv2.HelmRelease) {
	key := shard.KeyFor(h.Namespace, h.Name, h.Spec.KubeConfig)
	r.facts.subject = &subject{meta: h.ObjectMeta, suspended: h.Spec.Suspend, status: h.Status.Status, wanted: key}
	r.facts.keys = []shard.Key{key}
	if ref := h.Spec.ChartRef; ref != nil {
		r.source(ctx, ref.Kind, types.NamespacedName{Namespace: cmp.Or(ref.Namespace, h.Namespace), Name: ref.Name})
	} else if template := h.Spec.Chart; template != nil {
		chart := types.NamespacedName{Namespace: cmp.Or(template.Spec.SourceRef.Namespace, h.Namespace), Name: h.Namespace + "-" + h.Name}
		if namespace, name, ok := strings.Cut(h.Status.HelmChart, "/"); ok {
			chart = types.NamespacedName{Namespace: namespace, Name: name}
		}
		r.source(ctx, sourcev1.HelmChartKind, chart)
	}
	r.dependencies(ctx, helmv2.GroupVersion.WithKind(r.kind), h.Spec.DependsOn)
}

func (r *reader) source(ctx context.Context, kind string, name types.NamespacedName) {
	r.need(ctx, sourcev1.GroupVersion.WithKind(kind), name, need{source: true})
}

func (r *reader) dependencies(ctx context.Context, kind schema.GroupVersionKind, refs []meta.DependencyReference) {
	for _, ref := range refs {
		name := types.NamespacedName{Namespace: cmp.Or(ref.Namespace, r.name.Namespace), Name: ref.Name}
		r.need(ctx, kind, name, need{expression: ref.ReadyExpr})
	}
}

// need looks at one thing that has to be ready.
func (r *reader) need(ctx context.Context, kind schema.GroupVersionKind, name types.NamespacedName, n need) {
	n.what = kind.Kind + " " + name.String()
	found := &unstructured.Unstructured{}
	found.SetGroupVersionKind(kind)
	err := r.hub.Get(ctx, name, found)
	if err != nil && !apierrors.IsNotFound(err) {
		r.note(n.what, err)
		return
	}
	if n.found = err == nil; n.found {
		var status struct {
			meta.Status `json:",inline"`

			Artifact *meta.Artifact `json:"artifact"`
		}
		content, _, _ := unstructured.NestedMap(found.Object, "status")
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &status); err != nil {
			r.note("the status of "+n.what, err)
			return
		}
		n.suspended, _, _ = unstructured.NestedBool(found.Object, "spec", "suspend")
		n.artifact = status.Artifact != nil
		n.outdated = status.ObservedGeneration != found.GetGeneration()
		n.ready = apimeta.FindStatusCondition(status.Conditions, meta.ReadyCondition)
	}
	r.facts.needs = append(r.facts.needs, n)
}
