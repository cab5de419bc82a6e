package kustomize

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-dev/headwater/agent/kustomize/render"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// variables are what spec.postBuild substitutes; nil without it. Later sources
// win over earlier ones, and inline values over all.
func (r *Reconciler) variables(ctx context.Context, obj *kustomizev1.Kustomization) (*render.Variables, error) {
	post := obj.Spec.PostBuild
	if post == nil {
		return nil, nil
	}
	values := map[string]string{}
	for _, ref := range post.SubstituteFrom {
		err := r.addValues(ctx, obj.Namespace, ref, values)
		if ref.Optional && apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("substitute from '%s/%s': %w", ref.Kind, ref.Name, err)
		}
	}
	for name, value := range post.Substitute {
		values[name] = value
	}
	return &render.Variables{
		Values:  values,
		Always:  post.SubstituteStrategy == kustomizev1.SubstituteStrategyAlways,
		Lenient: r.Builds.LenientSubstitution,
	}, nil
}

// addValues reads a ConfigMap or Secret, past the cache: what it holds now is
// what counts, and the cache need not hold everybody's.
func (r *Reconciler) addValues(ctx context.Context, namespace string, ref kustomizev1.SubstituteReference, to map[string]string) error {
	name := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	if ref.Kind == "ConfigMap" {
		var found corev1.ConfigMap
		if err := r.Live.Get(ctx, name, &found); err != nil {
			return err
		}
		for key, value := range found.Data {
			to[key] = value
		}
		return nil
	}
	var found corev1.Secret
	if err := r.Live.Get(ctx, name, &found); err != nil {
		return err
	}
	for key, value := range found.Data {
		to[key] = string(value)
	}
	return nil
}

func isRegistered(err error) bool {
	var before prometheus.AlreadyRegisteredError
	return errors.As(err, &before)
}
