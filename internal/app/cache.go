package app

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Bare is the transform of a cache that holds the metadata of objects for their names,
// labels and versions. Annotations may have what the object contains,
// by kubectl apply, and are as large as a tenant likes.
func Bare(obj any) (any, error) {
	if found, ok := obj.(*metav1.PartialObjectMetadata); ok {
		found.ManagedFields, found.Annotations, found.OwnerReferences, found.Finalizers = nil, nil, nil, nil
	}
	return obj, nil
}
