package helm

import (
	"fmt"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// supportedFields are the fields of the spec that are implemented, as
// reconcile.UnsupportedFields reads them.
var supportedFields = []string{
	"chart", "chartRef", "interval", "timeout", "suspend",
	"kubeConfig.secretRef", "kubeConfig.configMapRef", "serviceAccountName", "persistentClient",
	"releaseName", "targetNamespace", "storageNamespace", "maxHistory", "dependsOn",
	"values", "valuesFrom", "postRenderers", "postRenderStrategy", "commonMetadata",
	"driftDetection", "healthCheckExprs", "waitStrategy",
	"install", "upgrade", "test", "rollback", "uninstall",
}

// unsupported stalls an object that asks for something that is not implemented.
func unsupported(obj *helmv2.HelmRelease) error {
	if err := reconcile.UnsupportedFields(obj, supportedFields...); err != nil {
		return err
	}
	if chart := obj.Spec.Chart; chart != nil {
		if err := reconcile.ForeignSource("spec.chart.spec.sourceRef", chart.Spec.SourceRef.APIVersion); err != nil {
			return err
		}
	}
	if ref := obj.Spec.ChartRef; ref != nil {
		if newSource(ref.Kind) == nil {
			return reconcile.Stall(meta.UnsupportedFieldReason,
				fmt.Errorf("spec.chartRef.kind: %s has no charts: use an OCIRepository, HelmChart or ExternalArtifact", ref.Kind))
		}
		return reconcile.ForeignSource("spec.chartRef", ref.APIVersion)
	}
	return nil
}
