package kustomize

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-dev/headwater/agent/kustomize/decrypt"
	"github.com/headwater-dev/headwater/agent/kustomize/render"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// keys open what is encrypted; nil without spec.decryption. The object's own
// keys come before those that the agents offer to everybody.
func (r *Reconciler) keys(ctx context.Context, obj *kustomizev1.Kustomization) (render.Keys, error) {
	if obj.Spec.Decryption == nil {
		return nil, nil
	}
	var secrets []decrypt.Secret
	if ref := obj.Spec.Decryption.SecretRef; ref != nil {
		own, err := r.keySecret(ctx, types.NamespacedName{Namespace: obj.Namespace, Name: ref.Name})
		if err != nil {
			return nil, fmt.Errorf("spec.decryption.secretRef: %w", err)
		}
		secrets = append(secrets, own)
	}
	if global := r.Builds.AgeSecret; global.Name != "" {
		shared, err := r.keySecret(ctx, global)
		if err != nil {
			return nil, fmt.Errorf("--sops-age-secret: %w", err)
		}
		secrets = append(secrets, shared)
	}
	return decrypt.New(obj.Namespace, secrets...), nil
}

func (r *Reconciler) keySecret(ctx context.Context, name types.NamespacedName) (decrypt.Secret, error) {
	var found corev1.Secret
	if err := r.Live.Get(ctx, name, &found); err != nil {
		return decrypt.Secret{}, fmt.Errorf("cannot get keys from Secret '%s': %w", name, err)
	}
	return decrypt.Secret{
		Name:            name.String(),
		UID:             string(found.UID),
		ResourceVersion: found.ResourceVersion,
		Data:            found.Data,
	}, nil
}
