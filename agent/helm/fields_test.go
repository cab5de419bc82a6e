package helm

import (
	"os"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
)

// Every field at the top of the spec is implemented: what the CRD gains stalls,
// until it is listed.
func TestEveryFieldOfTheCRDIsKnown(t *testing.T) {
	g := NewWithT(t)
	raw, err := os.ReadFile("../../config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var crd apiextensionsv1.CustomResourceDefinition
	g.Expect(yaml.Unmarshal(raw, &crd)).To(Succeed())
	at := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == "v2" })
	spec := crd.Spec.Versions[at].Schema.OpenAPIV3Schema.Properties["spec"]
	listed := map[string]bool{}
	for _, field := range supportedFields {
		first, _, _ := strings.Cut(field, ".")
		listed[first] = true
		g.Expect(spec.Properties).To(HaveKey(first), "it is not in the CRD")
	}
	for field := range spec.Properties {
		g.Expect(listed).To(HaveKey(field), "it would stall")
	}
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
