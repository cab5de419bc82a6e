package kustomize

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/internal/artifact"
)

// laughs is a few lines of YAML that stand for 10^8 values.
func laughs() string {
	lines := []string{"apiVersion: v1", "kind: ConfigMap", "metadata: {name: one, namespace: NS}", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"}
	for i := 1; i < 9; i++ {
		lines = append(lines, fmt.Sprintf("a%d: &a%d [%s]", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10)))
	}
	return strings.Join(lines, "\n") + "\n"
}

// sealedByACloud is a Secret that nobody but Amazon's key service opens.
const sealedByACloud = `apiVersion: v1
kind: Secret
metadata: {name: db, namespace: NS}
stringData: {password: "ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]"}
sops:
  kms: [{arn: "arn:aws:kms:eu-central-1:123456789012:key/1", created_at: "2026-01-01T00:00:00Z", enc: c2VhbGVk, aws_profile: ""}]
  lastmodified: "2026-01-01T00:00:00Z"
  mac: ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]
  version: 3.9.0
`

// Each directory of one artifact is bad in a way of its own, and names the file or
// the object; the good one beside them is applied, and all that by one agent.
func TestBadDirectoriesBesideAGoodOne(t *testing.T) {
	e := newEnv(t)
	ending := e.namespace + "-ending"
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ending}}
	e.Expect(e.hub.Create(t.Context(), namespace)).To(Succeed())
	e.Expect(e.hub.Delete(t.Context(), namespace)).To(Succeed()) // nothing here ends it
	cases := map[string]struct {
		files  map[string]string
		change func(*kustomizev1.KustomizationSpec)
		want   string
	}{
		"bomb":   {files: map[string]string{"bomb.yaml": laughs()}, want: "bomb.yaml: YAML aliases stand for more than"},
		"cycle":  {files: map[string]string{"kustomization.yaml": "resources: [a]", "a/kustomization.yaml": "resources: [../b]", "b/kustomization.yaml": "resources: [../a]"}, want: "cycle detected"},
		"twice":  {files: map[string]string{"a.yaml": configMap("two", "NS", "a"), "b.yaml": configMap("two", "NS", "b")}, want: "ConfigMap.v1.[noGrp]/two.NS"},
		"nobody": {files: map[string]string{"kustomization.yaml": "resources: [../../../etc]"}, want: `kustomization.yaml: resources: "../../../etc" leads out of the artifact`},
		"bytes":  {files: map[string]string{"odd.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: NS}\ndata: {a: \"\xff\xfe\"}\n"}, want: "odd.yaml"},
		"remote": {
			files: map[string]string{"kustomization.yaml": "resources: ['https://example.com/org/repo']"},
			want:  `remote/kustomization.yaml: resources: "https://example.com/org/repo" is remote, and the agents fetch nothing: put a copy into the source, or start them with --no-remote-bases=false`,
		},
		"unset": {
			files: map[string]string{"one.yaml": configMap("three", "NS", "${gone}")},
			change: func(s *kustomizev1.KustomizationSpec) {
				s.PostBuild = &kustomizev1.PostBuild{Substitute: map[string]string{"here": "1"}}
			},
			want: `ConfigMap/NS/three: variable substitution: `,
		},
		"sealed": {
			files: map[string]string{"db.yaml": sealedByACloud},
			change: func(s *kustomizev1.KustomizationSpec) {
				s.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "keys"}
			},
			want: "service account NS/keys does not exist",
		},
		"ending": {
			files:  map[string]string{"one.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"},
			change: func(s *kustomizev1.KustomizationSpec) { s.TargetNamespace = ending },
			want:   "because it is being terminated",
		},
	}
	pairs := []string{"good/one.yaml", configMap("one", "NS", "a")}
	for _, dir := range slices.Sorted(maps.Keys(cases)) {
		for name, content := range cases[dir].files {
			pairs = append(pairs, dir+"/"+name, content)
		}
		e.kustomization(dir, func(obj *kustomizev1.Kustomization) {
			if obj.Spec.Path = dir; cases[dir].change != nil {
				cases[dir].change(&obj.Spec)
			}
		})
	}
	e.kustomization("good", func(obj *kustomizev1.Kustomization) { obj.Spec.Path = "good" })
	e.push("1", pairs...)
	e.start()
	e.becomes("good", "True")
	for dir, c := range cases {
		e.Eventually(func() string { return e.ready(dir) }, "30s", "50ms").Should(And(HavePrefix("False "), ContainSubstring(c.want)), dir)
	}
	e.push("2", append(pairs, "good/one.yaml", configMap("one", "NS", "b"))...)
	e.Eventually(e.value, "30s", "50ms").Should(Equal("b"), "and goes on")
}

