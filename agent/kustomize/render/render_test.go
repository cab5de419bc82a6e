package render

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/internal/testenv"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestRenderGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/golden/*")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(cases).NotTo(BeEmpty())
	for _, dir := range cases {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			g := NewWithT(t)
			files := map[string][]byte{}
			root := os.DirFS(filepath.Join(dir, "files"))
			g.Expect(fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					files[name], err = fs.ReadFile(root, name)
				}
				return err
			})).To(Succeed())
			var asked struct{ Path, Namespace string }
			raw, err := os.ReadFile(filepath.Join(dir, "request.yaml"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(yaml.UnmarshalStrict(raw, &asked)).To(Succeed())

			objects, err := built(t, files, Settings{Path: asked.Path, TargetNamespace: asked.Namespace})
			g.Expect(err).NotTo(HaveOccurred())
			got := asYAML(t, objects)
			golden := filepath.Join(dir, "want.yaml")
			if *update {
				g.Expect(os.WriteFile(golden, []byte(got), 0o600)).To(Succeed())
			}
			want, err := os.ReadFile(golden)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(string(want)))
		})
	}
}

func asYAML(t *testing.T, objects []*unstructured.Unstructured) string {
	t.Helper()
	var documents []string
	for _, obj := range objects {
		raw, err := yaml.Marshal(obj.Object)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(raw))
	}
	return strings.Join(documents, "---\n")
}

// What lacks a part of its identity is no object, and is left out beside others.
func TestRenderLeavesOutWhatIsNoObject(t *testing.T) {
	for name, document := range map[string]string{
		"no apiVersion":       "kind: ConfigMap\nmetadata: {name: x}\n",
		"an empty apiVersion": "apiVersion: ''\nkind: ConfigMap\nmetadata: {name: x}\n",
		"no name, of a list":  "apiVersion: example.com/v1\nkind: AllowList\nspec: {a: 1}\n",
	} {
		for way, options := range map[string]Options{"directly": {}, "by kustomize": {noShortWay: true}} {
			t.Run(name+" "+way, func(t *testing.T) {
				g := NewWithT(t)
				options.Builder = builder
				r, err := New(options)
				g.Expect(err).NotTo(HaveOccurred())
				objects, err := r.Render(t.Context(), Request{Open: have(files("a.yaml", document+"---\n"+one))})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(objects).To(HaveLen(1))
				g.Expect(objects[0].GetName()).To(Equal("one"))
			})
		}
	}
}

// files makes an artifact of pairs of path and content.
func files(pairs ...string) map[string][]byte {
	made := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		made[pairs[i]] = []byte(pairs[i+1])
	}
	return made
}

// build renders with a Renderer that keeps nothing.
func built(t *testing.T, files map[string][]byte, settings Settings) ([]*unstructured.Unstructured, error) {
	t.Helper()
	r, err := New(Options{Builder: builder})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := r.Render(t.Context(), Request{Open: have(files), Settings: settings})
	if errors.Is(err, ErrLong) { // it is its turn
		return r.Render(t.Context(), Request{Open: have(files), Settings: settings, Long: true})
	}
	return objects, err
}

// memory is an artifact that is nowhere else.
type memory map[string][]byte

func (m memory) Size() (int64, error) { return 1, nil }
func (m memory) Files(int64, int64) (map[string][]byte, map[string]int64, error) {
	return m, nil, nil
}
func (m memory) Close() error { return nil }

// have is an artifact of files that are at hand.
func have(files map[string][]byte) func(context.Context) (Archive, error) {
	return func(context.Context) (Archive, error) { return memory(files), nil }
}

const one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: a}\n"

func TestRenderEmpty(t *testing.T) {
	for name, req := range map[string]struct {
		files map[string][]byte
		path  string
	}{
		"no files at all":         {},
		"no manifests":            {files: files("README.md", "hello")},
		"none in the path":        {files: files("a/README.md", "hello", "b/one.yaml", one), path: "a"},
		"only comments":           {files: files("a.yaml", "# nothing\n")},
		"an empty list":           {files: files("a.yaml", "apiVersion: v1\nkind: List\nitems: []\n")},
		"only a kustomize config": {files: files("a.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Component\nmetadata: {name: x}\n")},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(built(t, req.files, Settings{Path: req.path})).To(BeEmpty())
		})
	}
}

func TestRenderRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		path  string
		files map[string][]byte
		want  string
	}{
		{"no such path", "deploy", files("one.yaml", one), `kustomization path not found: spec.path "deploy" is no directory of the artifact`},
		{"a file for a path", "one.yaml", files("one.yaml", one), `spec.path "one.yaml" is no directory of the artifact`},
		{"a path outside", "../etc", files("one.yaml", one), `spec.path "../etc" leads out of the artifact`},
		{"a path outside by a detour", "/a/../../etc", files("a/one.yaml", one), `leads out of the artifact`},
		{"YAML that does not parse", "", files("sub/bad.yaml", "a: [b\n"), `sub/bad.yaml`},
		{"YAML that is no object", "", files("values.yaml", "replicas: 3\n"), `values.yaml`},
		{"a text for an object", "", files("bad.yaml", "just text\n"), `bad.yaml`},
		{"a kustomization that does not parse", "", files("kustomization.yaml", "resources: [\n"), "kustomization.yaml: invalid Kustomization: yaml: line 1"},
		{"an unknown field below the entry point", "", files("kustomization.yaml", "resources: [a]", "a/kustomization.yaml", "manifests: []\n"), `unknown field "manifests"`},
		{"two kustomization files", "", files("kustomization.yaml", "resources: [one.yaml]", "kustomization.yml", "resources: [one.yaml]", "one.yaml", one), "Found multiple kustomization files"},
		{"a missing resource", "", files("kustomization.yaml", "resources: [two.yaml]"), "two.yaml"},
		{"a cycle", "a", files("a/kustomization.yaml", "resources: [../b]", "b/kustomization.yaml", "resources: [../a]"), "cycle detected"},
		{"one object twice", "", files("one.yaml", one, "two.yaml", one), "ConfigMap.v1.[noGrp]/one.a"},
		{"a remote base", "", files("kustomization.yaml", "resources: ['https://github.com/org/repo//base?ref=v1']"),
			`kustomization.yaml: resources: "https://github.com/org/repo//base?ref=v1" is remote`},
		{"a remote base by SSH", "", files("kustomization.yaml", "bases: [git@example.com:org/repo]"), "is remote"},
		{"a remote base without a scheme", "", files("kustomization.yaml", "components: [GitHub.com/org/repo]"), "is remote"},
		{"a remote base deeper down", "prod", files("prod/kustomization.yaml", "resources: [../base]", "base/kustomization.yaml", "resources: ['http://169.254.169.254/latest']"),
			`base/kustomization.yaml: resources: "http://169.254.169.254/latest" is remote`},
		{"a remote file in a generator", "", files("kustomization.yaml", "configMapGenerator: [{name: x, files: ['a=http://169.254.169.254/']}]"), "is remote"},
		{"a remote patch", "", files("kustomization.yaml", "resources: [one.yaml]\npatches: [{path: 'http://169.254.169.254/'}]", "one.yaml", one), "is remote"},
		{"a remote file in an inline generator", "", files("kustomization.yaml",
			"generators: ['{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: x}, files: [\"http://169.254.169.254/\"]}']"), "is remote"},
		{"a remote file in a transformer's file", "", files("kustomization.yaml", "transformers: [t.yaml]\nresources: [one.yaml]", "one.yaml", one,
			"t.yaml", "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: x}\npath: http://169.254.169.254/\n"), `"http://169.254.169.254/" is remote`},
		{"a remote file in a field with a capital letter", "", files("kustomization.yaml",
			"generators: ['{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: x}, Files: [\"x=http://169.254.169.254/\"]}']"), "is remote"},
		{"a remote file in a field with a long s", "", files("kustomization.yaml",
			"generators: ['{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: x}, env\u017f: [\"http://169.254.169.254/\"]}']"), "is remote"},
		{"a remote file in a transformer's file with a capital letter", "", files("kustomization.yaml", "transformers: [t.yaml]\nresources: [one.yaml]", "one.yaml", one,
			"t.yaml", "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: x}\nPath: http://169.254.169.254/\n"), `"http://169.254.169.254/" is remote`},
		{"an inline generator that is read in two ways", "", files("kustomization.yaml",
			"generators: ['{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: x}, files: [], files: [\"x=http://127.0.0.1:1/\"]}']"), `key "files" already defined`},
		{"a generator's directory", "", files("kustomization.yaml", "generators: [dir]", "dir/kustomization.yaml", "resources: []"), `generators: "dir" is not a file of the artifact`},
		{"a plugin", "", files("kustomization.yaml", "transformers: [t.yaml]\nresources: [one.yaml]", "one.yaml", one,
			"t.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x, annotations: {config.kubernetes.io/function: 'exec: {path: /bin/sh}'}}\n"), "external plugins disabled"},
		{"a chart", "", files("kustomization.yaml", "helmCharts: [{name: x, repo: 'https://example.com'}]"), "helmCharts: charts are not rendered"},
		{"a file by its absolute path", "a", files("a/kustomization.yaml", "configMapGenerator: [{name: x, files: [/b/secret.env]}]", "b/secret.env", "a=b"), `files: "/b/secret.env" is absolute`},
		{"a patch by its absolute path", "a", files("a/kustomization.yaml", "patches: [{path: /b/patch.yaml}]", "b/patch.yaml", one), `path: "/b/patch.yaml" is absolute`},
		{"a base by its absolute path", "a", files("a/kustomization.yaml", "resources: [/b/one.yaml]", "b/one.yaml", one), `resources: "/b/one.yaml" is absolute`},
		{"a reference outside", "a", files("a/kustomization.yaml", "resources: [../../b]", "b/kustomization.yaml", "resources: []"), `resources: "../../b" leads out of the artifact`},
		{"what makes kustomize panic", "", files("kustomization.yaml", "openapi: {path: schema.json}\nresources: [thing.yaml]\npatches: [{path: thing.yaml}]",
			"thing.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\n", "schema.json", "{"), "kustomize crashed on these files: the agent's log says where"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := built(t, c.files, Settings{Path: c.path})
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.want)))
		})
	}
}

