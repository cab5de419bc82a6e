package image

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/registry"
)

// Access is what an ImageRepository says of how to reach its registry.
func Access(obj *imagev1.ImageRepository) registry.Access {
	return registry.Access{
		Namespace:          obj.Namespace,
		Remote:             "spec.image " + obj.Spec.Image,
		SecretRef:          obj.Spec.SecretRef,
		ServiceAccountName: obj.Spec.ServiceAccountName,
		CertSecretRef:      obj.Spec.CertSecretRef,
		ProxySecretRef:     obj.Spec.ProxySecretRef,
		Insecure:           obj.Spec.Insecure,
		Timeout:            obj.Timeout(),
	}
}

// NamespaceLabels are the labels of a namespace.
func NamespaceLabels(ctx context.Context, reader client.Reader, name string) (map[string]string, error) {
	var namespace corev1.Namespace
	if err := reader.Get(ctx, client.ObjectKey{Name: name}, &namespace); err != nil {
		return nil, fmt.Errorf("reading the labels of namespace %s: %w", name, err)
	}
	return namespace.Labels, nil
}

// Allows says whether one of the selectors matches a namespace with the labels.
func Allows(from *meta.AccessFrom, labels map[string]string) bool {
	return from != nil && slices.ContainsFunc(from.NamespaceSelectors, func(selector meta.NamespaceSelector) bool {
		for key, value := range selector.MatchLabels {
			if got, ok := labels[key]; !ok || got != value {
				return false
			}
		}
		return true
	})
}
