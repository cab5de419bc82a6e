package placement

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// Strip reduces a Kustomization that comes into the cache to what the hub looks
// at: identity, labels, spec.kubeConfig, spec.suspend and status.target. It
// leaves everything else as it is. Nothing that was read through it may be written back as a
// whole.
func Strip(obj any) (any, error) {
	k, ok := obj.(*kustomizev1.Kustomization)
	if !ok {
		return obj, nil
	}
	return &kustomizev1.Kustomization{
		TypeMeta: k.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{
			Namespace:         k.Namespace,
			Name:              k.Name,
			UID:               k.UID,
			ResourceVersion:   k.ResourceVersion,
			Generation:        k.Generation,
			CreationTimestamp: k.CreationTimestamp,
			DeletionTimestamp: k.DeletionTimestamp,
			Labels:            k.Labels,
		},
		Spec: kustomizev1.KustomizationSpec{
			KubeConfig: k.Spec.KubeConfig,
			Suspend:    k.Spec.Suspend,
		},
		Status: kustomizev1.KustomizationStatus{Target: k.Status.Target},
	}, nil
}
