package render

import (
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/headwater-dev/headwater/api/meta"
)

const (
	deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers: [{name: web, image: 'ghcr.io/org/web:1.0'}]\n      volumes: [{name: v, configMap: {name: one}}]\n"
	component  = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels: [{pairs: {from: component}}]\n"
)

func TestSettings(t *testing.T) {
	plain := files("web.yaml", deployment, "one.yaml", one)
	digest := "sha256:" + "0123456789012345678901234567890123456789012345678901234567890123"
	for _, c := range []struct {
		name     string
		files    map[string][]byte
		settings Settings
		want     string
		not      string
	}{
		{name: "a prefix, and references follow", files: plain, settings: Settings{NamePrefix: "p-", NameSuffix: "-s", TargetNamespace: "shop"}, want: "configMap:\n          name: p-one-s\n"},
		{name: "a prefix wins over the file's", files: files("kustomization.yaml", "namePrefix: x-\nresources: [one.yaml]", "one.yaml", one), settings: Settings{NamePrefix: "p-"}, want: "name: p-one\n"},
		{name: "a namespace", files: plain, settings: Settings{TargetNamespace: "shop"}, want: "name: one\n  namespace: shop\n", not: "namespace: a\n"},
		{name: "a strategic merge patch", files: plain, settings: Settings{Patches: []meta.Patch{{Patch: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n"}}}, want: "replicas: 3\n"},
		{name: "a patch for a target", files: plain, settings: Settings{Patches: []meta.Patch{{
			Patch: "- {op: add, path: /spec/replicas, value: 4}", Target: &meta.Selector{Group: "apps", Version: "v1", Kind: "Deployment", Name: "w.*"},
		}}}, want: "replicas: 4\n"},
		{name: "a patch after the file's", files: files("kustomization.yaml", "resources: [web.yaml]\npatches: [{target: {kind: Deployment}, patch: '- {op: add, path: /spec/replicas, value: 1}'}]", "web.yaml", deployment),
			settings: Settings{Patches: []meta.Patch{{Patch: "- {op: replace, path: /spec/replicas, value: 2}", Target: &meta.Selector{Kind: "Deployment"}}}}, want: "replicas: 2\n"},
		{name: "the old spelling of strategic merge", files: plain, settings: Settings{PatchesStrategicMerge: []apiextensionsv1.JSON{
			{Raw: []byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","annotations":{"up":"../../../x"}},"spec":{"replicas":5}}`)},
		}}, want: "replicas: 5\n"},
		{name: "the old spelling of JSON 6902", files: plain, settings: Settings{PatchesJSON6902: []meta.JSON6902Patch{{
			Patch:  []meta.JSON6902{{Op: "add", Path: "/spec/replicas", Value: &apiextensionsv1.JSON{Raw: []byte("6")}}},
			Target: meta.Selector{Kind: "Deployment"},
		}}}, want: "replicas: 6\n"},
		{name: "an image", files: plain, settings: Settings{Images: []meta.Image{{Name: "ghcr.io/org/web", NewName: "mirror/web", NewTag: "2.0"}}}, want: "image: mirror/web:2.0\n"},
		{name: "an image's digest", files: plain, settings: Settings{Images: []meta.Image{{Name: "ghcr.io/org/web", Digest: digest}}}, want: "image: ghcr.io/org/web@" + digest},
		{name: "an image merged into the file's", files: files("kustomization.yaml", "resources: [web.yaml]\nimages: [{name: ghcr.io/org/web, newTag: '3'}]", "web.yaml", deployment),
			settings: Settings{Images: []meta.Image{{Name: "ghcr.io/org/web", NewName: "mirror/web"}}}, want: "image: mirror/web:3\n"},
		{name: "a tag in place of the file's digest", files: files("kustomization.yaml", "resources: [web.yaml]\nimages: [{name: ghcr.io/org/web, digest: '"+digest+"'}]", "web.yaml", deployment),
			settings: Settings{Images: []meta.Image{{Name: "ghcr.io/org/web", NewTag: "4"}}}, want: "image: ghcr.io/org/web:4\n"},
		{name: "a component", files: files("c/kustomization.yaml", component, "app/one.yaml", one),
			settings: Settings{Path: "app", Components: []string{"../c"}}, want: "from: component\n"},
		{name: "a missing component", files: plain, settings: Settings{Components: []string{"nope"}, IgnoreMissingComponents: true}, want: "name: one\n"},
		{name: "annotations of origin", files: plain, settings: Settings{BuildMetadata: []string{"originAnnotations"}}, want: "config.kubernetes.io/origin: |\n      path: one.yaml\n"},
		{name: "generators alone, annotated as Flux does", files: files("kustomization.yaml", "configMapGenerator: [{name: x, literals: [a=b]}]"), want: "config.kubernetes.io/origin: |\n      configuredIn: kustomization.yaml"},
		{name: "an unknown field is dropped at the entry point", files: files("kustomization.yaml", "manifests: []\nresources: [one.yaml]", "one.yaml", one), want: "name: one\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			objects, err := built(t, c.files, c.settings)
			g.Expect(err).NotTo(HaveOccurred())
			got := asYAML(t, objects)
			g.Expect(got).To(ContainSubstring(c.want))
			if c.not != "" {
				g.Expect(got).NotTo(ContainSubstring(c.not))
			}
		})
	}
}

func TestSettingsRefused(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings Settings
		want     string
	}{
		{"a component that is not there", Settings{Components: []string{"nope"}}, "nope"},
		{"a remote component", Settings{Components: []string{"https://example.com/x"}}, "component path 'https://example.com/x' must be local and relative"},
		{"an absolute component", Settings{Components: []string{"/etc"}}, "component path '/etc' must be local and relative"},
		{"a component outside", Settings{Components: []string{"../../x"}}, `"../../x" leads out of the artifact`},
		{"an image whose name is no pattern", Settings{Images: []meta.Image{{Name: "web("}}}, `images: name "web(": error parsing regexp`},
		{"a patch for nothing", Settings{Patches: []meta.Patch{{Patch: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: gone}\n"}}}, "no resource matches strategic merge patch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := built(t, files("one.yaml", one), c.settings)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.want)))
		})
	}
}

// What a spec sets must not be rendered for one that does not.
func TestEverySettingIsPartOfTheKey(t *testing.T) {
	g := NewWithT(t)
	seen := map[string]bool{}
	for _, settings := range []Settings{
		{}, {Path: "x"}, {TargetNamespace: "x"}, {NamePrefix: "x"}, {NameSuffix: "x"}, {Patches: []meta.Patch{{Patch: "x"}}},
		{PatchesStrategicMerge: []apiextensionsv1.JSON{{Raw: []byte(`"x"`)}}}, {PatchesJSON6902: []meta.JSON6902Patch{{}}},
		{Images: []meta.Image{{Name: "x"}}}, {Components: []string{"x"}}, {IgnoreMissingComponents: true}, {BuildMetadata: []string{"x"}},
	} {
		key, err := Request{Digest: "sha256:1", Settings: settings}.key()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(seen).NotTo(HaveKey(key))
		seen[key] = true
	}
}
