package helm_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// publicKey is the key in the form that cosign writes.
func publicKey(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// signChart signs the chart as cosign does.
func signChart(t *testing.T, key *ecdsa.PrivateKey, url, version string) {
	t.Helper()
	g := NewWithT(t)
	login := remote.WithAuth(&authn.Basic{Username: "flux", Password: "s3cret"})
	chart, err := name.NewTag(strings.TrimPrefix(url, "oci://") + "/podinfo:" + version)
	g.Expect(err).NotTo(HaveOccurred())
	found, err := remote.Get(chart, login)
	g.Expect(err).NotTo(HaveOccurred())
	claim := fmt.Appendf(nil, `{"critical":{"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"}}`, found.Digest)
	sum := sha256.Sum256(claim)
	signed, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	g.Expect(err).NotTo(HaveOccurred())
	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:       static.NewLayer(claim, "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signed)},
	})
	g.Expect(err).NotTo(HaveOccurred())
	at := chart.Context().Tag(strings.Replace(found.Digest.String(), ":", "-", 1) + ".sig")
	g.Expect(remote.Write(at, image, login)).To(Succeed())
}

func TestChartIsVerified(t *testing.T) {
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	repo := (&repository{Server: &httptest.Server{}}).object()
	repo.Spec.URL, repo.Spec.Type, repo.Spec.Insecure = ociCharts(t, "6.14.1", "6.13.0"), "oci", true
	signChart(t, key, repo.Spec.URL, "6.13.0")
	trust := secret("trust", map[string]string{"a.pub": publicKey(t, key)})
	w := newWorld(t, repo, trust)
	obj := chartObject("HelmRepository", "podinfo", "6.13.0")
	obj.Spec.Verify = &sourcev1.HelmChartVerification{Provider: "cosign", SecretRef: &meta.LocalObjectReference{Name: "trust"}}
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(condition(obj, "SourceVerified")).To(Equal("True Succeeded verified signature of version 6.13.0"))
	observed := obj.Status.ObservedVerification

	obj.Spec.Version, obj.Generation = "6.14.1", 2
	g.Expect(w.build(obj)).To(MatchError(ContainSubstring("it has no signature")))
	g.Expect(condition(obj, "SourceVerified")).To(HavePrefix("False ChartVerificationError HelmRepository team/repo: failed to verify the signature using provider 'cosign'"))
	g.Expect(obj.Status.Artifact.Revision).To(Equal("6.13.0"), "the chart that was good is still served")
	g.Expect(w.store.Verify(obj.GetArtifact())).To(Succeed())

	obj.Spec.Version, obj.Generation = "6.13.0", 3
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(obj.Status.ObservedVerification).To(Equal(observed))
	g.Expect(w.client.Get(t.Context(), keyOf(trust), trust)).To(Succeed())
	trust.Data["a.pub"] = []byte(publicKey(t, other))
	g.Expect(w.client.Update(t.Context(), trust)).To(Succeed())
	g.Expect(w.build(obj)).To(MatchError(ContainSubstring("invalid signature")), "another key is trusted now")

	obj.Spec.Verify, obj.Generation = nil, 4
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(condition(obj, "SourceVerified")).To(BeEmpty())
}

func TestChartOfAnIndexIsNotVerified(t *testing.T) {
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	r, w := newRepository(t), newWorld(t, secret("trust", map[string]string{"a.pub": publicKey(t, key)}))
	r.add(t, newChart(t, "app", "1.0.0", nil), "app", "1.0.0", nil)
	w.sync(r.object())
	obj := chartObject("HelmRepository", "app", "*")
	obj.Spec.Verify = &sourcev1.HelmChartVerification{Provider: "cosign", SecretRef: &meta.LocalObjectReference{Name: "trust"}}
	g.Expect(w.build(obj)).To(MatchError(ContainSubstring("spec.verify is for charts from a HelmRepository with spec.type oci alone")))
}

// What is said of signatures is about the artifact: a chart that is signed, and
// cannot be made, changes nothing of it.
func TestASignatureIsNotedWithItsArtifact(t *testing.T) {
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	repo := (&repository{Server: &httptest.Server{}}).object()
	repo.Spec.URL, repo.Spec.Type, repo.Spec.Insecure = ociCharts(t, "6.14.1", "6.13.0"), "oci", true
	signChart(t, key, repo.Spec.URL, "6.13.0")
	signChart(t, key, repo.Spec.URL, "6.14.1")
	w := newWorld(t, repo, secret("trust", map[string]string{"a.pub": publicKey(t, key)}))
	obj := chartObject("HelmRepository", "podinfo", "6.13.0")
	obj.Spec.Verify = &sourcev1.HelmChartVerification{Provider: "cosign", SecretRef: &meta.LocalObjectReference{Name: "trust"}}
	obj.Spec.ValuesFiles = []string{"nosuch.yaml"}
	g.Expect(w.build(obj)).To(MatchError(ContainSubstring("nosuch.yaml")))
	g.Expect(condition(obj, "SourceVerified")).To(BeEmpty())
	g.Expect(obj.Status.ObservedVerification).To(BeEmpty())

	obj.Spec.ValuesFiles, obj.Generation = nil, 2
	g.Expect(w.build(obj)).To(Succeed())
	g.Expect(condition(obj, "SourceVerified")).To(Equal("True Succeeded verified signature of version 6.13.0"))
	g.Expect(obj.Status.ObservedVerification).NotTo(BeEmpty())

	obj.Spec.Version, obj.Spec.ValuesFiles, obj.Generation = "6.14.1", []string{"nosuch.yaml"}, 3
	g.Expect(w.build(obj)).To(MatchError(ContainSubstring("nosuch.yaml")))
	g.Expect(condition(obj, "SourceVerified")).To(Equal("True Succeeded verified signature of version 6.13.0"))
	g.Expect(obj.Status.Artifact.Revision).To(Equal("6.13.0"))
}
