package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// fleet is the namespace on the hub that everything is in.
const fleet = "fleet"

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: fleet, Name: name} }

// rules are what a kubeconfig of a target allows.
func rules() []rbacv1.PolicyRule {
	all := []string{"get", "list", "watch", "create", "update", "patch", "delete"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: all},
		// of releases, their records and hooks
		{APIGroups: []string{""}, Resources: []string{"secrets", "pods"}, Verbs: all},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: all},
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: all[:3]},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: all},
	}
}

// declare makes what a user makes on the hub.
func (w *world) declare(ctx context.Context) error {
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fleet}},
		&sourcev1.GitRepository{
			ObjectMeta: named("fleet"),
			Spec: sourcev1.GitRepositorySpec{
				URL:       w.source.URL,
				Interval:  metav1.Duration{Duration: time.Second},
				Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
			},
		},
		helmChart(),
	}
	for _, k := range w.keys {
		kubeconfig, err := k.kubeconfig(ctx)
		if err != nil {
			return err
		}
		objects = append(objects, &corev1.Secret{ObjectMeta: named(k.name), Data: map[string][]byte{"value": kubeconfig}}, k.kustomization())
	}
	for _, r := range w.releases {
		objects = append(objects, r.helmRelease(false))
	}
	for _, object := range objects {
		if err := w.onHub.Create(ctx, object); err != nil {
			return fmt.Errorf("creating %T %s on the hub: %w", object, object.GetName(), err)
		}
	}
	return nil
}

// kubeconfig leads through the key's proxy, with the key's own credential.
func (k *key) kubeconfig(ctx context.Context) ([]byte, error) {
	if _, err := k.plane.ServiceAccount(ctx, k.name, "headwater", rules()); err != nil {
		return nil, err
	}
	token, err := k.plane.Token(ctx, k.name, "headwater", 12*time.Hour)
	if err != nil {
		return nil, err
	}
	return k.proxy.Kubeconfig(token)
}

func (k *key) kustomization() *kustomizev1.Kustomization {
	return &kustomizev1.Kustomization{
		ObjectMeta: named(k.name),
		Spec: kustomizev1.KustomizationSpec{
			Interval:        metav1.Duration{Duration: 30 * time.Second},
			RetryInterval:   &metav1.Duration{Duration: time.Second},
			SourceRef:       kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "fleet"},
			Path:            "./apps",
			Prune:           true,
			TargetNamespace: k.name,
			KubeConfig:      &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: k.name}},
		},
	}
}

// clientOf is a client that goes through a proxy.
func clientOf(p *testenv.Proxy, token string) (client.Client, error) {
	kubeconfig, err := p.Kubeconfig(token)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{})
}
