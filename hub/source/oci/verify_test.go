package oci_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	notarytest "github.com/notaryproject/notation-core-go/testhelper"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	signatures "github.com/headwater-dev/headwater/hub/registry/signature"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/oci"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

func (r *remoteRegistry) write(t *testing.T, ref string, image v1.Image) {
	t.Helper()
	g := NewWithT(t)
	parsed, err := name.ParseReference(r.host() + "/team/app" + ref)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(remote.Write(parsed, image, remote.WithTransport(r.Client().Transport),
		remote.WithAuth(&authn.Basic{Username: "flux", Password: "s3cret"}))).To(Succeed())
}

func (r *remoteRegistry) verifier(secrets ...client.Object) *oci.Fetcher {
	f := r.fetcher()
	f.Signatures = signatures.Verifier{Secrets: fake.NewClientBuilder().WithObjects(secrets...).Build(), Public: &signatures.Roots{}}
	return f
}

// signed is an object that asks for a signature, whose Secret is "trust".
func (r *remoteRegistry) signed(provider string) *sourcev1.OCIRepository {
	obj := r.object()
	obj.Spec.Verify = &sourcev1.OCIRepositoryVerification{Provider: provider, SecretRef: &meta.LocalObjectReference{Name: "trust"}}
	return obj
}

func newKey(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	public, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	g.Expect(err).NotTo(HaveOccurred())
	return key, string(public)
}

// claim is what cosign signs.
func (r *remoteRegistry) claim(t *testing.T, digest string) []byte {
	t.Helper()
	ref, err := name.NewDigest(r.host() + "/team/app@" + digest)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	content, err := payload.Cosign{Image: ref}.MarshalJSON()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return content
}

func sign(t *testing.T, key *ecdsa.PrivateKey, content []byte) string {
	t.Helper()
	s, err := signature.LoadSigner(key, crypto.SHA256)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	raw, err := s.SignMessage(bytes.NewReader(content))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return base64.StdEncoding.EncodeToString(raw)
}

// entry is one signature as cosign stores it.
type entry struct {
	content     []byte
	annotations map[string]string
}

func (r *remoteRegistry) attach(t *testing.T, digest string, entries ...entry) {
	t.Helper()
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, e := range entries {
		var err error
		image, err = mutate.Append(image, mutate.Addendum{
			Layer:       static.NewLayer(e.content, "application/vnd.dev.cosign.simplesigning.v1+json"),
			Annotations: e.annotations,
		})
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
	}
	r.write(t, ":"+strings.Replace(digest, ":", "-", 1)+".sig", image)
}

func byKey(t *testing.T, key *ecdsa.PrivateKey, content []byte) entry {
	return entry{content, map[string]string{"dev.cosignproject.cosign/signature": sign(t, key, content)}}
}

func verified(obj *sourcev1.OCIRepository) string {
	c := apimeta.FindStatusCondition(obj.Status.Conditions, "SourceVerified")
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Message
}

