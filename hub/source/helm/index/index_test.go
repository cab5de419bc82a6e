package index

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/testenv"
)

const plain = `apiVersion: v1
entries:
  nginx:
  - annotations:
      note: |
        - name: no
          version: 9.9.9
    created: "2024-01-02T03:04:05.678Z"
    digest: abc
    name: nginx
    urls:
    - https://charts.test/nginx-1.10.0.tgz
    version: 1.10.0
  - name: nginx
    urls: [nginx-1.9.0.tgz]
    version: 1.9.0
  # a comment
  - name: nginx
    version: 2.0.0-rc.1
  redis:
  - name: redis
    version: "1"
generated: "2024-01-01T00:00:00Z"
`

func parse(t *testing.T, text string) (*Index, string) {
	t.Helper()
	var out bytes.Buffer
	i, err := Parse(strings.NewReader(text), int64(len(text)), &out)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return i, out.String()
}

// cut reads the text as if it were large.
func cut(text string) (*Index, string, error) {
	var out bytes.Buffer
	i, err := Parse(strings.NewReader(text), maxWhole+1, &out)
	return i, out.String(), err
}

func TestParse(t *testing.T) {
	g := NewWithT(t)
	i, stored := parse(t, plain)
	g.Expect(i.Versions()).To(Equal(4))
	v, err := i.Find("nginx", "1.x")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(v.Version).To(Equal("1.10.0"))
	g.Expect(v.URL).To(Equal("https://charts.test/nginx-1.10.0.tgz"))
	g.Expect(v.Digest).To(Equal("abc"))
	g.Expect(v.Created.UTC().String()).To(Equal("2024-01-02 03:04:05.678 +0000 UTC"))
	g.Expect(stored).To(MatchJSON(`{"apiVersion":"v1","generated":"2024-01-01T00:00:00Z","entries":{"nginx":[
		{"annotations":{"note":"- name: no\n  version: 9.9.9\n"},"created":"2024-01-02T03:04:05.678Z","digest":"abc","name":"nginx","urls":["https://charts.test/nginx-1.10.0.tgz"],"version":"1.10.0"},
		{"name":"nginx","urls":["nginx-1.9.0.tgz"],"version":"1.9.0"},
		{"name":"nginx","version":"2.0.0-rc.1"}],"redis":[{"name":"redis","version":"1"}]}}`))

	again, same := parse(t, stored)
	g.Expect(again).To(Equal(i))
	g.Expect(same).To(Equal(stored))

	pieces, fromPieces, err := cut(plain)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(pieces).To(Equal(i))
	g.Expect(fromPieces).To(Equal(stored))
}

func TestFind(t *testing.T) {
	i, _ := parse(t, `{"apiVersion":"v1","entries":{"app":[
		{"name":"app","version":"1.0.0+a","created":"2024-01-01T00:00:00Z","urls":["a"]},
		{"name":"app","version":"1.0.0+b","created":"2024-01-03T00:00:00Z","urls":["b"]},
		{"name":"app","version":"1.0.0+c","created":"2024-01-02T00:00:00Z","urls":["c"]},
		{"name":"app","version":"v0.9.0"},
		{"name":"app","version":"2.0.0-beta.1"}]}}`)
	for wanted, want := range map[string]string{
		"": "1.0.0+b", "*": "1.0.0+b", "1.0.0+a": "1.0.0+a", "1.x": "1.0.0+b", "<1.0.0": "v0.9.0", "0.9.0": "v0.9.0",
		">0.0.0-0": "2.0.0-beta.1", "2.0.0-beta.1": "2.0.0-beta.1",
	} {
		v, err := i.Find("app", wanted)
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred(), wanted)
		g.Expect(v.Version).To(Equal(want), wanted)
	}
	for wanted, want := range map[string]string{
		"3.x": `chart "app": no version matches "3.x"`, "one two": "neither in the repository nor a range",
	} {
		_, err := i.Find("app", wanted)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(want)))
	}
	_, err := i.Find("other", "*")
	NewWithT(t).Expect(err).To(MatchError(`the index has no chart "other"`))
}

