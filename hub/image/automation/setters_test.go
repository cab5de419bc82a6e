package automation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"go.yaml.in/yaml/v3"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
)

var chosen = map[string]imagev1.ImageRef{
	"team/app":     {Name: "registry.example.com/app", Tag: "1.10"},
	"team/hub":     {Name: "nginx", Tag: "2.0.0"},
	"team/pinned":  {Name: "registry.example.com/app", Tag: "v2", Digest: "sha256:0123"},
	"team/integer": {Name: "registry.example.com/app", Tag: "20260101"},
}

func lookup(namespace, name string) (imagev1.ImageRef, error) {
	if namespace != "team" {
		return imagev1.ImageRef{}, fmt.Errorf("ImagePolicy %s/%s is in another namespace", namespace, name)
	}
	if name == "unselected" {
		return imagev1.ImageRef{}, errUnselected
	}
	image, ok := chosen[namespace+"/"+name]
	if !ok {
		return imagev1.ImageRef{}, errors.New("there is no ImagePolicy " + name)
	}
	return image, nil
}

func TestRewrite(t *testing.T) {
	for _, tc := range []struct {
		name, before, after string
	}{
		{"whole image", `image: old:1 # {"$imagepolicy": "team:app"}`, `image: registry.example.com/app:1.10 # {"$imagepolicy": "team:app"}`},
		{"with a digest", `image: old:1 # {"$imagepolicy": "team:pinned"}`, `image: registry.example.com/app:v2@sha256:0123 # {"$imagepolicy": "team:pinned"}`},
		{"the tag never has the digest", `tag: v1 # {"$imagepolicy": "team:pinned:tag"}`, `tag: v2 # {"$imagepolicy": "team:pinned:tag"}`},
		{"name alone", `newName: old # {"$imagepolicy": "team:app:name"}`, `newName: registry.example.com/app # {"$imagepolicy": "team:app:name"}`},
		{"digest alone", `d: x # {"$imagepolicy": "team:pinned:digest"}`, `d: sha256:0123 # {"$imagepolicy": "team:pinned:digest"}`},
		{"a tag that would be a number gets quotes", `newTag: v1 # {"$imagepolicy": "team:app:tag"}`, `newTag: "1.10" # {"$imagepolicy": "team:app:tag"}`},
		{"a number that was one", `newTag: 20250101 # {"$imagepolicy": "team:integer:tag"}`, `newTag: "20260101" # {"$imagepolicy": "team:integer:tag"}`},
		{"single quotes stay", `t: 'a' # {"$imagepolicy": "team:pinned:tag"}`, `t: 'v2' # {"$imagepolicy": "team:pinned:tag"}`},
		{"double quotes stay", `t: "a\"b" # {"$imagepolicy": "team:pinned:tag"}`, `t: "v2" # {"$imagepolicy": "team:pinned:tag"}`},
		{"odd spacing stays", "a:   \n  -   image:\told:1   #   {\"$imagepolicy\":  \"team:hub\"}   \n", "a:   \n  -   image:\tnginx:2.0.0   #   {\"$imagepolicy\":  \"team:hub\"}   \n"},
		{"anchors and tags stay", `t: &tag !!str v1 # {"$imagepolicy": "team:pinned:tag"}`, `t: &tag !!str v2 # {"$imagepolicy": "team:pinned:tag"}`},
		{"line ends of Windows", "a: b\r\nt: v1 # {\"$imagepolicy\": \"team:pinned:tag\"}\r\nc: d\r\n", "a: b\r\nt: v2 # {\"$imagepolicy\": \"team:pinned:tag\"}\r\nc: d\r\n"},
		{"byte order mark", "\ufefft: v1 # {\"$imagepolicy\": \"team:pinned:tag\"}", "\ufefft: v2 # {\"$imagepolicy\": \"team:pinned:tag\"}"},
		{"letters of several bytes before it", `"äé": v1 # {"$imagepolicy": "team:pinned:tag"}`, `"äé": v2 # {"$imagepolicy": "team:pinned:tag"}`},
		{"in a list", `- old # {"$imagepolicy": "team:pinned:tag"}`, `- v2 # {"$imagepolicy": "team:pinned:tag"}`},
		{"several documents", "a: 1\n---\nt: v1 # {\"$imagepolicy\": \"team:pinned:tag\"}\n---\n# end\n", "a: 1\n---\nt: v2 # {\"$imagepolicy\": \"team:pinned:tag\"}\n---\n# end\n"},
		{"text behind the marker", `t: v1 # {"$imagepolicy": "team:pinned:tag"} set by a robot`, `t: v2 # {"$imagepolicy": "team:pinned:tag"} set by a robot`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewWithT(t)
			after, changes, problems := rewrite([]byte(tc.before), lookup)
			g.Expect(problems).To(BeEmpty())
			g.Expect(string(after)).To(Equal(tc.after))
			g.Expect(changes).To(HaveLen(1))
			again, changes, problems := rewrite(after, lookup)
			g.Expect(again).To(Equal(after))
			g.Expect(changes).To(BeEmpty())
			g.Expect(problems).To(BeEmpty())
		})
	}
}