func TestCosignWithKeys(t *testing.T) {
	key, public := newKey(t)
	other, otherPublic := newKey(t)
	both := map[string]string{"a.pub": otherPublic, "b.pub": public, "unread": "x"}
	for name, tc := range map[string]struct {
		keys map[string]string
		sign func(t *testing.T, r *remoteRegistry, digest string) []entry
		want string // in the error; empty for none
	}{
		"the right key": {map[string]string{"a.pub": public}, func(t *testing.T, r *remoteRegistry, d string) []entry {
			return []entry{byKey(t, key, r.claim(t, d))}
		}, ""},
		"one of several keys": {both, func(t *testing.T, r *remoteRegistry, d string) []entry {
			return []entry{byKey(t, key, r.claim(t, d))}
		}, ""},
		"one of several signatures": {map[string]string{"a.pub": public}, func(t *testing.T, r *remoteRegistry, d string) []entry {
			return []entry{byKey(t, other, r.claim(t, d)), {content: []byte("junk")}, byKey(t, key, r.claim(t, d))}
		}, ""},
		"another key": {map[string]string{"a.pub": public}, func(t *testing.T, r *remoteRegistry, d string) []entry {
			return []entry{byKey(t, other, r.claim(t, d))}
		}, "invalid signature"},
		"no signature": {both, func(*testing.T, *remoteRegistry, string) []entry { return nil }, "it has no signature"},
		"of another image": {map[string]string{"a.pub": public}, func(t *testing.T, r *remoteRegistry, _ string) []entry {
			return []entry{byKey(t, key, r.claim(t, "sha256:"+strings.Repeat("ab", 32)))}
		}, `for another digest, "sha256:abab`},
		"of another payload": {map[string]string{"a.pub": public}, func(t *testing.T, r *remoteRegistry, d string) []entry {
			e := byKey(t, key, []byte("{}"))
			e.content = r.claim(t, d)
			return []entry{e}
		}, "invalid signature"},
		"too large": {map[string]string{"a.pub": public}, func(t *testing.T, r *remoteRegistry, d string) []entry {
			return []entry{byKey(t, key, append(r.claim(t, d), bytes.Repeat([]byte(" "), 2<<20)...))}
		}, "does not parse"},
		"too many": {map[string]string{"a.pub": public}, func(t *testing.T, r *remoteRegistry, d string) (all []entry) {
			for range 60 {
				all = append(all, byKey(t, other, r.claim(t, d)))
			}
			return append(all, byKey(t, key, r.claim(t, d)))
		}, "more than 50 signatures"},
		"not a key": {map[string]string{"a.pub": "nonsense"}, func(*testing.T, *remoteRegistry, string) []entry { return nil },
			"the key a.pub of the Secret is not a public key"},
		"no keys": {map[string]string{"a": public}, func(*testing.T, *remoteRegistry, string) []entry { return nil },
			"spec.verify.secretRef: Secret team/trust: it has no key that ends in .pub"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRegistry(t)
			digest := r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
			if entries := tc.sign(t, r, digest); entries != nil {
				r.attach(t, digest, entries...)
			}
			obj := r.signed("cosign")
			_, err := r.verifier(newSecret("trust", tc.keys)).Resolve(t.Context(), obj)
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(verified(obj)).To(Equal("True verified signature of revision latest@" + digest))
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			g.Expect(obj.Status.ObservedVerification).To(BeEmpty())
		})
	}
}

// A signature by a key is found by its tag wherever the image is.
func TestCosignAtEachRegistry(t *testing.T) {
	key, public := newKey(t)
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRegistryOf(t, kind)
			digest := r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
			f, obj := r.verifier(newSecret("trust", map[string]string{"a.pub": public})), r.signed("cosign")
			_, err := f.Resolve(t.Context(), obj)
			g.Expect(err).To(MatchError(ContainSubstring("it has no signature")))
			r.attach(t, digest, byKey(t, key, r.claim(t, digest)))
			_, err = f.Resolve(t.Context(), obj)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(verified(obj)).To(Equal("True verified signature of revision latest@" + digest))
		})
	}
}

// TestVerifiedAgain changes what is trusted under an artifact that is stored.
func TestVerifiedAgain(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	key, public := newKey(t)
	_, otherPublic := newKey(t)
	digest := r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	r.attach(t, digest, byKey(t, key, r.claim(t, digest)))
	obj := r.signed("cosign")
	f := r.verifier(newSecret("trust", map[string]string{"a.pub": public}))
	rev := resolve(t, f, obj)
	obj.SetArtifact(&meta.Artifact{Revision: rev.Name})
	f.Observe(obj, rev)
	read := r.blobs.Load()
	resolve(t, r.verifier(newSecret("trust", map[string]string{"a.pub": public, "else": "x"})), obj)
	g.Expect(r.blobs.Load()).To(Equal(read), "the same trust, the same revision: nothing is read")

	_, err := r.verifier(newSecret("trust", map[string]string{"a.pub": otherPublic})).Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(HavePrefix("failed to verify the signature using provider 'cosign': no matching signatures were found for '" + r.host() + "/team/app@" + digest + "'")))

	obj.Spec.Verify = nil
	f.Observe(obj, resolve(t, f, obj))
	g.Expect(verified(obj)).To(BeEmpty())
	g.Expect(obj.Status.ObservedVerification).To(BeEmpty())
}

