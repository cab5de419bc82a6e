package kustomize

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headwater-dev/headwater/agent/kustomize/bases"
	"github.com/headwater-dev/headwater/agent/kustomize/render"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// elsewhere is a repository on a real Git server, with a base that adds a prefix
// to a ConfigMap beside it.
func elsewhere(t *testing.T) *testenv.Repository {
	t.Helper()
	g := NewWithT(t)
	server, err := testenv.StartGit(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(server.Stop)
	repository, err := server.Repository(t.Context(), "elsewhere")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = repository.Commit(t.Context(), "one", map[string]string{
		"base/kustomization.yaml": "namePrefix: far-\nresources: [../parts]\n",
		"parts/one.yaml":          configMap("one", "NS", "a"), "parts/kustomization.yaml": "resources: [one.yaml]\n",
		"label/kustomization.yaml":  "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels: [{pairs: {from: far}}]\n",
		"escape/kustomization.yaml": "resources: [../../one.yaml]\n",
		"secret/kustomization.yaml": "configMapGenerator: [{name: x, files: [../../one.yaml]}]\n",
		"loop/kustomization.yaml":   "resources: ['" + repository.URL + "/loop']\n",
		"files/kustomization.yaml":  "configMapGenerator: [{name: x, files: ['a=" + repository.URL + "']}]\n",
	})
	g.Expect(err).NotTo(HaveOccurred())
	return repository
}

// unpacked is an artifact that is nowhere else.
type unpacked map[string][]byte

func (u unpacked) Size() (int64, error) { return 1, nil }
func (u unpacked) Files(int64, int64) (map[string][]byte, map[string]int64, error) {
	return u, nil, nil
}
func (u unpacked) Close() error { return nil }

func have(files map[string][]byte) func(context.Context) (render.Archive, error) {
	return func(context.Context) (render.Archive, error) { return unpacked(files), nil }
}

// rendered builds an artifact with a Renderer that fetches.
func rendered(t *testing.T, remotes render.Remotes, pairs ...string) ([]*unstructured.Unstructured, bool, error) {
	t.Helper()
	renderer, err := render.New(render.Options{Remotes: remotes})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	files := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		files[pairs[i]] = []byte(pairs[i+1])
	}
	return renderer.RenderNow(t.Context(), render.Request{
		Digest: "sha256:1", Settings: render.Settings{Path: "app"},
		Open: have(files),
	})
}

func TestRemoteBases(t *testing.T) {
	g := NewWithT(t)
	far := elsewhere(t).URL
	objects, moving, err := rendered(t, bases.New(),
		"app/kustomization.yaml", "resources: [../near, two.yaml]\ncomponents: ['"+far+"/label']\n",
		"app/two.yaml", configMap("two", "NS", "a"),
		"near/kustomization.yaml", "resources: ['"+far+"//base?ref=main']\nnameSuffix: -here\n")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(moving).To(BeTrue())
	var names []string
	for _, obj := range objects {
		names = append(names, obj.GetName()+" from "+obj.GetLabels()["from"])
	}
	g.Expect(names).To(ConsistOf("far-one-here from far", "two from far"))

	for base, want := range map[string]string{
		"/gone":       `app/kustomization.yaml: resources: "` + far + `/gone": there is no "gone"`,
		"?ref=gone":   `app/kustomization.yaml: resources: "` + far + `?ref=gone": it has no branch or tag "gone"`,
		"/escape":     `resources: "../../one.yaml" leads out of the remote base`,
		"/secret":     `files: "../../one.yaml" leads out of the remote base`,
		"/loop":       "cycle detected",
		"/files":      "is remote: only resources and components are fetched",
		"/base' , 'b": "app/b",
	} {
		_, _, err := rendered(t, bases.New(), "app/kustomization.yaml", "resources: ['"+far+base+"']\n", "one.yaml", one)
		g.Expect(err).To(MatchError(ContainSubstring(want)), base)
	}
	for _, url := range []string{"file:///etc/passwd", "git::file:///etc", "git@127.0.0.1:org/repo", "ssh://127.0.0.1/org/repo", "http://169.254.169.254/latest.yaml"} {
		_, _, err := rendered(t, bases.New(), "app/kustomization.yaml", "resources: ['"+url+"']\n")
		g.Expect(err).To(MatchError(HavePrefix(fmt.Sprintf("app/kustomization.yaml: resources: %q: ", url))))
	}
	_, _, err = rendered(t, nil, "app/kustomization.yaml", "resources: ['"+far+"/base']\n")
	g.Expect(err).To(MatchError(HavePrefix(`app/kustomization.yaml: resources: "` + far + `/base" is remote, and the agents fetch nothing`)))
	g.Expect(err).To(MatchError(ContainSubstring("--no-remote-bases=false")))
}

// endless has another base below each.
type endless struct{ fetched int }

func (e *endless) Fetch(_ context.Context, _ string, most int64) (map[string][]byte, string, error) {
	if e.fetched++; most <= 0 {
		return nil, "", errors.New("nothing is left")
	}
	content := fmt.Sprintf("resources: ['https://example.com/org/%d']\n", e.fetched)
	return map[string][]byte{"kustomization.yaml": []byte(content), "padding": make([]byte, 1<<20)}, "", nil
}

func TestEndlessRemoteBases(t *testing.T) {
	g := NewWithT(t)
	source := &endless{}
	_, _, err := rendered(t, source, "app/kustomization.yaml", "resources: ['https://example.com/org/0']\n")
	g.Expect(err).To(MatchError(ContainSubstring("the build needs more than 20 remote bases")))
	g.Expect(source.fetched).To(Equal(20))
}

// A branch elsewhere moves without anybody telling: whoever is asked again looks
// again.
func TestAMovingBaseIsFollowed(t *testing.T) {
	e := newEnv(t)
	far := elsewhere(t)
	change := func(value string) {
		_, err := far.Commit(t.Context(), value, map[string]string{"parts/one.yaml": configMap("one", e.namespace, value)})
		e.Expect(err).NotTo(HaveOccurred())
	}
	change("a")
	e.push("1", "kustomization.yaml", "resources: ['"+far.URL+"/parts']\n")
	e.kustomization("web")
	e.builds.Remotes = true
	e.start()
	e.becomes("web", "True")
	e.Expect(e.value()).To(Equal("a"))
	change("b")
	e.request("web", "look again")
	e.Eventually(e.value, "20s").Should(Equal("b"))
	e.Expect(strings.Count(strings.Join(e.inventory(), " "), "ConfigMap")).To(Equal(1))
}
