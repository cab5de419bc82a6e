package build

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// What is large but honest is built: providers of clouds bring CRDs of as many
// lines. (With as many lines in more objects kustomize takes minutes, which it has.)
func TestManyLines(t *testing.T) {
	const many, properties = 8, 2500
	var all strings.Builder
	for i := range many {
		fmt.Fprintf(&all, crd, i)
		for j := range properties {
			fmt.Fprintf(&all, property, j)
		}
	}
	g := NewWithT(t)
	names, err := run(t.Context(), New(1, 0), files(t, "kustomization.yaml", "commonLabels: {team: a}\nresources: [a.yaml]\n", "a.yaml", all.String()))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(names).To(HaveLen(many))
}

// An agent may be given more, or less.
func TestTheMemoryOfABuildIsSet(t *testing.T) {
	g := NewWithT(t)
	letters := files(t, "kustomization.yaml", "resources: [a.yaml]\n", "a.yaml", configMap("a")+"data: {a: '"+strings.Repeat("x", 12<<20)+"'}\n")
	_, err := run(t.Context(), New(1, 64<<20), letters)
	g.Expect(err).To(MatchError("kustomize takes more than 64 MiB of memory for these files: make several Kustomizations of them"))
	g.Expect(run(t.Context(), New(1, 2<<30), letters)).To(Equal([]string{"a"}))
}

const crd = `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: kinds%[1]d.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Kind%[1]d, plural: kinds%[1]d}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
`

const property = `          field%[1]d:
            description: what the cloud calls field %[1]d
            type: string
`