// TestVerifiedIsTheArtifact has a key change, and a revision that bears the new one
// but cannot be fetched: it says nothing of the one that is stored.
func TestVerifiedIsTheArtifact(t *testing.T) {
	g := NewWithT(t)
	r := newRegistry(t)
	lost, lostPublic := newKey(t)
	key, public := newKey(t)
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: t.TempDir(), AdvertisedAddr: "hub.test:9090"})
	g.Expect(err).NotTo(HaveOccurred())
	obj := r.signed("cosign")
	run := func(public string) error {
		return (&source.Reconciler[*sourcev1.OCIRepository]{
			Fetcher: r.verifier(newSecret("trust", map[string]string{"a.pub": public})), Store: store,
			Events: reconcile.NewRecorder(record.NewFakeRecorder(100), nil, "source-controller", ""),
		}).Reconcile(t.Context(), obj)
	}
	old := artifactOf(t, filesLayer(t, map[string]string{"a": "1"}))
	digest := r.push(t, "latest", old)
	r.attach(t, digest, byKey(t, lost, r.claim(t, digest)))
	g.Expect(run(lostPublic)).To(Succeed())

	broken := artifactOf(t, static.NewLayer([]byte("no archive"), types.OCILayer))
	next := r.push(t, "latest", broken)
	r.attach(t, next, byKey(t, key, r.claim(t, next)))
	g.Expect(run(public)).To(MatchError(ContainSubstring("reading the layer")))
	g.Expect(verified(obj)).To(Equal("True verified signature of revision latest@" + next))

	r.push(t, "latest", old)
	g.Expect(run(public)).To(MatchError(ContainSubstring("no matching signatures were found")))
	g.Expect(verified(obj)).To(HavePrefix("False"))
	g.Expect(run(lostPublic)).To(Succeed())
	g.Expect(verified(obj)).To(Equal("True verified signature of revision latest@" + digest))
}

func TestNotation(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) { testNotation(t, kind) })
	}
}

func testNotation(t *testing.T, kind func(*testing.T) http.Handler) {
	trusted, stranger := notarytest.GetRSALeafCertificate(), notarytest.GetRSASelfSignedSigningCertificate()
	rootPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: notarytest.GetRSARootCertificate().Cert.Raw}))
	policy := `{"version":"1.0","trustPolicies":[{"name":"all","registryScopes":["*"],
		"signatureVerification":{"level":"strict","override":{"revocation":"skip"}},"trustStores":["ca:x"],"trustedIdentities":["*"]}]}`
	for name, tc := range map[string]struct {
		by    []notarytest.RSACertTuple
		other bool
		want  string
	}{
		"trusted":          {by: []notarytest.RSACertTuple{trusted, notarytest.GetRSARootCertificate()}},
		"stranger":         {by: []notarytest.RSACertTuple{stranger}, want: "no matching signatures were found"},
		"none":             {want: "it has no signature"},
		"of another image": {by: []notarytest.RSACertTuple{trusted, notarytest.GetRSARootCertificate()}, other: true, want: "a signature for another artifact"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRegistryOf(t, kind)
			image := artifactOf(t, filesLayer(t, map[string]string{"a": "1"}))
			d := r.push(t, "latest", image)
			if tc.by != nil {
				r.notarize(t, image, tc.by, tc.other)
			}
			obj := r.signed("notation")
			_, err := r.verifier(newSecret("trust", map[string]string{"trustpolicy.json": policy, "root.crt": rootPEM})).Resolve(t.Context(), obj)
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(verified(obj)).To(Equal("True verified signature of revision latest@" + d))
			} else {
				g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			}
		})
	}
	r := newRegistryOf(t, kind)
	r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
	_, err := r.verifier(newSecret("trust", map[string]string{"root.crt": rootPEM})).Resolve(t.Context(), r.signed("notation"))
	NewWithT(t).Expect(err).To(MatchError("spec.verify: the Secret has no key trustpolicy.json"))
}

// notarize signs the image, or pretends that the signature of another one is its.
func (r *remoteRegistry) notarize(t *testing.T, image v1.Image, by []notarytest.RSACertTuple, other bool) {
	t.Helper()
	g := NewWithT(t)
	var chain []*x509.Certificate
	for _, c := range by {
		chain = append(chain, c.Cert)
	}
	s, err := signer.NewGenericSigner(by[0].PrivateKey, chain)
	g.Expect(err).NotTo(HaveOccurred())
	raw, err := image.RawManifest()
	g.Expect(err).NotTo(HaveOccurred())
	mediaType, err := image.MediaType()
	g.Expect(err).NotTo(HaveOccurred())
	target := ocispec.Descriptor{MediaType: string(mediaType), Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	subject := v1.Descriptor{MediaType: mediaType, Size: target.Size}
	subject.Digest, err = v1.NewHash(target.Digest.String())
	g.Expect(err).NotTo(HaveOccurred())
	if other {
		target.Digest = digest.FromString("another")
	}
	const jws = "application/jose+json"
	envelope, _, err := s.Sign(t.Context(), target, notation.SignerSignOptions{SignatureMediaType: jws})
	g.Expect(err).NotTo(HaveOccurred())
	r.refer(t, subject, "application/vnd.cncf.notary.signature", static.NewLayer(envelope, jws))
}

func (r *remoteRegistry) refer(t *testing.T, subject v1.Descriptor, artifactType string, layers ...v1.Layer) {
	t.Helper()
	g := NewWithT(t)
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.MediaType(artifactType)), layers...)
	g.Expect(err).NotTo(HaveOccurred())
	attached := mutate.Subject(image, subject).(v1.Image)
	hash, err := attached.Digest()
	g.Expect(err).NotTo(HaveOccurred())
	r.write(t, "@"+hash.String(), attached)
}