func TestRewriteLeavesAlone(t *testing.T) {
	for _, tc := range []struct {
		name, content string
		problem       string
	}{
		{name: "what is up to date", content: `image: registry.example.com/app:1.10 # {"$imagepolicy": "team:app"}`},
		{name: "an image whose registry is implied", content: `image: docker.io/library/nginx:2.0.0 # {"$imagepolicy": "team:hub"}`},
		{name: "a name whose registry is implied", content: `image: index.docker.io/library/nginx # {"$imagepolicy": "team:hub:name"}`},
		{name: "policies that are not selected", content: `image: a:1 # {"$imagepolicy": "team:unselected"}`},
		{name: "text that looks like a marker", content: "a: |\n  image: a:1 # {\"$imagepolicy\": \"team:app\"}\n"},
		{name: "a comment of its own", content: "# {\"$imagepolicy\": \"team:app\"}\na: b\n"},
		{name: "a policy that does not exist", content: `image: a:1 # {"$imagepolicy": "team:gone"}`, problem: "no ImagePolicy gone"},
		{name: "a policy elsewhere", content: `image: a:1 # {"$imagepolicy": "other:app"}`, problem: "another namespace"},
		{name: "broken JSON", content: `image: a:1 # {"$imagepolicy": "team:app"`, problem: "no JSON object"},
		{name: "JSON of another shape", content: `image: a:1 # {"$imagepolicy": ["team:app"]}`, problem: "no JSON object"},
		{name: "no namespace", content: `image: a:1 # {"$imagepolicy": "app"}`, problem: "namespace:name"},
		{name: "an unknown part", content: `image: a:1 # {"$imagepolicy": "team:app:size"}`, problem: `part "size"`},
		{name: "a digest that the policy does not reflect", content: `d: a # {"$imagepolicy": "team:app:digest"}`, problem: "digestReflectionPolicy"},
		{name: "a file that does not parse", content: "a: b: c # {\"$imagepolicy\": \"team:app\"}", problem: "does not parse"},
		{name: "a value of several lines", content: "a: \"x\n  y\" # {\"$imagepolicy\": \"team:app\"}", problem: "one line"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewWithT(t)
			after, changes, problems := rewrite([]byte(tc.content), lookup)
			g.Expect(string(after)).To(Equal(tc.content))
			g.Expect(changes).To(BeEmpty())
			if tc.problem == "" {
				g.Expect(problems).To(BeEmpty())
				return
			}
			g.Expect(problems).To(HaveLen(1))
			g.Expect(problems[0].Reason).To(ContainSubstring(tc.problem))
		})
	}
}

func TestOneProblemDoesNotHoldUpTheRest(t *testing.T) {
	g := NewWithT(t)
	after, changes, problems := rewrite([]byte("a: x # {\"$imagepolicy\": \"team:gone\"}\nb: v1 # {\"$imagepolicy\": \"team:pinned:tag\"}\n"), lookup)
	g.Expect(string(after)).To(Equal("a: x # {\"$imagepolicy\": \"team:gone\"}\nb: v2 # {\"$imagepolicy\": \"team:pinned:tag\"}\n"))
	g.Expect(changes).To(HaveLen(1))
	g.Expect(problems).To(ConsistOf(HaveField("Line", 1)))
}

