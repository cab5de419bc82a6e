package helm

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// elements are those of all lists in a value.
func elements(in any) (many int) {
	switch in := in.(type) {
	case []any:
		many = len(in)
		for _, below := range in {
			many += elements(below)
		}
	case map[string]any:
		for _, below := range in {
			many += elements(below)
		}
	}
	return many
}

// FuzzSetInto: the path is the HelmRelease's, and the text anybody's who may write
// the Secret that it is in.
func FuzzSetInto(f *testing.F) {
	for _, seed := range [][2]string{
		{"value", "new"},
		{"a.b[1].c", "'quoted'"},
		{"list[0]", `"quoted"`},
		{"list[1000000000]", "x"},
		{"list[9999][9999]", "x"},
		{`list[1\000000000]`, "x"},
		{"list[+100000000]", "x"},
		{"list[-1]", "x"},
		{"one", "1,list[1000000000]=2"},
		{"two", `{a,b,{c}},three=[`},
		{"list[0].keep[2]", "null"},
		{`a\.b`, `c\,d`},
		{strings.Repeat("a.", 40), "deep"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, path, text string) {
		g := NewWithT(t)
		kept := func() map[string]any { return map[string]any{"list": []any{"b", map[string]any{"c": int64(1)}}} }
		into := map[string]any{"keep": kept(), "list": []any{"a"}}
		before := elements(into)
		err := setInto(path, text, into)
		if err == nil {
			// A list in braces is as long as it is written.
			g.Expect(elements(into)-before).To(BeNumerically("<=", mostElements+len(path)+len(text)), "path %q, text %q", path, text)
		}
		if !strings.Contains(strings.ReplaceAll(path+"="+text, `\`, ""), "keep") {
			g.Expect(into["keep"]).To(Equal(kept()))
		}
	})
}