// Whoever may push to a registry may make as much refer to an image as he likes.
func TestWhatRefersIsBounded(t *testing.T) {
	g := NewWithT(t)
	r := newRegistryOf(t, kinds["with referrers"])
	var manifests atomic.Int64
	r.intercept = func(_ http.ResponseWriter, request *http.Request) bool {
		if request.Method == http.MethodGet && strings.Contains(request.URL.Path, "/manifests/") {
			manifests.Add(1)
		}
		return false
	}
	_, public := newKey(t)
	image := artifactOf(t, filesLayer(t, map[string]string{"a": "1"}))
	r.push(t, "latest", image)
	hash, err := image.Digest()
	g.Expect(err).NotTo(HaveOccurred())
	size, err := image.Size()
	g.Expect(err).NotTo(HaveOccurred())
	subject := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: size, Digest: hash}
	const bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	f := r.verifier(newSecret("trust", map[string]string{"a.pub": public}))

	r.refer(t, subject, bundle, static.NewLayer([]byte("first"), bundle), static.NewLayer([]byte("second"), bundle), static.NewLayer([]byte("third"), bundle))
	read := r.blobs.Load()
	_, err = f.Resolve(t.Context(), r.signed("cosign"))
	g.Expect(err).To(MatchError(ContainSubstring("no matching signatures were found")))
	g.Expect(r.blobs.Load()).To(Equal(read+1), "the first layer is looked at")

	for i := range 60 {
		subject.Annotations = map[string]string{"n": strconv.Itoa(i)} // so that they differ
		r.refer(t, subject, bundle)
	}
	manifests.Store(0)
	_, err = f.Resolve(t.Context(), r.signed("cosign"))
	g.Expect(err).To(MatchError(ContainSubstring("more than 50 signatures")))
	g.Expect(manifests.Load()).To(BeNumerically("<=", 52), "those without layers count: 50, and the tags of the image and of signatures")
}

