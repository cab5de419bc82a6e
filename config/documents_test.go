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
	names := 0
	inCode(g, `"((?:headwater|gotk)_[a-z_]+)"`, func(name, path string) {
		names++
		g.Expect(string(page)).To(MatchRegexp("`"+name+"[`{]"), path)
	})
	g.Expect(names).To(BeNumerically(">=", 18))
}

// TestEveryReasonIsExplained is about those of conditions and events, and the
// conditions themselves.
func TestEveryReasonIsExplained(t *testing.T) {
	g := NewWithT(t)
	var pages []byte
	g.Expect(fs.WalkDir(os.DirFS("../docs"), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		page, err := os.ReadFile(filepath.Join("..", "docs", path))
		pages = append(pages, page...)
		return err
	})).To(Succeed())
	names, left := 0, map[string]string{}
	inCode(g, `(?:Reason|Condition)(?: shard\.Reason)?(?: *=|:) *"([A-Z][A-Za-z]+)"`, func(name, path string) {
		names++
		if !regexp.MustCompile(`\b` + name + `\b`).Match(pages) {
			left[name] = path
		}
	})
	g.Expect(names).To(BeNumerically(">", 100))
	g.Expect(left).To(BeEmpty())
}

// inCode calls found with what the expression's group matches in the product's code.
func inCode(g *WithT, expression string, found func(name, path string)) {
	name := regexp.MustCompile(expression)
	for _, part := range []string{"agent", "api", "hub", "internal", "shard"} {
		g.Expect(fs.WalkDir(os.DirFS(".."), part, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "internal/testenv") {
				return err
			}
			source, err := os.ReadFile(filepath.Join("..", path))
			for _, match := range name.FindAllSubmatch(source, -1) {
				found(string(match[1]), path)
			}
			return err
		})).To(Succeed())
	}
}
