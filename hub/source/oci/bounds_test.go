package oci_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// A manifest or list of few bytes can take much memory: each of its layers or tags
// takes many times what it is sent in.
func TestWhatARegistryAnswersIsBoundedInElements(t *testing.T) {
	manifest := func(layers string) string { return `{"schemaVersion":2,"layers":[{}` + layers + `]}` }
	for name, c := range map[string]struct {
		ends, text string
		ref        func(digest string) sourcev1.OCIRepositoryRef
	}{
		"layers": {"", manifest(strings.Repeat(",{}", 1_000_000)), func(d string) sourcev1.OCIRepositoryRef { return sourcev1.OCIRepositoryRef{Digest: d} }},
		"bytes":  {"", manifest(strings.Repeat(" ", 5<<20)), func(d string) sourcev1.OCIRepositoryRef { return sourcev1.OCIRepositoryRef{Digest: d} }},
		"tags":   {"/tags/list", `{"tags":[""` + strings.Repeat(`,""`, 3_000_000) + `]}`, func(string) sourcev1.OCIRepositoryRef { return sourcev1.OCIRepositoryRef{SemVer: "*"} }},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRegistry(t)
			digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(c.text)))
			ends := c.ends
			if ends == "" {
				ends = "/manifests/" + digest
			}
			r.intercept = func(w http.ResponseWriter, request *http.Request) bool {
				if !strings.HasSuffix(request.URL.Path, ends) {
					return false
				}
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				_, _ = io.WriteString(w, c.text)
				return true
			}
			f, obj, ref := r.fetcher(), r.object(), c.ref(digest)
			obj.Spec.Reference = &ref
			rev, err := f.Resolve(t.Context(), obj)
			if err == nil {
				_, err = f.Fetch(t.Context(), obj, rev, t.TempDir())
			}
			g.Expect(err).To(MatchError(ContainSubstring("the registry answers with more than it may")))
		})
	}
}

// One digest may stand twice in a manifest, with two sizes.
func TestASignatureIsBoundedWhateverItsManifestSays(t *testing.T) {
	g := NewWithT(t)
	const huge = 256 << 20
	_, public := newKey(t)
	r := newRegistry(t)
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	blob := "sha256:" + strings.Repeat("ab", 32)
	const layer = `{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":%d}`
	sent := make(chan int64, 1)
	r.intercept = func(w http.ResponseWriter, request *http.Request) bool {
		switch {
		case strings.HasSuffix(request.URL.Path, ".sig"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			_, _ = fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[`+layer+","+layer+"]}", blob, huge, blob, 10)
		case strings.HasSuffix(request.URL.Path, "/blobs/"+blob):
			n, _ := io.Copy(w, io.LimitReader(zeros{}, huge))
			sent <- n
		default:
			return false
		}
		return true
	}
	_, err := r.verifier(newSecret("trust", map[string]string{"a.pub": public})).Resolve(t.Context(), r.signed("cosign"))
	g.Expect(err).To(HaveOccurred())
	g.Expect(<-sent).To(BeNumerically("<", huge/2), "the rest is not read")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
