package render

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/headwater-dev/headwater/api/meta"
)

// FuzzRender gives kustomize files of a tenant. It must neither crash nor take
// more than it is given, and the short way must not lead elsewhere.
func FuzzRender(f *testing.F) {
	for _, c := range trees() {
		var manifest, kustomization []byte
		for name, content := range c.files {
			if isKustomizationFile(name) {
				kustomization = content
			} else {
				manifest = content
			}
		}
		f.Add(manifest, kustomization)
	}
	f.Add([]byte(one), []byte("resources: [https://example.com/x, ../..]"))
	f.Add([]byte("a: &a [*a]"), []byte("resources: [.]"))
	f.Fuzz(func(t *testing.T, manifest, kustomization []byte) {
		if len(manifest)+len(kustomization) > 1<<16 {
			return
		}
		tree := files("a.yaml", string(manifest), "b.yaml", one)
		if len(kustomization) > 0 {
			tree["kustomization.yaml"] = kustomization
		}
		if difference, _ := disagreement(t, tree); difference != "" {
			t.Error(difference)
		}
	})
}

// FuzzPatch gives kustomize what a spec can lay over files.
func FuzzPatch(f *testing.F) {
	f.Add("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n", "p-", "nginx")
	f.Add("- {op: add, path: /spec/replicas, value: 4}", "", "ghcr.io/org/web")
	f.Add("$patch: delete\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n", "${x}", "")
	f.Fuzz(func(t *testing.T, patch, prefix, image string) {
		if len(patch) > 1<<16 {
			return
		}
		_, _ = built(t, files("web.yaml", deployment), Settings{
			NamePrefix: prefix, Patches: []meta.Patch{{Patch: patch, Target: &meta.Selector{Kind: "Deployment"}}, {Patch: patch}},
			Images: []meta.Image{{Name: image, NewTag: prefix}}, Components: []string{image}, IgnoreMissingComponents: true,
		})
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