// kustomize ends the process on these. That must not be the agent's.
func TestFilesOnWhichKustomizeExits(t *testing.T) {
	withEmptyKey := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {'': x}\n"
	merged := "configMapGenerator: [{name: c, behavior: merge, literals: [a=b]}]\n"
	for name, content := range map[string]map[string][]byte{
		"an empty key": files("kustomization.yaml", "resources: [c.yaml]\n"+merged, "c.yaml", withEmptyKey),
		"an empty key of a patch": files("kustomization.yaml", "resources: [base]\n"+merged,
			"base/kustomization.yaml", "resources: [c.yaml]\npatches: [{target: {kind: ConfigMap}, patch: '[{\"op\": \"add\", \"path\": \"/data/\", \"value\": \"x\"}]'}]\n",
			"base/c.yaml", strings.Replace(withEmptyKey, "''", "y", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := built(t, content, Settings{})
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring("kustomize crashed on these files")))
		})
	}
}

func TestRenderErrorsQuoteNoContent(t *testing.T) {
	g := NewWithT(t)
	_, err := built(t, files("secret.yaml", "- hunter2\n- hunter3\n"), Settings{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(err.Error()).NotTo(ContainSubstring("hunter"))
	g.Expect(err.Error()).To(ContainSubstring("secret.yaml"))
}

// indent puts a text into a block of YAML.
func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}

func TestRenderBombs(t *testing.T) {
	laughs := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 10; i++ {
		previous := "*a" + string(rune('0'+i-1))
		laughs += "a" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + strings.Repeat(previous+", ", 9) + previous + "]\n"
	}
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\n", i)
	}
	few := strings.Join(strings.SplitAfter(laughs, "\n")[:7], "") // 10,000 values
	overlays := files("l0/one.yaml", one, "l0/kustomization.yaml", "resources: [one.yaml]")
	for i := 1; i <= 25; i++ {
		level, below := "l"+string(rune('a'+i)), "l"+string(rune('a'+i-1))
		if i == 1 {
			below = "l0"
		}
		overlays[level+"/left/kustomization.yaml"] = []byte("namePrefix: x-\nresources: [../../" + below + "]")
		overlays[level+"/right/kustomization.yaml"] = []byte("namePrefix: y-\nresources: [../../" + below + "]")
		overlays[level+"/kustomization.yaml"] = []byte("resources: [left, right]")
	}
	for _, c := range []struct {
		name  string
		path  string
		files map[string][]byte
		want  string
	}{
		{"aliases in a manifest", "", files("bomb.yaml", laughs), "bomb.yaml: YAML aliases stand for more than 1000 values"},
		{"aliases in a patch", "", files("one.yaml", one, "kustomization.yaml",
			"resources: [one.yaml]\npatches:\n- target: {kind: ConfigMap}\n  patch: |\n    "+strings.ReplaceAll(laughs, "\n", "\n    ")), "YAML aliases stand for more"},
		{"aliases in a patch in a transformer", "", files("one.yaml", one, "kustomization.yaml", "resources: [one.yaml]\ntransformers:\n- |\n"+
			indent("apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: x}\ntarget: {kind: ConfigMap}\npatch: |\n"+indent(few))), "kustomization.yaml: YAML aliases stand for more"},
		{"texts that are YAML", "", files("texts.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata:\n  x: '&*:"+strings.Repeat("x", 800<<10)+"'\n"),
			"texts.yaml: with the texts in it that may be YAML themselves the build reads more than 1048576 bytes"},
		{"an anchor in itself", "", files("bomb.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: &a {x: *a}\n"), "bomb.yaml: a YAML anchor contains an alias of itself"},
		{"an annotation of many", "", files("kustomization.yaml", "resources: [many.yaml]\ncommonAnnotations: {a: "+strings.Repeat("x", 16<<10)+"}\n", "many.yaml", many.String()),
			"the objects that were built have more than 1048576 bytes"},
		{"overlays that double their bases", "lz", overlays, "the build reads more than 500 files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			r, err := New(Options{Builder: builder, most: limits{reads: 500, bytes: 1 << 20, aliases: 1000, steps: 1_000_000}})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = r.Render(t.Context(), Request{Open: have(c.files), Settings: Settings{Path: c.path}})
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
		})
	}
}

