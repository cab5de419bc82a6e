package helm

import (
	"context"
	"encoding/json"
	"fmt"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/apply"
	"github.com/headwater-dev/headwater/agent/helm/action"
	"github.com/headwater-dev/headwater/agent/helm/postrender"
	"github.com/headwater-dev/headwater/agent/helm/release"
	"github.com/headwater-dev/headwater/agent/helm/state"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// inputs are all that a release is made of.
type inputs struct {
	want     state.Want
	identity identity
	artifact *meta.Artifact
	values   *composition
	render   action.Renderer
	rules    func(schema.GroupKind) apply.Rule
}

// inputs gathers what the spec names. It asks the target nothing. What was released
// is tested and, if it has failed, undone whatever has become of the dependencies.
func (r *Reconciler) inputs(ctx context.Context, obj *helmv2.HelmRelease) (*inputs, error) {
	src, err := r.source(ctx, obj)
	if err != nil {
		return nil, err
	}
	begun, unmet := r.seriesOf(client.ObjectKeyFromObject(obj)), r.dependencies(ctx, obj)
	if unmet != nil && !begun.released(obj.Generation) {
		return nil, unmet
	}
	in, err := r.inputsOf(ctx, obj, src)
	if err == nil && unmet != nil && in.want != begun.want {
		return nil, unmet
	}
	return in, err
}

// inputsOf gathers what the spec names beside the chart, which is in the artifact.
func (r *Reconciler) inputsOf(ctx context.Context, obj *helmv2.HelmRelease, src *meta.Artifact) (in *inputs, err error) {
	in = &inputs{artifact: src}
	if in.values, err = r.gather(ctx, obj); err != nil {
		return nil, err
	}
	if in.identity, err = r.charts.identify(ctx, src); err != nil {
		return nil, err
	}
	if in.rules, err = r.rules(obj); err != nil {
		return nil, err
	}
	in.render = postrender.New(obj, r.Builder)
	in.want = state.Want{
		Target:    release.TargetOf(obj),
		ChartName: in.identity.name, ChartVersion: in.identity.version, OCIDigest: in.identity.digest,
	}
	if in.want.ConfigDigest, err = r.configDigest(in.values); err != nil {
		return nil, err
	}
	if len(obj.Spec.PostRenderers) > 0 {
		in.want.PostRenderersDigest, err = digestOf(obj.Spec.PostRenderers)
	}
	if err == nil && obj.Spec.CommonMetadata != nil {
		in.want.CommonMetadataDigest, err = digestOf(obj.Spec.CommonMetadata)
	}
	return in, err
}

// rules tell the health of kinds that the spec has rules for.
func (r *Reconciler) rules(obj *helmv2.HelmRelease) (func(schema.GroupKind) apply.Rule, error) {
	rules, err := r.expressions.Rules(obj.Spec.HealthCheckExprs)
	if err != nil {
		return nil, reconcile.Stall(meta.InvalidCELExpressionReason, fmt.Errorf("spec.healthCheckExprs%w", err))
	}
	return func(kind schema.GroupKind) apply.Rule {
		if rule := rules.For(kind); rule != nil {
			return rule
		}
		return nil
	}, nil
}

// digestOf is Flux's digest of a part of the spec, which it encodes as a line: a
// release that Flux has made is not made anew.
func digestOf(part any) (string, error) {
	text, err := json.Marshal(part)
	if err != nil {
		return "", err
	}
	return release.Digest(append(text, '\n')), nil
}

// order is what an action gets of the inputs.
func (r *Reconciler) order(ctx context.Context, obj *helmv2.HelmRelease, in *inputs) (action.Order, error) {
	values, err := in.values.values()
	if err != nil {
		return action.Order{}, err
	}
	ctx = context.WithoutCancel(ctx)
	return action.Order{
		Object:    obj.DeepCopy(),
		Target:    in.want.Target,
		Chart:     func() (*helmchart.Chart, error) { return r.charts.load(ctx, in.artifact) },
		Values:    values,
		Render:    in.render,
		Rules:     in.rules,
		EnableDNS: r.Options.AllowDNSLookups,
	}, nil
}
