package oci_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	"github.com/notaryproject/tspclient-go"
	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// chain is a root and a certificate of it, with its key.
type chain struct {
	root, leaf *x509.Certificate
	key        *ecdsa.PrivateKey
}

func (c chain) rootPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.root.Raw}))
}

// newChain makes one whose certificate is for a use, and good until a time.
func newChain(t *testing.T, name string, until time.Time, leaf x509.Certificate) chain {
	t.Helper()
	g := NewWithT(t)
	issue := func(template, parent *x509.Certificate, public crypto.PublicKey, by *ecdsa.PrivateKey) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
		g.Expect(err).NotTo(HaveOccurred())
		made, err := x509.ParseCertificate(der)
		g.Expect(err).NotTo(HaveOccurred())
		return made
	}
	newPair := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		g.Expect(err).NotTo(HaveOccurred())
		return key
	}
	subject := func(name string) pkix.Name {
		return pkix.Name{CommonName: name, Organization: []string{"Test"}, Country: []string{"DE"}, Province: []string{"BE"}}
	}
	rootKey, key := newPair(), newPair()
	top := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: subject(name + " root"), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root := issue(top, top, rootKey.Public(), rootKey)
	leaf.SerialNumber, leaf.Subject = big.NewInt(2), subject(name)
	leaf.NotBefore, leaf.NotAfter, leaf.KeyUsage = time.Now().Add(-time.Minute), until, x509.KeyUsageDigitalSignature
	return chain{root, issue(&leaf, root, key.Public(), rootKey), key}
}

// newAuthority is a timestamping authority, and its address.
func newAuthority(t *testing.T, name string) (chain, string) {
	t.Helper()
	// RFC 3161 wants this use alone, and marked as critical.
	use, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	c := newChain(t, name, time.Now().Add(time.Hour), x509.Certificate{
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: use}},
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		request, err := timestamp.ParseRequest(content)
		if err != nil || r.Header.Get("Content-Type") != "application/timestamp-query" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		answer, err := (&timestamp.Timestamp{
			HashAlgorithm: request.HashAlgorithm, HashedMessage: request.HashedMessage, Nonce: request.Nonce,
			Time: time.Now(), Accuracy: time.Millisecond, Policy: asn1.ObjectIdentifier{1, 2, 3}, AddTSACertificate: true,
			Certificates: []*x509.Certificate{c.root},
		}).CreateResponseWithOpts(c.leaf, c.key, crypto.SHA256)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/timestamp-reply")
		_, _ = w.Write(answer)
	}))
	t.Cleanup(server.Close)
	return c, server.URL
}

// stampedImage pushes an image with a signature, which has a timestamp where an
// authority is given.
func (r *remoteRegistry) stampedImage(t *testing.T, by chain, authority *chain, at string) {
	t.Helper()
	g := NewWithT(t)
	image := artifactOf(t, filesLayer(t, map[string]string{"a": "1"}))
	r.push(t, "latest", image)
	raw, err := image.RawManifest()
	g.Expect(err).NotTo(HaveOccurred())
	mediaType, err := image.MediaType()
	g.Expect(err).NotTo(HaveOccurred())
	const jws = "application/jose+json"
	options := notation.SignerSignOptions{SignatureMediaType: jws}
	if authority != nil {
		options.TSARootCAs = x509.NewCertPool()
		options.TSARootCAs.AddCert(authority.root)
		options.Timestamper, err = tspclient.NewHTTPTimestamper(nil, at)
		g.Expect(err).NotTo(HaveOccurred())
	}
	s, err := signer.NewGenericSigner(by.key, []*x509.Certificate{by.leaf, by.root})
	g.Expect(err).NotTo(HaveOccurred())
	envelope, _, err := s.Sign(t.Context(), ocispec.Descriptor{MediaType: string(mediaType), Digest: digest.FromBytes(raw), Size: int64(len(raw))}, options)
	g.Expect(err).NotTo(HaveOccurred())
	subject := v1.Descriptor{MediaType: mediaType, Size: int64(len(raw))}
	subject.Digest, err = v1.NewHash(digest.FromBytes(raw).String())
	g.Expect(err).NotTo(HaveOccurred())
	r.refer(t, subject, "application/vnd.cncf.notary.signature", static.NewLayer(envelope, jws))
}

// TestTimestampsOfNotation has a signer's certificate run out, after which a
// signature is good for its timestamp alone, by an authority of the Secret's.
func TestTimestampsOfNotation(t *testing.T) {
	g := NewWithT(t)
	const head = `{"version":"1.0","trustPolicies":[{"name":"all","registryScopes":["*"],
		"signatureVerification":{"level":"strict","override":{"revocation":"skip"}},"trustedIdentities":["*"],"trustStores":["ca:x"`
	const without, with = head + `]}]}`, head + `,"tsa:x"]}]}`
	authority, at := newAuthority(t, "authority")
	stranger, elsewhere := newAuthority(t, "stranger")
	by := newChain(t, "signer", time.Now().Add(4*time.Second), x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})
	stamped, plain, other := newRegistry(t), newRegistry(t), newRegistry(t)
	stamped.stampedImage(t, by, &authority, at)
	plain.stampedImage(t, by, nil, "")
	other.stampedImage(t, by, &stranger, elsewhere)
	resolved := func(r *remoteRegistry, policy string) error {
		_, err := r.verifier(newSecret("trust", map[string]string{
			"trustpolicy.json": policy, "root.crt": by.rootPEM(), "tsa.pem": authority.rootPEM(),
		})).Resolve(t.Context(), r.signed("notation"))
		return err
	}
	g.Expect(resolved(stamped, without)).To(Succeed(), "the certificate is good still")
	g.Eventually(func() error { return resolved(stamped, without) }).WithTimeout(20 * time.Second).Should(MatchError(ContainSubstring("expired")))
	g.Expect(resolved(stamped, with)).To(Succeed())
	g.Expect(resolved(plain, with)).To(MatchError(ContainSubstring("no timestamp countersignature was found")))
	g.Expect(resolved(other, with)).To(MatchError(ContainSubstring("failed to verify the timestamp countersignature")))
}
