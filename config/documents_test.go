package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// TestEveryKindHasAPage, which names every field of its spec.
func TestEveryKindHasAPage(t *testing.T) {
	for _, object := range build(t, "crd") {
		t.Run(object.GetName(), func(t *testing.T) {
			g := NewWithT(t)
			var kind apiextensionsv1.CustomResourceDefinition
			g.Expect(yaml.UnmarshalStrict([]byte(object.MustYaml()), &kind)).To(Succeed())
			page, err := os.ReadFile(filepath.Join("..", "docs", "kinds", kind.Spec.Names.Singular+".md"))
			g.Expect(err).NotTo(HaveOccurred())
			for field := range kind.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties {
				named := regexp.MustCompile("`(spec\\.)?" + field + "\\b")
				if !named.Match(page) {
					t.Errorf("spec.%s", field)
				}
			}
		})
	}
}