// A text in a text in a text, each YAML that could hold aliases, is looked into twice
// and not down to its end: together they are a thousand times as long as the file.
func TestRenderLooksIntoNestedTextsTwice(t *testing.T) {
	g := NewWithT(t)
	var nested strings.Builder
	for i := range 1000 {
		nested.WriteString(strings.Repeat(" ", i+1) + "a: |\n")
	}
	nested.WriteString(strings.Repeat(" ", 1001) + "a: '&*'\n")
	r, err := New(Options{Builder: builder})
	g.Expect(err).NotTo(HaveOccurred())
	request := Request{Digest: "sha256:1", Open: have(files("one.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata:\n"+nested.String()))}
	var objects []*unstructured.Unstructured
	peak := testenv.PeakHeap(func() { objects, err = r.Render(t.Context(), request) })
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects).To(HaveLen(1))
	g.Expect(peak).To(BeNumerically("<", 64<<20), "bytes")
}

// deaf are keys that nobody gives out.
type deaf struct{ asked chan struct{} }

func (deaf) ID() string { return "deaf" }

func (deaf) Sealed(name string, _ []byte) bool { return strings.HasSuffix(name, ".env") }

func (d deaf) File(ctx context.Context, _ string, content []byte) ([]byte, error) {
	return content, d.Object(ctx, nil)
}

