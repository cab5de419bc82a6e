package render

import (
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headwater-dev/headwater/agent/build"
	"github.com/headwater-dev/headwater/api/meta"
)

// crashes are those of kustomize itself that are known, by a function that panics.
var crashes = []string{
	"kyaml/openapi.initSchema(",          // a file of openapi that is no schema
	"api/internal/image.IsImageMatched(", // the name of an image that is no regular expression
}

// endured renders. It fails the test where that crashes in a way that is not known, or
// takes more than it is given.
func endured(t *testing.T, r *Renderer, request Request) ([]*unstructured.Unstructured, error) {
	t.Helper()
	var logged strings.Builder
	logger := funcr.New(func(_, args string) { logged.WriteString(args) }, funcr.Options{})
	objects, err := r.Render(log.IntoContext(t.Context(), logger), request)
	isKnown := func(function string) bool { return strings.Contains(logged.String(), function) }
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "takes more than"),
		(errors.Is(err, build.ErrCrashed) || errors.Is(err, errCrashed)) && !slices.ContainsFunc(crashes, isKnown):
		t.Errorf("%s: %s", err, logged.String())
	}
	return objects, err
}

// FuzzRender gives kustomize files of a tenant. It must neither crash nor take
// more than it is given, and the short way must not lead elsewhere.
func FuzzRender(f *testing.F) {
	for _, c := range trees() {
		names := slices.Sorted(maps.Keys(c.files))
		var kustomization []byte
		if at := slices.IndexFunc(names, isKustomizationFile); at >= 0 {
			kustomization = c.files[names[at]]
		}
		for _, name := range names {
			if !isKustomizationFile(path.Base(name)) {
				f.Add(c.files[name], kustomization)
			}
		}
	}
	f.Add([]byte(one), []byte("resources: [https://example.com/x, ../..]"))
	f.Add([]byte("a: &a [*a]"), []byte("resources: [.]"))
	f.Add([]byte("{"), []byte("openapi: {path: a.yaml}\nresources: [b.yaml]\npatches: [{path: b.yaml}]"))
	f.Fuzz(func(t *testing.T, manifest, kustomization []byte) {
		if len(manifest)+len(kustomization) > 1<<16 {
			return
		}
		tree := files("a.yaml", string(manifest), "b.yaml", one)
		if len(kustomization) > 0 {
			tree["kustomization.yaml"] = kustomization
		}
		if difference, _ := disagreement(t, tree, nil); difference != "" {
			t.Error(difference)
		}
	})
}

// FuzzPatch gives kustomize what a spec can lay over files.
func FuzzPatch(f *testing.F) {
	f.Add("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n", "p-", "nginx")
	f.Add("- {op: add, path: /spec/replicas, value: 4}", "", "ghcr.io/org/web")
	f.Add("- {op: add, path: /spec/replicas, value: 4}", "v1", "(")
	f.Add("$patch: delete\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n", "${x}", "")
	f.Fuzz(func(t *testing.T, patch, prefix, image string) {
		if len(patch) > 1<<16 {
			return
		}
		r, err := New(Options{Builder: builder})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = endured(t, r, Request{Long: true, Open: have(files("web.yaml", deployment)), Settings: Settings{
			NamePrefix: prefix, Patches: []meta.Patch{{Patch: patch, Target: &meta.Selector{Kind: "Deployment"}}, {Patch: patch}},
			Images: []meta.Image{{Name: image, NewTag: prefix}}, Components: []string{image}, IgnoreMissingComponents: true,
		}})
	})
}

// FuzzSubstitution gives it texts and values of a tenant.
func FuzzSubstitution(f *testing.F) {
	for _, text := range []string{"${v}", "$${v}", "${v:-${w}}", "${v//a/b}", "${v:1:2}", "${#v}", "${v", "${v/#a/${w}}", "$v", "${v//a/${v}}", "${v:=\\}}", "${v%%*x}", "${v#${w}}"} {
		f.Add(text, "value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		if len(text)+len(value) > 1<<12 {
			return
		}
		v := Variables{Values: map[string]string{"v": value}, Lenient: true}
		trimming := mostTrimming
		made, err := v.expand(text, &trimming)
		if err == nil && !strings.Contains(text, "$") && utf8.ValidString(text) && made != text {
			t.Errorf("%q became %q without a variable", text, made)
		}
	})
}