func TestWhatIsNoChartIsLeftOut(t *testing.T) {
	g := NewWithT(t)
	i, stored := parse(t, `{"apiVersion":"v1","entries":{"app":[null,{},{"name":"../app","version":"1.0.0"},{"name":"app","version":"one"},
		{"name":"app","version":"1.0.0","urls":"x"},{"name":"app","version":1.5}],"none":null,"empty":[]}}`)
	g.Expect(stored).To(MatchJSON(`{"apiVersion":"v1","entries":{"app":[{"name":"app","version":1.5}]}}`))
	v, err := i.Find("app", "*")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(v.Version).To(Equal("1.5"))
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "empty",
		"\n\n":                                  "empty",
		"<html><body>hello</body></html>":       "does not begin with {",
		"entries: {}":                           "no apiVersion",
		`{"apiVersion":"v1","entries":[]}`:      `"entries" does not begin with {`,
		`{"apiVersion":"v1","entries":{"a":[{}`: "ends in the middle",
		`{"apiVersion":"v1"} x`:                 "goes on after its end",
		`{"apiVersion":"v1","entries":{"a":[],"a":[]}}`: `chart "a" twice`,
		`{"apiVersion":"v1","entries":{},"entries":{}}`: `"entries" twice`,
		`{"apiVersion":"v1",}`:                          "not JSON",
	} {
		_, err := Parse(strings.NewReader(text), int64(len(text)), &bytes.Buffer{})
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(want)), text)
	}
}

func TestCut(t *testing.T) {
	g := NewWithT(t)
	for name, text := range map[string]string{
		"dashes at the names":  "entries:\n  a:\n  - name: a\n    version: 1.0.0\n  b:\n  - name: b\n    version: 2.0.0\napiVersion: v1\n",
		"dashes further in":    "apiVersion: v1\nentries:\n    a:\n      - name: a\n        version: 1.0.0\n      - name: a\n        version: 1.1.0\n    b: []\n",
		"a dash alone":         "---\napiVersion: v1\nentries:\n  a:\n  -\n    name: a\n    version: 1.0.0\n",
		"other line ends":      "apiVersion: v1\r\nentries:\r\n  a:\r\n  - name: a\r\n    version: 1.0.0\r\n",
		"no line end at last":  "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0",
		"aliases in a version": "apiVersion: v1\nentries:\n  a:\n  - name: &n a\n    alias: *n\n    version: 1.0.0\n",
	} {
		whole, stored := parse(t, text)
		pieces, fromPieces, err := cut(text)
		g.Expect(err).NotTo(HaveOccurred(), name)
		g.Expect(pieces).To(Equal(whole), name)
		g.Expect(fromPieces).To(Equal(stored), name)
		g.Expect(whole.Versions()).To(BeNumerically(">", 0), name)
	}
	for name, text := range map[string]string{
		"flow style":         "apiVersion: v1\nentries: {a: [{name: a, version: 1.0.0}]}\n",
		"a quoted key":       "apiVersion: v1\n\"entries\":\n  a:\n  - name: a\n    version: 1.0.0\n",
		"a space":            "apiVersion: v1\nentries :\n  a:\n  - name: a\n    version: 1.0.0\n",
		"two documents":      "apiVersion: v1\n---\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n",
		"no list":            "apiVersion: v1\nentries:\n  a:\n    name: a\n",
		"less than a dash":   "apiVersion: v1\nentries:\n  a:\n    - name: a\n   - name: b\n",
		"a version in flow":  "apiVersion: v1\nentries:\n  a: [{name: a, version: 1.0.0}]\n",
		"an alias elsewhere": "apiVersion: v1\nentries:\n  a:\n  - &x {name: a, version: 1.0.0}\n  b:\n  - *x\n",
		"a quote across":     "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: \"1.0.0\n  - name: b\"\n",
	} {
		_, _, err := cut(text)
		g.Expect(err).To(HaveOccurred(), name)
	}
}