func (d deaf) Object(ctx context.Context, _ *unstructured.Unstructured) error {
	d.asked <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

// openers decrypt every YAML file to the same text.
type openers struct{ text string }

func (openers) ID() string { return "openers" }

func (openers) Sealed(name string, _ []byte) bool { return strings.HasSuffix(name, ".yaml") }

func (o openers) File(context.Context, string, []byte) ([]byte, error) { return []byte(o.text), nil }

func (openers) Object(context.Context, *unstructured.Unstructured) error { return nil }

// What a generator is to do was looked at as it lies in the artifact: what its file
// is decrypted to has not been.
func TestGeneratorsAreReadAsTheyWereLookedAt(t *testing.T) {
	g := NewWithT(t)
	r, err := New(Options{Builder: builder})
	g.Expect(err).NotTo(HaveOccurred())
	generator := "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: made}\noptions: {disableNameSuffixHash: true}\n"
	objects, err := r.Render(t.Context(), Request{Digest: "sha256:1", Keys: openers{generator + "files: ['x=http://127.0.0.1:1/']\n"}, Open: have(files(
		"kustomization.yaml", "generators: [gen.yaml]\nconfigMapGenerator: [{name: copy, files: [gen.yaml]}]\n",
		"gen.yaml", generator+"literals: [a=b]\n"))})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects).To(ContainElement(And(HaveField("GetName()", "made"), HaveField("Object", HaveKeyWithValue("data", map[string]any{"a": "b"})))))
}

// A build that waits for a key is in nobody's way, and does not wait for ever.
func TestBuildsThatWaitForKeysAreInNobodysWay(t *testing.T) {
	one := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"
	for name, content := range map[string]map[string][]byte{
		"of an object": files("one.yaml", one),
		"of a file":    files("kustomization.yaml", "secretGenerator: [{name: made, envs: [db.env]}]\n", "db.env", "sops_mac=ENC[\n"),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, err := New(Options{Builder: builder, Concurrency: 1})
			g.Expect(err).NotTo(HaveOccurred())
			keys := deaf{asked: make(chan struct{}, 100)}
			ctx, cancel := context.WithCancel(t.Context())
			stuck := make(chan error, 2)
			for i := range 2 {
				go func() {
					_, err := r.Render(ctx, Request{Digest: fmt.Sprint(i), Keys: keys, Open: have(content)})
					stuck <- err
				}()
			}
			g.Eventually(keys.asked, "20s").Should(Receive())
			g.Eventually(keys.asked, "20s").Should(Receive())
			soon, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			for digest, other := range map[string]map[string][]byte{
				"other":  files("one.yaml", one),
				"schema": kustomized("openapi: {path: s.json}\nresources: [one.yaml]", "one.yaml", one, "s.json", thingKind),
			} {
				objects, err := r.Render(soon, Request{Digest: digest, Open: have(other)})
				g.Expect(err).NotTo(HaveOccurred(), digest)
				g.Expect(objects).To(HaveLen(1))
			}
			cancel()
			for range 2 {
				g.Eventually(stuck, "20s").Should(Receive(HaveOccurred()))
			}
		})
	}
}

// One time is all that a build waits for keys, however many it needs, and the error
// names what has to be opened.
func TestABuildWaitsForKeysSoLong(t *testing.T) {
	for name, content := range map[string]map[string][]byte{
		"ConfigMap/a/one: ": files("one.yaml", one, "two.yaml", two),
		"db.env: ":          files("kustomization.yaml", "secretGenerator: [{name: made, envs: [db.env, z.env]}]\n", "db.env", "A=b\n", "z.env", "B=b\n"),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, err := New(Options{Builder: builder, opening: 50 * time.Millisecond})
			g.Expect(err).NotTo(HaveOccurred())
			soon, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			_, err = r.Render(soon, Request{Digest: "1", Keys: deaf{asked: make(chan struct{}, 100)}, Open: have(content)})
			g.Expect(err).To(MatchError(And(HavePrefix(name), ContainSubstring("deadline exceeded"))))
		})
	}
}

func TestRenderKeepsAliasesThatAreHarmless(t *testing.T) {
	g := NewWithT(t)
	objects, err := built(t, files("a.yaml",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: &n one, labels: {app: *n}}\ndata: {text: 'a & b * c:'}\n"), Settings{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects).To(HaveLen(1))
	g.Expect(objects[0].GetLabels()).To(Equal(map[string]string{"app": "one"}))
}

func TestRenderEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g := NewWithT(t)
	r, err := New(Options{Builder: builder})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = r.Render(ctx, Request{Digest: "sha256:x", Open: have(files("one.yaml", one))})
	g.Expect(err).To(MatchError(context.Canceled))
}

