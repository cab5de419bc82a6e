package helm

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/action"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// chartName is what the HelmChart of a HelmRelease is called: in the namespace
// of its source, which may be that of other HelmReleases as well.
func chartName(obj *helmv2.HelmRelease) types.NamespacedName {
	namespace := obj.Namespace
	if obj.Spec.Chart != nil {
		namespace = cmp.Or(obj.Spec.Chart.Spec.SourceRef.Namespace, obj.Namespace)
	}
	return types.NamespacedName{Namespace: namespace, Name: obj.Namespace + "-" + obj.Name}
}

// template brings the HelmChart in line with spec.chart, and returns it where it had to
// write it: what is read of it elsewhere may be older. One that is not asked for any
// more is deleted.
func (r *Reconciler) template(ctx context.Context, obj *helmv2.HelmRelease) (written *sourcev1.HelmChart, err error) {
	wanted := ""
	if obj.Spec.Chart != nil {
		wanted = chartName(obj).String()
	}
	if old := obj.Status.HelmChart; old != "" && old != wanted {
		if err := r.deleteChart(ctx, obj); err != nil {
			return nil, reconcile.Fail(chartSyncReason, err)
		}
	}
	if wanted == "" {
		return nil, nil
	}
	if written, err = r.applyChart(ctx, obj); err != nil {
		return nil, reconcile.Fail(chartSyncReason, err)
	}
	obj.Status.HelmChart = wanted
	return written, nil
}

// applyChart writes the HelmChart where it is not as spec.chart has it, and returns what
// it has written.
func (r *Reconciler) applyChart(ctx context.Context, obj *helmv2.HelmRelease) (written *sourcev1.HelmChart, err error) {
	chart := chartOf(obj)
	var live sourcev1.HelmChart
	err = r.Sources.Get(ctx, client.ObjectKeyFromObject(chart), &live)
	if err == nil && contains(live.Labels, chart.Labels) && contains(live.Annotations, chart.Annotations) &&
		sameSpec(live.Spec, chart.Spec) && !mayHaveLess(obj, &live, chart) {
		return nil, nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read HelmChart %s: %w", client.ObjectKeyFromObject(chart), err)
	}
	if err := r.yields(ctx, obj, live.Labels); err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(chart)
	if err != nil {
		return nil, fmt.Errorf("HelmChart %s: %w", client.ObjectKeyFromObject(chart), err)
	}
	delete(content, "status")
	desired := &unstructured.Unstructured{Object: content}
	desired.SetGroupVersionKind(sourcev1.GroupVersion.WithKind(sourcev1.HelmChartKind))
	unstructured.RemoveNestedField(desired.Object, "metadata", "creationTimestamp")
	err = r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(desired), client.FieldOwner(action.FieldManager), client.ForceOwnership)
	written = &sourcev1.HelmChart{}
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(desired.Object, written)
	}
	if err != nil {
		return nil, fmt.Errorf("apply HelmChart %s: %w", client.ObjectKeyFromObject(chart), err)
	}
	if written.ResourceVersion == live.ResourceVersion {
		return written, nil // it was so already
	}
	reason, what := chartConfiguredReason, "configured"
	if live.UID == "" {
		reason, what = chartCreatedReason, "created"
	}
	r.announceChart(ctx, obj, reason, fmt.Sprintf("HelmChart '%s' of %s '%s' %s",
		client.ObjectKeyFromObject(chart), chart.Spec.SourceRef.Kind, chart.Spec.SourceRef.Name, what))
	return written, nil
}

// announceChart tells what was done to the HelmChart, in the hub alone.
func (r *Reconciler) announceChart(ctx context.Context, obj *helmv2.HelmRelease, reason, message string) {
	r.Events.Publish(ctx, obj, reconcile.Event{Severity: reconcile.SeverityTrace, Reason: reason, Message: message, Metadata: eventMetadata(obj)})
}

// yields refuses to write a HelmChart that has the labels of another HelmRelease
// which has it too: a-b/c and a/b-c have one of one name where their sources are
// in the same namespace, and whoever writes last decides what both release.
func (r *Reconciler) yields(ctx context.Context, obj *helmv2.HelmRelease, labels map[string]string) error {
	maker := types.NamespacedName{Namespace: labels[helmv2.GroupVersion.Group+"/namespace"], Name: labels[helmv2.GroupVersion.Group+"/name"]}
	if maker.Name == "" || maker.Namespace == "" || maker == client.ObjectKeyFromObject(obj) {
		return nil
	}
	var other helmv2.HelmRelease
	err := r.Live.Get(ctx, maker, &other)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("read HelmRelease '%s', which has the HelmChart '%s': %w", maker, chartName(obj), err)
	case other.Spec.Chart == nil || chartName(&other) != chartName(obj):
		return nil
	}
	return reconcile.Stall(chartSyncReason, fmt.Errorf(
		"the HelmChart '%s' is that of HelmRelease '%s', and would be that of HelmRelease '%s' as well: give one of them another name, or have its source in another namespace",
		chartName(obj), maker, client.ObjectKeyFromObject(obj)))
}