func TestBounds(t *testing.T) {
	g := NewWithT(t)
	p := newParser(&bytes.Buffer{})
	p.max = 2
	err := p.readJSON(strings.NewReader(`{"entries":{"a":[{"name":"a","version":"1.0.0"},{"name":"a","version":"1.0.1"},{"name":"a","version":"1.0.2"}]}}`))
	g.Expect(err).To(MatchError("the index has too many versions: more than 2"))

	long := strings.Repeat("x", maxEntry)
	for _, text := range []string{
		`{"apiVersion":"v1","entries":{"a":[{"name":"a","version":"1.0.0","icon":"` + long + `"}]}}`,
		"apiVersion: v1\nentries:\n  a:\n  - name: a\n    icon: " + long + "\n",
		"apiVersion: v1\nentries:\n  a:\n  - name: a\n" + strings.Repeat("    icon: "+long[:maxEntry/4]+"\n", 5),
	} {
		_, _, err := cut(text)
		g.Expect(err).To(MatchError(ContainSubstring("more than 4194304 bytes")))
	}

	bomb := "apiVersion: v1\nentries:\n  a:\n  - name: a\n    a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("    %c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	_, _, err = cut(bomb)
	g.Expect(err).To(MatchError(ContainSubstring("alias")))
	_, err = Parse(strings.NewReader(bomb), int64(len(bomb)), &bytes.Buffer{})
	g.Expect(err).To(MatchError(ContainSubstring("alias")))
}

// TestALongTextManyTimes has few values, which are long: what the YAML library
// counts is their number.
func TestALongTextManyTimes(t *testing.T) {
	anchor, aliases := "&a "+strings.Repeat("x", 50_000), strings.Repeat("*a, ", 200)
	for name, text := range map[string]string{
		"beside the entries": "apiVersion: v1\nx: " + anchor + "\ny: [" + aliases + "]\nentries: {}\n",
		"in a version":       "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n    x: " + anchor + "\n    y: [" + aliases + "]\n",
		"as its binary form": "apiVersion: v1\nx: " + strings.Replace(anchor, "&a ", "&a !!binary ", 1) + "\ny: [" + aliases + "]\nentries: {}\n",
		"in a key":           "apiVersion: v1\nx: " + anchor + "\ny: [" + strings.ReplaceAll(aliases, "*a", "{*a : 1}") + "]\nentries: {}\n",
		"by its map":         "apiVersion: v1\nx: &a {z: " + anchor[3:] + "}\ny: [" + aliases + "]\nentries: {}\n",
		"by another alias":   "apiVersion: v1\nx: " + anchor + "\ny: &b [" + aliases[:80] + "]\nz: [*b, *b, *b, *b, *b]\nentries: {}\n",
	} {
		g := NewWithT(t)
		_, err := Parse(strings.NewReader(text), int64(len(text)), &bytes.Buffer{})
		g.Expect(err).To(MatchError(ContainSubstring("its aliases add up to more than 4194304 bytes")), name)
		_, _, err = cut(strings.Replace(text, "entries: {}", "entries:", 1))
		g.Expect(err).To(MatchError(ContainSubstring("its aliases add up to more than 4194304 bytes")), name)
	}
}