// A kustomization that brings an OpenAPI schema of its own must not change how
// another one is rendered afterwards, or beside it.
func TestRenderKeepsSchemasApart(t *testing.T) {
	g := NewWithT(t)
	const schema = `{"definitions": {"v1alpha1.Thing": {
		"properties": {"spec": {"properties": {"items": {
			"items": {"type": "object"}, "type": "array",
			"x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge"}}}},
		"x-kubernetes-group-version-kind": [{"group": "example.com", "kind": "Thing", "version": "v1alpha1"}]}}}`
	thing := "apiVersion: example.com/v1alpha1\nkind: Thing\nmetadata: {name: t}\nspec: {items: [{name: a}, {name: b}]}\n"
	patched := "resources: [thing.yaml]\npatches:\n- patch: |\n    apiVersion: example.com/v1alpha1\n    kind: Thing\n    metadata: {name: t}\n    spec: {items: [{name: b, x: y}]}\n"
	with := files("kustomization.yaml", "openapi: {path: schema.json}\n"+patched, "thing.yaml", thing, "schema.json", schema)
	without := files("kustomization.yaml", patched, "thing.yaml", thing)

	items := func(files map[string][]byte) int {
		objects, err := built(t, files, Settings{})
		if err != nil {
			t.Error(err)
			return 0
		}
		list, _, _ := unstructured.NestedSlice(objects[0].Object, "spec", "items")
		return len(list)
	}
	g.Expect(items(with)).To(Equal(2), "merged by name, as the schema says")
	g.Expect(items(without)).To(Equal(1), "replaced")

	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if items(with) != 2 || items(without) != 1 {
				t.Error("a schema was seen by another build")
			}
		})
	}
	group.Wait()
}

func TestErrorsQuoteNoSecret(t *testing.T) {
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: one}\nstringData: {p: hunter2}\n"
	renamed := func(name string) string {
		return "resources: [../s.yaml]\npatches: [{target: {kind: Secret}, options: {allowNameChange: true}, patch: '[{\"op\": \"replace\", \"path\": \"/metadata/name\", \"value\": \"" + name + "\"}]'}]"
	}
	cases := map[string]string{
		"a line that is no text":   "secretGenerator: [{name: s, envs: [odd.env]}]\n",
		"a line twice":             "secretGenerator: [{name: s, envs: [twice.env]}]\n",
		"a part of a value":        "resources: [s.yaml]\nreplacements: [{source: {kind: Secret, name: one, fieldPath: stringData.p, options: {delimiter: x, index: 9}}, targets: [{select: {kind: Secret}, fieldPaths: [stringData.q], options: {create: true}}]}]\n",
		"a validator that changes": "resources: [s.yaml]\nvalidators: ['{apiVersion: builtin, kind: AnnotationsTransformer, metadata: {name: x}, annotations: {a: b}, fieldSpecs: [{path: metadata/annotations, create: true}]}']\n",
		"two Secrets of a name":    "resources: [left, right, pod.yaml]\n",
		"a literal without =":      "secretGenerator: [{name: s, literals: [hunter2]}]\n",
		"a patch with a slip":      "resources: [a.yaml]\npatches: [{patch: \"kind: Secret\\nstringData:\\n  password: hunter2\\n bad\"}]\n",
		"a patch of two kinds":     "resources: [a.yaml]\npatches: [{path: p.yaml, patch: hunter2}]\n",
	}
	for name, content := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := built(t, map[string][]byte{
				"kustomization.yaml": []byte(content),
				"a.yaml":             []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: hunter2, y: z}\n"),
				"p.yaml":             []byte("hunter2"),
				"odd.env":            []byte("P=\xe4hunter2\n"),
				"twice.env":          []byte("hunter2\nhunter2\n"),
				"s.yaml":             []byte(secret),
				"pod.yaml":           []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {volumes: [{name: v, secret: {secretName: one}}]}\n"),

				"left/kustomization.yaml":  []byte(renamed("left")),
				"right/kustomization.yaml": []byte(renamed("right")),
			}, Settings{})
			g.Expect(err).To(HaveOccurred())
			g.Expect(err.Error()).NotTo(Or(ContainSubstring("hunter2"), ContainSubstring("104 117 110")))
		})
	}
}
