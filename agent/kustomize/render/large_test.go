package render

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/artifact"
)

// YAML of two bytes takes hundreds in memory, in whatever process parses it. So much of
// it that this one must not, the processes of kustomize may, or nobody.
func TestFilesOfManyValues(t *testing.T) {
	object := func(name, data string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: " + data + "\n"
	}
	list := func(values int) string { return "[" + strings.Repeat("x,", values) + "x]" }
	several := files()
	for i := range 4 {
		several[fmt.Sprintf("%d.yaml", i)] = []byte(object(fmt.Sprint("c", i), list(700_000)))
	}
	split := "values of YAML, by the signs before them (,:-?[{), and a build reads up to"
	for name, c := range map[string]struct {
		files map[string][]byte
		want  string
	}{
		"one file":                   {files("a.yaml", object("a", list(2_000_000))), "a.yaml: it may have 2000007 " + split},
		"a file and a kustomization": {files("kustomization.yaml", "namePrefix: x-\nresources: [a.yaml]\n", "a.yaml", object("items", list(2_000_000))), "a.yaml: it may have 2000007 " + split},
		"several files":              {several, "kustomize takes more than 384 MiB of memory for these files: make several Kustomizations of them"},
		"a kustomization":            {files("kustomization.yaml", "resources: "+list(200_000)), "kustomization.yaml: it may have 200002 " + split},
		"a base's kustomization":     {files("kustomization.yaml", "resources: [b]\n", "b/kustomization.yaml", "resources: "+list(200_000)), "b/kustomization.yaml: it may have 200002 " + split},
		"an inline configuration":    {files("kustomization.yaml", "resources: [b]\n", "b/kustomization.yaml", "generators: [\"["+strings.Repeat(`x\x2c`, 200_000)+"]\"]\n"), "generators: it may have 200001 " + split},
		"one key in a file":          {files("a.yaml", object("a", "{"+strings.Repeat("x,", 20_000)+"x}")), "kustomize takes more than 384 MiB of memory for these files: make several Kustomizations of them"},
		"one key in a configuration": {files("kustomization.yaml", "generators: [g.yaml]\n", "g.yaml", "{"+strings.Repeat("x,", 20_000)+"x}"), `mapping key "x" already defined`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := built(t, c.files, Settings{})
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.want)))
		})
	}
}

// A variable may stand for many values.
func TestVariablesOfManyValues(t *testing.T) {
	_, err := fill(t, files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '${v}'}\n"),
		&Variables{Values: map[string]string{"v": "[" + strings.Repeat("x,", maxValues) + "x]"}})
	NewWithT(t).Expect(err).To(MatchError("postBuild: ConfigMap/a: with the variables filled in it has more than 1000000 values"))
}