func TestCosignWithoutKeys(t *testing.T) {
	g := NewWithT(t)
	sigstore, err := ca.NewVirtualSigstore()
	g.Expect(err).NotTo(HaveOccurred())
	trusted := newSecret("roots", map[string]string{"trusted_root.json": rootsOf(t, sigstore)})
	stranger, err := ca.NewVirtualSigstore()
	g.Expect(err).NotTo(HaveOccurred())
	for name, tc := range map[string]struct {
		by       *ca.VirtualSigstore
		identity string
		anybody  bool
		want     string // in the error; empty for none
	}{
		"trusted":            {by: sigstore, identity: "release@example.com"},
		"another identity":   {by: sigstore, identity: "intern@example.com", want: "no matching"},
		"other roots":        {by: stranger, identity: "release@example.com", want: "no matching"},
		"anybody":            {by: sigstore, identity: "intern@example.com", anybody: true},
		"anybody, by others": {by: stranger, identity: "intern@example.com", anybody: true, want: "no matching"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRegistry(t)
			d := r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
			r.attach(t, d, keyless(t, tc.by, tc.identity, r.claim(t, d)))
			obj := r.signed("cosign")
			obj.Spec.Verify.SecretRef = nil
			obj.Spec.Verify.TrustedRootSecretRef = &meta.LocalObjectReference{Name: "roots"}
			obj.Spec.Verify.MatchOIDCIdentity = []sourcev1.OIDCIdentityMatch{
				{Issuer: "^https://nobody$", Subject: ".*"}, {Issuer: "^https://issuer.example.com$", Subject: "^release@"},
			}
			if tc.anybody {
				obj.Spec.Verify.MatchOIDCIdentity = nil
			}
			_, err := r.verifier(trusted).Resolve(t.Context(), obj)
			if tc.want != "" {
				g.Expect(err).To(MatchError(ContainSubstring("using provider 'cosign keyless': " + tc.want)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			said := apimeta.FindStatusCondition(obj.Status.Conditions, "SourceVerified").Message
			g.Expect(said).To(HavePrefix("verified signature of revision "))
			g.Expect(strings.Contains(said, "matchOIDCIdentity names nobody")).To(Equal(tc.anybody))
		})
	}
}

func rootsOf(t *testing.T, sigstore *ca.VirtualSigstore) string {
	t.Helper()
	g := NewWithT(t)
	logs := sigstore.RekorLogs()
	for id, log := range logs {
		raw, err := hex.DecodeString(id)
		g.Expect(err).NotTo(HaveOccurred())
		log.ID = raw // the virtual one has the text
	}
	roots, err := root.NewTrustedRoot(root.TrustedRootMediaType01, sigstore.FulcioCertificateAuthorities(), nil, sigstore.TimestampingAuthorities(), logs)
	g.Expect(err).NotTo(HaveOccurred())
	content, err := roots.MarshalJSON()
	g.Expect(err).NotTo(HaveOccurred())
	return string(content)
}

// keyless is a signature in the form that cosign made before there were bundles.
func keyless(t *testing.T, sigstore *ca.VirtualSigstore, identity string, content []byte) entry {
	t.Helper()
	g := NewWithT(t)
	made, err := sigstore.SignAtTime(identity, "https://issuer.example.com", content, time.Now())
	g.Expect(err).NotTo(HaveOccurred())
	signed, err := made.SignatureContent()
	g.Expect(err).NotTo(HaveOccurred())
	who, err := made.VerificationContent()
	g.Expect(err).NotTo(HaveOccurred())
	entries, err := made.TlogEntries()
	g.Expect(err).NotTo(HaveOccurred())
	stored := entries[0].TransparencyLogEntry()
	promised := tlog.RekorPayload{
		Body:           base64.StdEncoding.EncodeToString(stored.GetCanonicalizedBody()),
		IntegratedTime: stored.GetIntegratedTime(), LogIndex: stored.GetLogIndex(), LogID: hex.EncodeToString(stored.GetLogId().GetKeyId()),
	}
	promise, err := sigstore.RekorSignPayload(promised)
	g.Expect(err).NotTo(HaveOccurred())
	log, err := json.Marshal(map[string]any{"SignedEntryTimestamp": promise, "Payload": promised})
	g.Expect(err).NotTo(HaveOccurred())
	certificate, err := cryptoutils.MarshalCertificateToPEM(who.Certificate())
	g.Expect(err).NotTo(HaveOccurred())
	return entry{content, map[string]string{
		"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signed.Signature()),
		"dev.sigstore.cosign/certificate":    string(certificate),
		"dev.sigstore.cosign/bundle":         string(log),
	}}
}

// TestCosignBundles reads the form that cosign writes since there are bundles.
func TestCosignBundles(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) { testBundles(t, kind) })
	}
}

func testBundles(t *testing.T, kind func(*testing.T) http.Handler) {
	key, public := newKey(t)
	other, _ := newKey(t)
	const signs = "https://sigstore.dev/cosign/sign/v1"
	for name, tc := range map[string]struct {
		by        *ecdsa.PrivateKey
		predicate string
		elsewhere bool
		want      string
	}{
		"the right key":    {by: key, predicate: signs},
		"another key":      {by: other, predicate: signs, want: "no matching signatures were found"},
		"of another image": {by: key, predicate: signs, elsewhere: true, want: "no matching signatures were found"},
		"an attestation":   {by: key, predicate: "https://slsa.dev/provenance/v1", want: "which is no signature"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRegistryOf(t, kind)
			image := artifactOf(t, filesLayer(t, map[string]string{"a": "1"}))
			d := r.push(t, "latest", image)
			raw, err := image.RawManifest()
			g.Expect(err).NotTo(HaveOccurred())
			mediaType, err := image.MediaType()
			g.Expect(err).NotTo(HaveOccurred())
			hash, err := v1.NewHash(d)
			g.Expect(err).NotTo(HaveOccurred())
			about := hash.Hex
			if tc.elsewhere {
				about = strings.Repeat("ab", 32)
			}
			const bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
			r.refer(t, v1.Descriptor{MediaType: mediaType, Size: int64(len(raw)), Digest: hash}, bundle,
				static.NewLayer(statement(t, tc.by, about, tc.predicate), bundle))
			_, err = r.verifier(newSecret("trust", map[string]string{"a.pub": public})).Resolve(t.Context(), r.signed("cosign"))
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			}
		})
	}
}

// statement is a bundle with a signed statement about the digest.
func statement(t *testing.T, key *ecdsa.PrivateKey, digest, predicate string) []byte {
	t.Helper()
	const payloadType = "application/vnd.in-toto+json"
	content := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`, digest, predicate)
	signed := sign(t, key, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(content), content))
	return fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"x"}},
		"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`, base64.StdEncoding.EncodeToString(content), payloadType, signed)
}
