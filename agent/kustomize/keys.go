package kustomize

import (
	"cmp"
	"context"
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-dev/headwater/agent/kustomize/decrypt"
	"github.com/headwater-dev/headwater/agent/kustomize/render"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// vaultList is the key of --sops-vault-configmap, as Flux names it.
const vaultList = "config.yaml"

// keys open what is encrypted; nil without spec.decryption. The object's own
// keys come before those that the agents offer to everybody. Clouds and Vaults are
// asked in the name of its ServiceAccount; where there is none, clouds in that of the
// process, as in Flux.
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
		secrets = append(secrets, onlyAge(shared))
	}
	keys := decrypt.New(obj.Namespace, secrets...)
	if listed := r.Builds.VaultConfig; listed.Name != "" {
		vaults, err := r.vaults(ctx, listed)
		if err != nil {
			return nil, fmt.Errorf("--sops-vault-configmap: %w", err)
		}
		keys.At(vaults)
	}
	name := cmp.Or(obj.Spec.Decryption.ServiceAccountName, r.Builds.DecryptionAccount)
	if name == "" {
		return keys, nil
	}
	account, err := r.account(ctx, types.NamespacedName{Namespace: obj.Namespace, Name: name})
	if err != nil {
		return nil, fmt.Errorf("spec.decryption.serviceAccountName: %w", err)
	}
	return keys.As(&decrypt.Identity{Account: account, Tokens: r.Client}), nil
}

// onlyAge leaves the age identities of a Secret that is everybody's: a token would be
// sent to the address that a file of anybody's names.
func onlyAge(shared decrypt.Secret) decrypt.Secret {
	identities := map[string][]byte{}
	for name, content := range shared.Data {
		if path.Ext(name) == ".agekey" {
			identities[name] = content
		}
	}
	shared.Data = identities
	return shared
}

// vaults reads the list of those that know ServiceAccounts.
func (r *Reconciler) vaults(ctx context.Context, name types.NamespacedName) (decrypt.Vaults, error) {
	var found corev1.ConfigMap
	if err := r.Live.Get(ctx, name, &found); err != nil {
		return decrypt.Vaults{}, fmt.Errorf("cannot get ConfigMap '%s': %w", name, err)
	}
	vaults, err := decrypt.ReadVaults(string(found.UID)+"@"+found.ResourceVersion, found.Data[vaultList])
	if err != nil {
		return decrypt.Vaults{}, fmt.Errorf("ConfigMap '%s': %s: %w", name, vaultList, err)
	}
	return vaults, nil
}

// account reads a ServiceAccount of the hub. One that does not exist matters when
// a cloud is to be asked, and not before: it may be the default one.
func (r *Reconciler) account(ctx context.Context, name types.NamespacedName) (*corev1.ServiceAccount, error) {
	var found corev1.ServiceAccount
	err := r.Live.Get(ctx, name, &found)
	if apierrors.IsNotFound(err) {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot get ServiceAccount '%s': %w", name, err)
	}
	return &found, nil
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
