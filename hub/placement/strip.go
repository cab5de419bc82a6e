package placement

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

// someConditions stand for all that a status may say; all objects share them.
var someConditions = []metav1.Condition{{Type: meta.ReadyCondition}}

// Strip reduces a Kustomization or HelmRelease that comes into the cache to what
// the hub looks at: identity, labels, finalizers, spec.kubeConfig, spec.suspend,
// status.target, and of a HelmRelease whether an agent has begun to act for it.
// It leaves everything else as it is. Nothing that was read through it may be
// written back as a whole.
func Strip(obj any) (any, error) {
	switch o := obj.(type) {
	case *kustomizev1.Kustomization:
		return &kustomizev1.Kustomization{
			TypeMeta:   o.TypeMeta,
			ObjectMeta: stripped(&o.ObjectMeta),
			Spec:       kustomizev1.KustomizationSpec{KubeConfig: o.Spec.KubeConfig, Suspend: o.Spec.Suspend},
			Status:     kustomizev1.KustomizationStatus{Target: o.Status.Target},
		}, nil
	case *helmv2.HelmRelease:
		kept := &helmv2.HelmRelease{
			TypeMeta:   o.TypeMeta,
			ObjectMeta: stripped(&o.ObjectMeta),
			Spec:       helmv2.HelmReleaseSpec{KubeConfig: o.Spec.KubeConfig, Suspend: o.Spec.Suspend},
		}
		if begun(&o.Status) {
			kept.Status.Conditions = someConditions
		}
		return kept, nil
	default:
		return obj, nil
	}
}

func stripped(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:         m.Namespace,
		Name:              m.Name,
		UID:               m.UID,
		ResourceVersion:   m.ResourceVersion,
		Generation:        m.Generation,
		CreationTimestamp: m.CreationTimestamp,
		DeletionTimestamp: m.DeletionTimestamp,
		Labels:            m.Labels,
		Finalizers:        m.Finalizers,
	}
}
