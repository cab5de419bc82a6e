package stack

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// Namespace is where the product's own objects are.
const Namespace = "flux-system"

// Scheme knows Kubernetes' kinds and the product's.
func Scheme() (*runtime.Scheme, error) {
	types := runtime.NewScheme()
	builder := runtime.NewSchemeBuilder(clientgoscheme.AddToScheme,
		sourcev1.AddToScheme, kustomizev1.AddToScheme, helmv2.AddToScheme, imagev1.AddToScheme, fleetv1.AddToScheme)
	return types, builder.AddToScheme(types)
}

// install puts the namespace, the CRDs and the RBAC on the hub, as an
// administrator.
func (s *Stack) install(ctx context.Context) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	if err := s.admin.Create(ctx, namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", Namespace, err)
	}
	for _, base := range []string{"crd", "rbac"} {
		objects, err := build(filepath.Join(s.Root, "config", base))
		if err != nil {
			return err
		}
		for _, object := range objects {
			err := s.admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(object),
				client.FieldOwner("install"), client.ForceOwnership)
			if err != nil {
				return fmt.Errorf("installing %s %s: %w", object.GetKind(), object.GetName(), err)
			}
		}
	}
	return nil
}

// build is `kubectl kustomize`.
func build(path string) ([]*unstructured.Unstructured, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", path, err)
	}
	var objects []*unstructured.Unstructured
	for _, object := range built.Resources() {
		content, err := object.Map()
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", path, err)
		}
		objects = append(objects, &unstructured.Unstructured{Object: content})
	}
	return objects, nil
}

// bind grants a ServiceAccount what config/rbac grants headwater-agent. In a
// cluster all agents share that account and are told apart by their Pods.
func (s *Stack) bind(ctx context.Context, account string) error {
	subject := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: Namespace, Name: account}
	const granted = "headwater-agent"
	var cluster rbacv1.ClusterRoleBinding
	if err := s.admin.Get(ctx, client.ObjectKey{Name: granted}, &cluster); err != nil {
		return fmt.Errorf("binding ServiceAccount %s: %w", account, err)
	}
	var local rbacv1.RoleBinding
	if err := s.admin.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: granted}, &local); err != nil {
		return fmt.Errorf("binding ServiceAccount %s: %w", account, err)
	}
	cluster.Subjects = append(cluster.Subjects, subject)
	local.Subjects = append(local.Subjects, subject)
	for _, binding := range []client.Object{&cluster, &local} {
		if err := s.admin.Update(ctx, binding); err != nil {
			return fmt.Errorf("binding ServiceAccount %s: %w", account, err)
		}
	}
	return nil
}