func TestChangesSayWhatAndWhere(t *testing.T) {
	g := NewWithT(t)
	_, changes, _ := rewrite([]byte("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: prod}\nspec:\n  image: a:1 # {\"$imagepolicy\": \"team:pinned\"}\n"), lookup)
	g.Expect(changes).To(ConsistOf(Change{
		OldValue: "a:1",
		NewValue: "registry.example.com/app:v2@sha256:0123",
		Setter:   "team:pinned",
		image:    chosen["team/pinned"],
		object:   ObjectIdentifier{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", Namespace: "prod"},
	}))
}

// TestNothingButTheMarkedValueChanges marks one value of a random file: the
// file that comes out differs in the bytes of that value and nowhere else.
func TestNothingButTheMarkedValueChanges(t *testing.T) {
	g := NewWithT(t)
	const seed = 20261124
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test that can be repeated
	edited := 0
	for range 3000 {
		before, after := randomFile(random)
		got, changes, problems := rewrite([]byte(before), lookup)
		g.Expect(problems).To(BeEmpty(), before)
		g.Expect(string(got)).To(Equal(after))
		edited += len(changes)
	}
	g.Expect(edited).To(BeNumerically(">", 2000))
}

// randomFile is a file with one marked value, and what it has to become.
func randomFile(random *rand.Rand) (before, after string) {
	pick := func(options ...string) string { return options[random.IntN(len(options))] }
	filler := func() string {
		var lines []string
		for range random.IntN(4) {
			lines = append(lines, pick(
				"k%d: v", "k%d: 'it''s' # note", `k%d: "x # y"`, "k%d: |\n  text # {\"$imagepolicy\": \"team:app\"}\n\n", "k%d: >-\n   folded\n   text",
				"k%d: {a: [1, 2,  3], ü: é}  # flow", "k%d: &a%[1]d [x]\nuse%[1]d: *a%[1]d", "# only a comment", "", "k%d:\n- a\n-   b # c", "k%d: !!str 12", "\"quoted k%d\" :   y",
			))
		}
		var text strings.Builder
		for _, line := range lines {
			if strings.Contains(line, "%") {
				line = fmt.Sprintf(line, random.IntN(1_000_000))
			}
			text.WriteString(line + "\n")
		}
		return text.String()
	}
	marker := ` # {"$imagepolicy": "team:pinned:tag"}`
	start := pick("", "---\n", "# head\n---\n", "\ufeff") + filler()
	key := pick("tag: ", "tag:   ", "a:\n    - b:\n        tag: ", `"tag": `, "list:\n- ", "x: &anchor%d ")
	if strings.Contains(key, "%") {
		key = fmt.Sprintf(key, random.IntN(1_000_000))
	}
	old, now := "v1", "v2"
	switch random.IntN(5) {
	case 0:
		old, now = "'v''1'", "'v2'"
	case 1:
		old, now = `"v\t1"`, `"v2"`
	case 2:
		old, now = "1.5", "v2"
	case 3:
		old = "v2"
	}
	end := "\n" + filler() + pick("", "---\nb: 1\n", "...\n")
	return start + key + old + marker + end, start + key + now + marker + end
}

func FuzzRewrite(f *testing.F) {
	f.Add([]byte("image: old:1 # {\"$imagepolicy\": \"team:app\"}\n"))
	f.Add([]byte("- {a: b} # {\"$imagepolicy\": \"team:app:tag\"}\n--- # {\"$imagepolicy\": \"team:app\"}\n&a !!str 'x' # {\"$imagepolicy\": \"team:hub\"}"))
	f.Add([]byte("a: &b # {\"$imagepolicy\": \"team:app\"}\n  c\n? x # {\"$imagepolicy\": \"team:app\"}\n: *b # {\"$imagepolicy\": \"team:app\"}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		g := NewWithT(t)
		after, changes, _ := rewrite(content, lookup)
		if len(changes) == 0 {
			g.Expect(after).To(Equal(content))
			return
		}
		before, err := scalars(content)
		g.Expect(err).NotTo(HaveOccurred())
		values, err := scalars(after)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(values).To(HaveLen(len(before)))
		different := 0
		for i := range values {
			if values[i] != before[i] {
				different++
			}
		}
		g.Expect(different).To(Equal(len(changes)))
		var parsed yaml.Node
		g.Expect(yaml.Unmarshal(after, &parsed)).To(Succeed())
	})
}
