package chart

import (
	"testing"

	. "github.com/onsi/gomega"
)

// A chart that gets another version keeps all else that Helm reads of it, whatever way
// of writing YAML its author has.
func FuzzSetVersion(f *testing.F) {
	for _, seed := range []string{
		"apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"name: web\nversion: 1.0.0\nappVersion: 1.10\nannotations: {a: 1, b: 0x10, c: 1e3, d: yes}\n",
		"apiVersion: v2\nname: &n web\nversion: 0.1.0\nhome: *n\nkeywords: [1, 2.50, 010, null]\ndependencies: [{name: a, version: 1, condition: b.c, import-values: [x, {child: y, parent: z}]}]\n",
		"{apiVersion: v2, name: web, version: 1.0.0, maintainers: [{name: ø, email: \"\\u0000\"}], sources: [|-\n x\n], unknown: {1: 2}}",
		"apiVersion: v2\nname: web\nversion: 1.0.0\nappVersion: 123456789012345678901234567890\ndeprecated: true\ntype: library\nkubeVersion: '>=1.2'\n",
		"name: web\nversion: 1.0.0\nappVersion: 10000000000.00\nannotations: {a: 12e30}\n",
		"apiVersion: v2\nname: web\nname: twice\nversion: 1.0.0\n", "a: &a [*a]\nname: web\nversion: 1.0.0\n", "<<: {name: web}\nversion: 1.0.0\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		g := NewWithT(t)
		made, err := New(map[string][]byte{metadataFile: content}, 1<<20)
		if err != nil {
			return
		}
		before, err := ParseMetadata(content)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(made.SetVersion("9.8.7+build")).To(Succeed())
		after, err := ParseMetadata(made.Files[metadataFile])
		g.Expect(err).NotTo(HaveOccurred())
		before.Version = "9.8.7+build"
		g.Expect(after).To(Equal(before))
		g.Expect(made.Metadata).To(Equal(before))
	})
}