// What is large but honest is built.
func TestLargeInput(t *testing.T) {
	const many = 10_000
	var objects strings.Builder
	for i := range many {
		fmt.Fprintf(&objects, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: n%d, namespace: a}\n", i)
	}
	g := NewWithT(t)
	made, err := built(t, files("all.yaml", objects.String()), Settings{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(made).To(HaveLen(many))
}

// A few megabytes of these ask for gigabytes, or for hours of a place among builds.
func TestFilesThatBecomeTooLarge(t *testing.T) {
	// Less than is allowed, which takes less of everybody's time.
	few := defaultLimits()
	few.bytes, few.steps = few.bytes/10, few.steps/100
	long := strings.Repeat("x", 1<<20)
	aliases, maps, list, documents := "", "", "apiVersion: v1\nkind: List\nitems:\n", ""
	for i := range 200 {
		aliases += fmt.Sprintf("  k%d: *a\n", i)
		maps += fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\n", i)
	}
	var generators, inline strings.Builder
	generators.WriteString("configMapGenerator:\n")
	inline.WriteString("generators:\n")
	for i := range 2500 {
		fmt.Fprintf(&generators, "- {name: c%d, literals: [a=b]}\n", i)
		fmt.Fprintf(&inline, "- '{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: c%d}, literals: [a=b]}'\n", i)
		list += fmt.Sprintf("- {apiVersion: v1, kind: ConfigMap, metadata: {name: c%d}}\n", i)
		documents += fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\n", i)
	}
	copies := `{"op": "add", "path": "/data", "value": {"x": "` + strings.Repeat("x", 1<<10) + `"}}`
	for i := range 40 {
		copies += fmt.Sprintf(`, {"op": "copy", "from": "/data", "path": "/data/k%d"}`, i)
	}
	overlays := files("l0/kustomization.yaml", "namePrefix: x-\nresources: [all.yaml]\n", "l0/all.yaml", maps)
	for i := range 101 {
		overlays[fmt.Sprintf("l%d/kustomization.yaml", i+1)] = fmt.Appendf(nil, "namePrefix: x-\nresources: [../l%d]\n", i)
	}
	for name, c := range map[string]struct {
		files map[string][]byte
		path  string
		want  string
	}{
		"aliases of a long text": {files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  k: &a "+long+"\n"+aliases), "",
			"with what YAML aliases stand for the build reads more than 26843545 bytes"},
		"a long annotation of many": {files("kustomization.yaml", "resources: [a.yaml]\ncommonAnnotations: {a: "+long+"}\n", "a.yaml", maps), "",
			"a.yaml: with this file the build has 200 objects in 1 levels of overlays with 1048685 bytes of kustomizations"},
		"a patch that copies": {files("kustomization.yaml", "resources: [a.yaml]\npatches: [{target: {kind: ConfigMap}, path: p.json}]\n",
			"a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n", "p.json", "["+copies+"]"), "", "accumulated size increase"},
		"many documents": {files("kustomization.yaml", "namePrefix: x-\nresources: [a.yaml]\n", "a.yaml", documents), "",
			"a.yaml: with this file the build has 2500 objects in 1 levels of overlays"},
		"a long list": {files("kustomization.yaml", "namePrefix: x-\nresources: [a.yaml]\n", "a.yaml", list), "",
			"a.yaml: with this file the build has 2500 objects in 1 levels of overlays"},
		"a long list in a folded word": {files("kustomization.yaml", "namePrefix: x-\nresources: [a.yaml]\n", "a.yaml", strings.Replace(list, "items:", "? \"it\\\n  ems\"\n:", 1)), "",
			"a.yaml: with this file the build has 2500 objects in 1 levels of overlays"},
		"many generators":        {files("kustomization.yaml", generators.String()), "", "with this file the build has 2500 objects in 1 levels of overlays"},
		"many inline generators": {files("kustomization.yaml", inline.String()), "", "with this file the build has 2500 objects in 1 levels of overlays"},
		"many levels":            {overlays, "l101", "l0/all.yaml: with this file the build has 200 objects in 102 levels of overlays"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, err := New(Options{Builder: builder, most: few})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = r.Render(t.Context(), Request{Open: have(c.files), Settings: Settings{Path: c.path}})
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
		})
	}
}

// A build that takes minutes is begun when its caller says so, and is in nobody's way. It
// ends when its caller gives up.
func TestABuildThatTakesLongIsInNobodysWay(t *testing.T) {
	var objects strings.Builder
	for i := range 15_000 {
		fmt.Fprintf(&objects, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: n%d}\n", i)
	}
	g := NewWithT(t)
	r, err := New(Options{Builder: builder, Concurrency: 1})
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	opened, ended := make(chan struct{}, 10), make(chan error, 1)
	request := Request{Digest: "sha256:1", Open: func(ctx context.Context) (Archive, error) {
		opened <- struct{}{}
		return have(files("kustomization.yaml", "namePrefix: x-\nresources: [all.yaml]\n", "all.yaml", objects.String()))(ctx)
	}}
	for range 2 {
		_, err = r.Render(ctx, request)
		g.Expect(err).To(MatchError(ErrLong))
	}
	g.Expect(opened).To(HaveLen(1), "what takes long is remembered")
	again := request
	again.Long = true
	go func() {
		_, err := r.Render(ctx, again)
		ended <- err
	}()
	g.Eventually(func() int { return len(opened) }, "20s").Should(Equal(2))
	_, err = r.Render(ctx, request)
	g.Expect(err).To(MatchError(ErrLong), "it does not wait for the other one")
	made, err := r.Render(t.Context(), Request{Open: have(files("kustomization.yaml", "namePrefix: x-\nresources: [one.yaml]\n", "one.yaml", one))})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(made).To(HaveLen(1))
	g.Expect(ended).NotTo(Receive())
	cancel()
	g.Eventually(ended, "20s").Should(Receive(MatchError(context.Canceled)))
}

// What took long is kept for all who want the same.
func TestWhatTookLongIsKept(t *testing.T) {
	many := one + "data: {a: '" + strings.Repeat(":", longValues) + "'}\n" // for all that is known before it is parsed
	g := NewWithT(t)
	r, err := New(Options{Builder: builder})
	g.Expect(err).NotTo(HaveOccurred())
	request := Request{Digest: "sha256:1", Settings: Settings{TargetNamespace: "a"}, Variables: &Variables{},
		Open: have(files("kustomization.yaml", "namePrefix: x-\nresources: [all.yaml]\n", "all.yaml", many))}
	_, err = r.Render(t.Context(), request)
	g.Expect(err).To(MatchError(ErrLong))
	request.Long = true
	g.Expect(r.Render(t.Context(), request)).To(HaveLen(1))
	request.Long, request.Open = false, nil
	g.Expect(r.Render(t.Context(), request)).To(HaveLen(1))
}

func TestInvalidUTF8(t *testing.T) {
	g := NewWithT(t)
	_, err := built(t, files("sub/odd.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: a}\ndata: {a: \"\xff\xfe\"}\n"), Settings{})
	g.Expect(err).To(MatchError(ContainSubstring("sub/odd.yaml")))
}

// packed is an artifact as it is unpacked: it says how large it is, and may be larger.
type packed struct {
	memory
	size   int64
	larger map[string]int64
	held   *atomic.Int64
	most   *atomic.Int64
}

func (p packed) Size() (int64, error) { return p.size, nil }

func (p packed) Files(_, all int64) (map[string][]byte, map[string]int64, error) {
	if all < artifact.MaxBytes/2 {
		return nil, nil, fmt.Errorf("%w: it unpacks to more than %d bytes", artifact.ErrTooLarge, all)
	}
	for now := p.held.Add(1); ; {
		if most := p.most.Load(); now <= most || p.most.CompareAndSwap(most, now) {
			return p.memory, p.larger, nil
		}
	}
}

func (p packed) Close() error {
	p.held.Add(-1)
	return nil
}

// However many builds there are, the artifacts that they hold fit into the memory for
// them.
func TestBuildsShareTheMemoryForArtifacts(t *testing.T) {
	const many = 50
	for name, size := range map[string]int64{"half of it": artifact.MaxBytes / 2, "all of it": 2 * artifact.MaxBytes, "more than they say": 1, "more than nothing": 0} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, err := New(Options{Builder: builder, Concurrency: many})
			g.Expect(err).NotTo(HaveOccurred())
			var held, most atomic.Int64
			ended := make(chan error, many)
			for range many {
				go func() {
					_, err := r.Render(t.Context(), Request{Open: func(context.Context) (Archive, error) {
						return packed{memory: files("a.yaml", one), size: size, held: &held, most: &most}, nil
					}})
					ended <- err
				}()
			}
			for range many {
				g.Eventually(ended, "60s").Should(Receive(BeNil()))
			}
			// Two, and those that are about to be closed.
			g.Expect(most.Load()).To(BeNumerically("<", many/2))
		})
	}
}

