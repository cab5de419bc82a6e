package remote

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Impersonate makes Client and Config of this unit of work act as a
// ServiceAccount of the target: what they may do is what it may do. The fence,
// probes and the knowledge of kinds stay with the connection's own identity, and
// the gate stays innermost. It asks the server nothing.
func (t *Target) Impersonate(namespace, serviceAccount string) error {
	config := rest.CopyConfig(t.Config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: fmt.Sprintf("system:serviceaccount:%s:%s", namespace, serviceAccount),
	}
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("impersonate the ServiceAccount %s/%s: %w", namespace, serviceAccount, err)
	}
	impersonated, err := client.New(config, client.Options{HTTPClient: http, Mapper: t.Mapper})
	if err != nil {
		return fmt.Errorf("impersonate the ServiceAccount %s/%s: %w", namespace, serviceAccount, err)
	}
	t.Client, t.Config = impersonated, config
	return nil
}

// AccountMissing says whether the target has no such ServiceAccount, as the
// connection's own identity sees it. Where that may not look, the account counts
// as there. It is to be asked before Impersonate.
func (t *Target) AccountMissing(ctx context.Context, namespace, serviceAccount string) (bool, error) {
	account := &metav1.PartialObjectMetadata{}
	account.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	err := t.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: serviceAccount}, account)
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err == nil, apierrors.IsForbidden(err):
		return false, nil
	}
	return false, fmt.Errorf("look for the ServiceAccount %s/%s at the target: %w", namespace, serviceAccount, err)
}
