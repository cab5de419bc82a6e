package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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
			var left []string
			for field := range kind.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties {
				if named := regexp.MustCompile("`(spec\\.)?" + field + "\\b"); !named.Match(page) {
					left = append(left, "spec."+field)
				}
			}
			g.Expect(left).To(BeEmpty(), "fields that the page does not name")
		})
	}
}

// TestEveryMetricIsExplained looks for the names of metrics in the code, since
// some are not served until something has happened.
func TestEveryMetricIsExplained(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile("../docs/metrics.md")
	g.Expect(err).NotTo(HaveOccurred())
	name := regexp.MustCompile(`"((?:headwater|gotk)_[a-z_]+)"`)
	names := 0
	for _, part := range []string{"agent", "hub", "internal", "shard"} {
		g.Expect(fs.WalkDir(os.DirFS(".."), part, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(filepath.Join("..", path))
			for _, found := range name.FindAllSubmatch(source, -1) {
				names++
				g.Expect(string(page)).To(MatchRegexp("`"+string(found[1])+"[`{]"), path)
			}
			return err
		})).To(Succeed())
	}
	g.Expect(names).To(BeNumerically(">=", 18))
}
