package helm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// artifactSource is a kind of source whose artifact is a chart.
type artifactSource interface {
	client.Object
	GetArtifact() *meta.Artifact
	CommonStatus() *meta.Status
}

// newSource is an empty object of the kind, nil for kinds that have no charts.
func newSource(kind string) client.Object {
	switch kind {
	case sourcev1.HelmChartKind:
		return &sourcev1.HelmChart{}
	case sourcev1.OCIRepositoryKind:
		return &sourcev1.OCIRepository{}
	case sourcev1.ExternalArtifactKind:
		return &sourcev1.ExternalArtifact{}
	}
	return nil
}

// sourceOf names the object whose artifact is the chart.
func sourceOf(obj *helmv2.HelmRelease) (kind string, name types.NamespacedName) {
	if ref := obj.Spec.ChartRef; ref != nil {
		return ref.Kind, types.NamespacedName{Namespace: cmp.Or(ref.Namespace, obj.Namespace), Name: ref.Name}
	}
	return sourcev1.HelmChartKind, chartName(obj)
}

// source makes sure that the chart is made, and reads where its artifact is.
func (r *Reconciler) source(ctx context.Context, obj *helmv2.HelmRelease) (*meta.Artifact, error) {
	kind, name := sourceOf(obj)
	switch {
	case r.Options.NoCrossNamespaceRefs && name.Namespace != obj.Namespace:
		return nil, accessDenied(name)
	case kind == sourcev1.ExternalArtifactKind && !r.Options.ExternalArtifacts:
		return nil, reconcile.Stall(meta.FeatureGateDisabledReason, errors.New(
			"spec.chartRef.kind: the feature gate ExternalArtifact is off: turn it on with --feature-gates=ExternalArtifact=true, or use another kind"))
	}
	written, err := r.template(ctx, obj)
	if err != nil {
		return nil, err
	}
	src := newSource(kind)
	if written != nil {
		src = written
	} else {
		err = r.Sources.Get(ctx, name, src)
	}
	switch {
	case apierrors.IsForbidden(err):
		return nil, reconcile.Fail(meta.AccessDeniedReason,
			fmt.Errorf("this agent may not read %s %s: grant its ServiceAccount get on it, or use a source in the namespace of the HelmRelease", kind, name))
	case apierrors.IsNotFound(err):
		return nil, r.notReady(fmt.Sprintf("%s '%s' is not found", kind, name))
	case err != nil:
		return nil, fmt.Errorf("chart source %s %s: %w", kind, name, err)
	}
	made, why := artifactOf(src)
	if made == nil {
		return nil, r.notReady(fmt.Sprintf("%s '%s' is not ready: %s", kind, name, why))
	}
	return made, nil
}

func (r *Reconciler) notReady(why string) error {
	return reconcile.Wait(sourceNotReadyReason, why, r.Options.RequeueDependency)
}

// artifactOf is the source's artifact, or why it does not count: it is not of the
// spec as it is now, or its maker says that it is not ready. A chart that
// cannot be renewed goes on being used, but not that of a source that is stalled:
// it is of an older spec, which nothing but another one will replace.
func artifactOf(src client.Object) (made *meta.Artifact, why string) {
	var conditions []metav1.Condition
	observed := src.GetGeneration()
	switch s := src.(type) {
	case artifactSource:
		made, conditions, observed = s.GetArtifact(), s.CommonStatus().Conditions, s.CommonStatus().ObservedGeneration
	case *sourcev1.ExternalArtifact:
		made, conditions = s.Status.Artifact, s.Status.Conditions
		if !apimeta.IsStatusConditionTrue(conditions, meta.ReadyCondition) {
			made = nil
		}
	}
	ready, stalled := apimeta.FindStatusCondition(conditions, meta.ReadyCondition), apimeta.FindStatusCondition(conditions, meta.StalledCondition)
	switch {
	case made == nil && ready != nil && ready.Status != metav1.ConditionTrue:
		return nil, ready.Message
	case made == nil:
		return nil, "it has no artifact yet"
	case observed != src.GetGeneration():
		return nil, "latest generation of object has not been reconciled"
	case stalled != nil && stalled.Status == metav1.ConditionTrue:
		return nil, stalled.Message
	}
	return made, ""
}

// accessDenied stalls a reference into another namespace.
func accessDenied(name types.NamespacedName) error {
	return reconcile.Stall(meta.AccessDeniedReason,
		fmt.Errorf("can't access '%s', cross-namespace references have been blocked", name))
}

// sourceDigest is the digest of the upstream artifact that a revision of an
// OCIRepository or an ExternalArtifact names, as tag@algorithm:digest or by itself
// where no tag leads to it. A HelmChart's revision is the chart's version, which
// has neither sign in it.
func sourceDigest(revision string) (tag, digest string) {
	digest = revision
	if at := strings.LastIndex(revision, "@"); at >= 0 {
		tag, digest = revision[:at], revision[at+1:]
	}
	if !strings.Contains(digest, ":") {
		return "", ""
	}
	return tag, digest
}
