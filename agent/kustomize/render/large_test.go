package render

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// What is large but honest is built.
func TestLargeInput(t *testing.T) {
	const many = 10_000
	var objects strings.Builder
	for i := range many {
		fmt.Fprintf(&objects, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: n%d, namespace: a}\n", i)
	}
	g := NewWithT(t)
	made, err := build(t, files("all.yaml", objects.String()), Settings{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(made).To(HaveLen(many))
}

func TestInvalidUTF8(t *testing.T) {
	g := NewWithT(t)
	_, err := build(t, files("sub/odd.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: a}\ndata: {a: \"\xff\xfe\"}\n"), Settings{})
	g.Expect(err).To(MatchError(ContainSubstring("sub/odd.yaml")))
}