// A file of 50 MB is named, before anybody parses it.
func TestALargeManifestBesideAGoodOne(t *testing.T) {
	e := newEnv(t)
	random, noise := rand.New(rand.NewPCG(1, 2)), make([]byte, 128) //nolint:gosec // G404: it must not compress too well, no more
	large := strings.Builder{}
	for i := 0; large.Len() < 50<<20; i++ {
		for at := range noise {
			noise[at] = byte(random.Uint32())
		}
		fmt.Fprintf(&large, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: large-%d, namespace: NS}\ndata: {value: %x%s}\n", i, noise, strings.Repeat("0", 1000))
	}
	e.push("1", "large/all.yaml", large.String(), "good/one.yaml", configMap("one", "NS", "a"))
	for _, name := range []string{"large", "good"} {
		e.kustomization(name, func(obj *kustomizev1.Kustomization) { obj.Spec.Path = name })
	}
	e.start()
	e.becomes("good", "True")
	e.becomes("large", "False BuildFailed: large/all.yaml: the file has 52")
}

// A link in an artifact is no file, wherever it leads.
func TestALinkInAnArtifactIsNoFile(t *testing.T) {
	e := newEnv(t)
	e.push("0", "one.yaml", configMap("one", "NS", "a"))
	repository := e.repository()
	published, err := e.store.Publish(t.Context(), artifact.Ref{Kind: "GitRepository", Namespace: e.namespace, Name: "repo"},
		"main@sha1:1", "1.tar.gz", func(w io.Writer) error {
			zipped := gzip.NewWriter(w)
			archive := tar.NewWriter(zipped)
			text := "resources: [passwd.yaml]\n"
			for _, entry := range []tar.Header{
				{Name: "passwd.yaml", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
				{Name: "kustomization.yaml", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))},
			} {
				if err := archive.WriteHeader(&entry); err != nil {
					return err
				}
			}
			_, _ = io.WriteString(archive, text)
			_ = archive.Close()
			return zipped.Close()
		})
	e.Expect(err).NotTo(HaveOccurred())
	before := repository.DeepCopy()
	repository.Status.Artifact = published
	e.Expect(e.hub.Status().Patch(t.Context(), repository, client.MergeFrom(before))).To(Succeed())
	e.kustomization("web")
	e.start()
	e.becomes("web", "False BuildFailed: ")
	e.Expect(e.ready("web")).To(And(ContainSubstring("passwd.yaml"), Not(ContainSubstring("root:"))))
}

// What the server refuses to change says so, and nothing is deleted that nobody
// has asked to force.
func TestImmutableFieldsAreNamed(t *testing.T) {
	e := newEnv(t)
	e.push("1", "web.yaml", deployment)
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	made := e.object("apps/v1", "Deployment", "web").GetUID()
	e.push("2", "web.yaml", strings.ReplaceAll(deployment, "app: web", "app: other"))
	e.becomes("web", "False ReconciliationFailed: Deployment/NS/web dry-run failed (Invalid): ")
	e.Expect(e.ready("web")).To(ContainSubstring("field is immutable"))
	e.Expect(e.object("apps/v1", "Deployment", "web").GetUID()).To(Equal(made))
	e.edit("web", func(obj *kustomizev1.Kustomization) { obj.Spec.Force = true })
	e.becomes("web", "True")
	e.Expect(e.object("apps/v1", "Deployment", "web").GetUID()).NotTo(Equal(made))
}
