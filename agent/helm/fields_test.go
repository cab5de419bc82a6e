package helm

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
)

// implemented is what this version does, field by field and value by value; what
// is accepted and changes nothing is among it, and in the documentation.
// Everything else in the CRD has to stall.
var implemented = []string{
	"interval", "timeout", "suspend", "serviceAccountName", "persistentClient",
	"releaseName", "targetNamespace", "storageNamespace", "maxHistory", "dependsOn",
	"values", "valuesFrom", "commonMetadata.labels", "commonMetadata.annotations",
	"kubeConfig.secretRef.name", "kubeConfig.secretRef.key", "kubeConfig.configMapRef.name",
	"chart.metadata.labels", "chart.metadata.annotations",
	"chart.spec.chart", "chart.spec.version", "chart.spec.interval", "chart.spec.reconcileStrategy=ChartVersion", "chart.spec.reconcileStrategy=Revision",
	"chart.spec.sourceRef.kind=HelmRepository", "chart.spec.sourceRef.kind=GitRepository", "chart.spec.sourceRef.kind=Bucket",
	"chart.spec.sourceRef.apiVersion", "chart.spec.sourceRef.name", "chart.spec.sourceRef.namespace",
	"chart.spec.valuesFile", "chart.spec.valuesFiles", "chart.spec.ignoreMissingValuesFiles",
	"chart.spec.verify.provider=cosign", "chart.spec.verify.provider=notation", "chart.spec.verify.secretRef.name",
	"chartRef.kind=OCIRepository", "chartRef.kind=HelmChart", "chartRef.kind=ExternalArtifact", "chartRef.apiVersion", "chartRef.name", "chartRef.namespace",
	"install.timeout", "install.crds=Skip", "install.crds=Create", "install.crds=CreateReplace", "install.skipCRDs", "install.createNamespace", "install.replace", "install.serverSideApply",
	"install.disableHooks", "install.disableOpenAPIValidation", "install.disableSchemaValidation", "install.disableTakeOwnership", "install.disableWait", "install.disableWaitForJobs",
	"install.remediation.retries", "install.remediation.ignoreTestFailures", "install.remediation.remediateLastFailure",
	"install.strategy.name=RemediateOnFailure", "install.strategy.name=RetryOnFailure", "install.strategy.retryInterval",
	"upgrade.timeout", "upgrade.crds=Skip", "upgrade.crds=Create", "upgrade.crds=CreateReplace", "upgrade.cleanupOnFail", "upgrade.force", "upgrade.preserveValues",
	"upgrade.chartNameChangeStrategy=InPlaceUpdate", "upgrade.chartNameChangeStrategy=Reinstall",
	"upgrade.serverSideApply=enabled", "upgrade.serverSideApply=disabled", "upgrade.serverSideApply=auto",
	"upgrade.disableHooks", "upgrade.disableOpenAPIValidation", "upgrade.disableSchemaValidation", "upgrade.disableTakeOwnership", "upgrade.disableWait", "upgrade.disableWaitForJobs",
	"upgrade.remediation.retries", "upgrade.remediation.ignoreTestFailures", "upgrade.remediation.remediateLastFailure",
	"upgrade.remediation.strategy=rollback", "upgrade.remediation.strategy=uninstall",
	"upgrade.strategy.name=RemediateOnFailure", "upgrade.strategy.name=RetryOnFailure", "upgrade.strategy.retryInterval",
	"test.enable", "test.timeout", "test.ignoreFailures", "test.filters",
	"rollback.timeout", "rollback.cleanupOnFail", "rollback.disableHooks", "rollback.disableWait", "rollback.disableWaitForJobs", "rollback.force", "rollback.recreate",
	"rollback.serverSideApply=enabled", "rollback.serverSideApply=disabled", "rollback.serverSideApply=auto",
	"uninstall.timeout", "uninstall.keepHistory", "uninstall.disableHooks", "uninstall.disableWait",
	"uninstall.deletionPropagation=background", "uninstall.deletionPropagation=foreground", "uninstall.deletionPropagation=orphan",
	"driftDetection.mode=enabled", "driftDetection.mode=warn", "driftDetection.mode=disabled", "driftDetection.ignore",
	"healthCheckExprs", "waitStrategy.name=poller", "waitStrategy.name=legacy",
	"postRenderers", "postRenderStrategy=nohooks", "postRenderStrategy=combined", "postRenderStrategy=separate",
}