// mayHaveLess says whether the HelmChart may have labels or annotations that the
// spec does not ask for any more. Whose the others are the server knows: it is asked
// once for each generation.
func mayHaveLess(obj *helmv2.HelmRelease, live, want *sourcev1.HelmChart) bool {
	return obj.Status.LastAttemptedGeneration != obj.Generation &&
		(len(live.Labels) > len(want.Labels) || len(live.Annotations) > len(want.Annotations))
}

// contains says whether all of the few are among the many.
func contains(many, few map[string]string) bool {
	for key, value := range few {
		if found, ok := many[key]; !ok || found != value {
			return false
		}
	}
	return true
}

// sameSpec compares what a HelmRelease says of its chart; the rest is others'.
func sameSpec(live, want sourcev1.HelmChartSpec) bool {
	live = *live.DeepCopy()
	live.Suspend, live.AccessFrom, live.ValuesFile = false, nil, ""
	if live.Verify != nil {
		live.Verify.MatchOIDCIdentity = nil
	}
	return equality.Semantic.DeepEqual(live, want)
}

// chartOf is the HelmChart that spec.chart describes.
func chartOf(obj *helmv2.HelmRelease) *sourcev1.HelmChart {
	template := obj.Spec.Chart
	name := chartName(obj)
	chart := &sourcev1.HelmChart{}
	chart.Namespace, chart.Name = name.Namespace, name.Name
	chart.Labels = map[string]string{}
	if template.ObjectMeta != nil {
		maps.Copy(chart.Labels, template.ObjectMeta.Labels)
		chart.Annotations = maps.Clone(template.ObjectMeta.Annotations)
	}
	chart.Labels[helmv2.GroupVersion.Group+"/name"] = obj.Name
	chart.Labels[helmv2.GroupVersion.Group+"/namespace"] = obj.Namespace
	chart.Spec = sourcev1.HelmChartSpec{
		Chart:   template.Spec.Chart,
		Version: cmp.Or(template.Spec.Version, "*"),
		SourceRef: sourcev1.LocalHelmChartSourceReference{
			APIVersion: template.Spec.SourceRef.APIVersion, Kind: template.Spec.SourceRef.Kind, Name: template.Spec.SourceRef.Name,
		},
		Interval:                 obj.Spec.Interval,
		ReconcileStrategy:        cmp.Or(template.Spec.ReconcileStrategy, "ChartVersion"),
		ValuesFiles:              slices.Clone(template.Spec.ValuesFiles),
		IgnoreMissingValuesFiles: template.Spec.IgnoreMissingValuesFiles,
	}
	if template.Spec.Interval != nil {
		chart.Spec.Interval = *template.Spec.Interval
	}
	if old := template.Spec.ValuesFile; old != "" {
		chart.Spec.ValuesFiles = append(chart.Spec.ValuesFiles, old)
	}
	if verify := template.Spec.Verify; verify != nil {
		chart.Spec.Verify = &sourcev1.HelmChartVerification{Provider: cmp.Or(verify.Provider, "cosign"), SecretRef: verify.SecretRef}
	}
	return chart
}

// deleteChart deletes the HelmChart that was made, unless it is another's by its
// labels.
func (r *Reconciler) deleteChart(ctx context.Context, obj *helmv2.HelmRelease) error {
	namespace, name, ok := strings.Cut(obj.Status.HelmChart, "/")
	if !ok {
		obj.Status.HelmChart = ""
		return nil
	}
	chart := &sourcev1.HelmChart{}
	err := r.Sources.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, chart)
	if err == nil && chart.Labels[helmv2.GroupVersion.Group+"/name"] == obj.Name && chart.Labels[helmv2.GroupVersion.Group+"/namespace"] == obj.Namespace {
		err = r.Client.Delete(ctx, chart, client.Preconditions{UID: &chart.UID})
		if err == nil {
			r.announceChart(ctx, obj, chartDeletedReason, fmt.Sprintf("HelmChart '%s' deleted", obj.Status.HelmChart))
		}
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete HelmChart %s: %w", obj.Status.HelmChart, err)
	}
	obj.Status.HelmChart = ""
	return nil
}
