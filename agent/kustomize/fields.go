package kustomize

import (
	"fmt"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// supportedFields are the fields of the spec that are implemented, as
// reconcile.UnsupportedFields reads them.
var supportedFields = []string{
	"sourceRef",
	"path",
	"interval",
	"retryInterval",
	"timeout",
	"suspend",
	"kubeConfig.secretRef",
	"kubeConfig.configMapRef",
	"prune",
	"deletionPolicy",
	"dependsOn",
	"serviceAccountName",
	"force",
	"validation",
	"wait",
	"healthChecks",
	"healthCheckExprs",
	"ignore",
	"targetNamespace",
	"namePrefix",
	"nameSuffix",
	"commonMetadata",
	"patches",
	"patchesStrategicMerge",
	"patchesJson6902",
	"images",
	"components",
	"ignoreMissingComponents",
	"buildMetadata",
	"postBuild",
	"decryption.provider",
	"decryption.secretRef",
	"decryption.serviceAccountName",
}

// unsupported stalls an object that asks for something that is not implemented.
func unsupported(obj *kustomizev1.Kustomization) error {
	if err := reconcile.UnsupportedFields(obj, supportedFields...); err != nil {
		return err
	}
	ref := obj.Spec.SourceRef
	if newSource(ref.Kind) == nil {
		return reconcile.Stall(meta.UnsupportedFieldReason,
			fmt.Errorf("spec.sourceRef.kind: %s is not implemented by this version: use a GitRepository, OCIRepository, Bucket or ExternalArtifact", ref.Kind))
	}
	return reconcile.ForeignSource("spec.sourceRef", ref.APIVersion)
}
