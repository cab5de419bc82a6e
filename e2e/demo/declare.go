package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/stack"
)

const (
	gitInterval   = 2 * time.Second // how often the hub looks for commits
	driftInterval = 5 * time.Second // how often an agent looks for drift
)

// targetRules are what the kubeconfigs of the targets allow: what the
// repository deploys, and what Headwater itself needs there.
func targetRules() []rbacv1.PolicyRule {
	all := []string{"get", "list", "watch", "create", "update", "patch", "delete"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces", "configmaps", "services"}, Verbs: all},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: all},
		{APIGroups: []string{"apps"}, Resources: []string{"replicasets"}, Verbs: all[:3]},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: all[:3]},
		{APIGroups: []string{"apiextensions.k8s.io"}, Resources: []string{"customresourcedefinitions"}, Verbs: all},
		{APIGroups: []string{"demo.example.com"}, Resources: []string{"storefronts"}, Verbs: all},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: all},
	}
}

// declare makes what a user makes: credentials, one GitRepository, and one
// Kustomization for each cluster.
func (w *world) declare(ctx context.Context) error {
	objects := []client.Object{
		&corev1.Secret{
			ObjectMeta: named("fleet-auth"),
			StringData: map[string]string{"username": w.repository.user, "password": w.repository.password},
		},
		&sourcev1.GitRepository{
			ObjectMeta: named("fleet"),
			Spec: sourcev1.GitRepositorySpec{
				URL:       w.repository.URL,
				Interval:  metav1.Duration{Duration: gitInterval},
				Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
				SecretRef: &meta.LocalObjectReference{Name: "fleet-auth"},
			},
		},
	}
	for _, target := range w.targets {
		kubeconfig, err := target.ServiceAccount(ctx, stack.Namespace, "headwater", targetRules())
		if err != nil {
			return err
		}
		objects = append(objects,
			&corev1.Secret{ObjectMeta: named(target.name), Data: map[string][]byte{"value": kubeconfig}},
			w.kustomization(target))
	}
	for _, object := range objects {
		if err := w.hub.Create(ctx, object); err != nil {
			return fmt.Errorf("creating %T %s on the hub: %w", object, object.GetName(), err)
		}
	}
	w.screen.Say("told the hub: one GitRepository, and a Kustomization for each of 3 clusters")
	return nil
}

func (w *world) kustomization(target *cluster) *kustomizev1.Kustomization {
	return &kustomizev1.Kustomization{
		ObjectMeta: named("shop-" + target.name),
		Spec: kustomizev1.KustomizationSpec{
			Interval:      metav1.Duration{Duration: driftInterval},
			RetryInterval: &metav1.Duration{Duration: time.Second},
			SourceRef:     kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "fleet"},
			Path:          "./clusters/" + target.name,
			Prune:         true,
			Wait:          true,
			KubeConfig:    &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: target.name}},
		},
	}
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: stack.Namespace, Name: name}
}