func TestCache(t *testing.T) {
	g := NewWithT(t)
	i, _ := parse(t, plain)
	reads := 0
	read := func() (*Index, error) { reads++; return i, nil }
	c := NewCache(2*i.Bytes() + 1)
	for _, digest := range []string{"a", "a", "b", "a", "c", "a", "b"} {
		got, err := c.Get(digest, read)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(BeIdenticalTo(i))
	}
	g.Expect(reads).To(Equal(4), "a, b, c, and b again")
	g.Expect(c.Bytes()).To(Equal(2 * i.Bytes()))

	_, err := c.Get("d", func() (*Index, error) { return nil, errors.New("it broke") })
	g.Expect(err).To(MatchError("it broke"))

	small := NewCache(i.Bytes() - 1)
	reads = 0
	for range 2 {
		_, err := small.Get("a", read)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(reads).To(Equal(2))
	g.Expect(small.Bytes()).To(BeZero())
}

// FuzzParse holds cutting against reading as a whole: where both give an index
// it is the same, and JSON that was written is read again.
func FuzzParse(f *testing.F) {
	f.Add(plain)
	f.Add("apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: \"1.0.0\n  - name: b\"\n")
	f.Add("apiVersion: v1\nentries:\n  a:\n  - |\n   x\n  b:\n  - {name: b, version: 1.0.0}\ngenerated: x\n")
	f.Add("apiVersion: v1\nentries :\n  a:\n  - name: a\n    version: 1\n")
	f.Add(`{"apiVersion":"v1","entries":{"a":[{"name":"a","version":"1.0.0"}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		whole, err := Parse(strings.NewReader(text), int64(len(text)), &out)
		stored := out.String()
		pieces, fromPieces, cutErr := cut(text)
		g := NewWithT(t)
		if err == nil {
			again, err := Parse(strings.NewReader(stored), int64(len(stored)), &bytes.Buffer{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(again).To(Equal(whole))
		}
		if cutErr == nil && err == nil {
			g.Expect(pieces).To(Equal(whole))
			g.Expect(fromPieces).To(MatchJSON(stored))
		}
	})
}

const benchmarked = 100_000

// large is an index of very many versions, in block form or JSON.
func large(asJSON bool) []byte {
	var b bytes.Buffer
	const perChart = 500
	if asJSON {
		b.WriteString(`{"apiVersion":"v1","entries":{`)
	} else {
		b.WriteString("apiVersion: v1\nentries:\n")
	}
	for i := range benchmarked {
		name, n := fmt.Sprintf("chart-%d", i/perChart), i%perChart
		digest := strings.Repeat("0123456789abcdef", 4)
		if asJSON {
			var open string
			if n == 0 {
				open = fmt.Sprintf("%q:[", name)
				if i > 0 {
					open = "]," + open
				}
			} else {
				open = ","
			}
			fmt.Fprintf(&b, `%s{"apiVersion":"v2","appVersion":"1.%d.0","created":"2024-01-02T03:04:05Z","description":"A chart that is one of very many of its kind","digest":%q,"home":"https://example.com/%s","keywords":["one","two","three"],"maintainers":[{"email":"a@example.com","name":"a"}],"name":%q,"sources":["https://example.com/source"],"urls":["https://charts.example.com/%s-1.%d.0.tgz"],"version":"1.%d.0"}`,
				open, n, digest, name, name, name, n, n)
			continue
		}
		if n == 0 {
			fmt.Fprintf(&b, "  %s:\n", name)
		}
		fmt.Fprintf(&b, "  - apiVersion: v2\n    appVersion: 1.%d.0\n    created: \"2024-01-02T03:04:05Z\"\n    description: A chart that is one of very many of its kind\n    digest: %s\n    home: https://example.com/%s\n    keywords:\n    - one\n    - two\n    - three\n    maintainers:\n    - email: a@example.com\n      name: a\n    name: %s\n    sources:\n    - https://example.com/source\n    urls:\n    - https://charts.example.com/%s-1.%d.0.tgz\n    version: 1.%d.0\n",
			n, digest, name, name, name, n, n)
	}
	if asJSON {
		b.WriteString("]}}")
	}
	return b.Bytes()
}

// BenchmarkParse reads 100,000 versions. Its peak is that of the heap while it
// reads, without the index as it came, which a process reads from disk.
func BenchmarkParse(b *testing.B) {
	for name, asJSON := range map[string]bool{"JSON": true, "YAML": false} {
		b.Run(name, func(b *testing.B) {
			text := large(asJSON)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				peak := testenv.PeakHeap(func() {
					i, err := Parse(bytes.NewReader(text), int64(len(text)), discard{})
					NewWithT(b).Expect(err).NotTo(HaveOccurred())
					NewWithT(b).Expect(i.Versions()).To(Equal(benchmarked))
					b.ReportMetric(float64(i.Bytes())/1e6, "MB-kept")
				})
				b.ReportMetric(float64(peak)/1e6, "MB-peak")
			}
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
