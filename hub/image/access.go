package image

import (
	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/hub/registry"
)

// Access is what an ImageRepository says of how to reach its registry.
func Access(obj *imagev1.ImageRepository) registry.Access {
	return registry.Access{
		Namespace:          obj.Namespace,
		Remote:             "spec.image " + obj.Spec.Image,
		SecretRef:          obj.Spec.SecretRef,
		Provider:           obj.Spec.Provider,
		ServiceAccountName: obj.Spec.ServiceAccountName,
		CertSecretRef:      obj.Spec.CertSecretRef,
		ProxySecretRef:     obj.Spec.ProxySecretRef,
		Insecure:           obj.Spec.Insecure,
	}
}