func TestEveryFieldOfTheCRDIsImplementedOrStalls(t *testing.T) {
	g := NewWithT(t)
	raw, err := os.ReadFile("../../config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var crd apiextensionsv1.CustomResourceDefinition
	g.Expect(yaml.Unmarshal(raw, &crd)).To(Succeed())
	at := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == "v2" })
	spec := crd.Spec.Versions[at].Schema.OpenAPIV3Schema.Properties["spec"]

	seen := map[string]bool{}
	walk("", spec, func(path string, schema apiextensionsv1.JSONSchemaProps) {
		for _, value := range samples(path, schema) {
			spelled := fmt.Sprintf("%s=%v", path, value)
			t.Run(spelled, func(t *testing.T) {
				g := NewWithT(t)
				err := unsupported(with(t, path, value))
				switch {
				case slices.Contains(implemented, path):
					seen[path] = true
					g.Expect(err).NotTo(HaveOccurred())
				case slices.Contains(implemented, spelled):
					seen[spelled] = true
					g.Expect(err).NotTo(HaveOccurred())
				default:
					g.Expect(err).To(MatchError(ContainSubstring("spec." + path)))
				}
			})
		}
	})
	for _, path := range implemented {
		g.Expect(seen).To(HaveKey(path), "it is not in the CRD")
	}
}

// walk visits the fields below an object, down to those that are no objects
// with fields of their own.
func walk(prefix string, schema apiextensionsv1.JSONSchemaProps, visit func(string, apiextensionsv1.JSONSchemaProps)) {
	for name, property := range schema.Properties {
		if len(property.Properties) > 0 {
			walk(prefix+name+".", property, visit)
			continue
		}
		visit(prefix+name, property)
	}
}

// samples are values that a field may have.
func samples(path string, schema apiextensionsv1.JSONSchemaProps) []any {
	switch path {
	case "chart.spec.sourceRef.apiVersion", "chartRef.apiVersion":
		return []any{"source.toolkit.fluxcd.io/v1"}
	}
	var values []any
	for _, value := range schema.Enum {
		values = append(values, strings.Trim(string(value.Raw), `"`))
	}
	if len(values) > 0 {
		return values
	}
	return []any{sample(schema)}
}

// sample is one value of the schema, with all its fields.
func sample(schema apiextensionsv1.JSONSchemaProps) any {
	switch {
	case schema.Type == "object" && schema.AdditionalProperties != nil:
		return map[string]any{"key": "value"}
	case schema.Type == "object":
		fields := map[string]any{}
		for name, property := range schema.Properties {
			fields[name] = sample(property)
		}
		return fields
	case schema.Type == "array":
		return []any{sample(*schema.Items.Schema)}
	case schema.Type == "boolean":
		return true
	case schema.Type == "integer":
		return int64(3)
	case strings.Contains(schema.Pattern, "ms|s|m|h"):
		return "5m"
	case schema.Type == "":
		return map[string]any{"any": "thing"}
	}
	return "text"
}

// with is a HelmRelease whose spec sets one field beyond what it has to.
func with(t *testing.T, path string, value any) *helmv2.HelmRelease {
	t.Helper()
	g := NewWithT(t)
	spec := map[string]any{"interval": "10m"}
	if strings.HasPrefix(path, "chartRef.") {
		spec["chartRef"] = map[string]any{"kind": "HelmChart", "name": "chart"}
	}
	g.Expect(unstructured.SetNestedField(spec, value, strings.Split(path, ".")...)).To(Succeed())
	obj := &helmv2.HelmRelease{}
	g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(map[string]any{"spec": spec}, obj, true)).To(Succeed())
	return obj
}

func TestForeignReferencesStall(t *testing.T) {
	for name, c := range map[string]struct {
		spec helmv2.HelmReleaseSpec
		want string
	}{
		"a chart's source": {helmv2.HelmReleaseSpec{Chart: &helmv2.HelmChartTemplate{Spec: helmv2.HelmChartTemplateSpec{
			SourceRef: helmv2.CrossNamespaceObjectReference{APIVersion: "example.com/v1", Kind: "GitRepository", Name: "a"}}}},
			"spec.chart.spec.sourceRef.apiVersion: example.com/v1 has no sources"},
		"a chart": {helmv2.HelmReleaseSpec{ChartRef: &helmv2.CrossNamespaceSourceReference{APIVersion: "example.com/v1", Kind: "HelmChart", Name: "a"}},
			"spec.chartRef.apiVersion: example.com/v1 has no sources"},
		"another kind": {helmv2.HelmReleaseSpec{ChartRef: &helmv2.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "a"}},
			"spec.chartRef.kind: GitRepository has no charts"},
		"a way to the cluster": {helmv2.HelmReleaseSpec{KubeConfig: &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "a"}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := unsupported(&helmv2.HelmRelease{Spec: c.spec})
			if c.want == "" {
				NewWithT(t).Expect(err).NotTo(HaveOccurred())
				return
			}
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.want)))
		})
	}
}