// Files that are too large are not in memory, and in nobody's way who does not name them.
func TestFilesThatAreNotRead(t *testing.T) {
	const size = maxFileBytes + 1
	for name, c := range map[string]struct {
		files  map[string][]byte
		larger string
		want   string
	}{
		"elsewhere":       {files("a.yaml", one), "b/large.mp4", ""},
		"a manifest":      {files("a.yaml", one), "large.yaml", "large.yaml: the file has 16777217 bytes, and a build reads files of up to 16777216: split it"},
		"a resource":      {files("kustomization.yaml", "namePrefix: x-\nresources: [large.yaml]\n"), "large.yaml", "large.yaml: the file has 16777217 bytes, and a build reads files of up to 16777216: split it"},
		"a configuration": {files("kustomization.yaml", "generators: [large.yaml]\n"), "large.yaml", "large.yaml: the file has 16777217 bytes, and a build reads files of up to 16777216: split it"},
		"a kustomization": {files("a.yaml", one), "kustomization.yaml", "kustomization.yaml: the file has 16777217 bytes, and a build reads files of up to 16777216: split it"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, err := New(Options{Builder: builder})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = r.Render(t.Context(), Request{Open: func(context.Context) (Archive, error) {
				return packed{memory: c.files, size: artifact.MaxBytes, larger: map[string]int64{c.larger: size}, held: &atomic.Int64{}, most: &atomic.Int64{}}, nil
			}})
			if c.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
		})
	}
}
