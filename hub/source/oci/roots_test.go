package oci_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	signatures "github.com/headwater-dev/headwater/hub/registry/signature"
)

// rootsRepository is a TUF repository with a trusted_root.json, over HTTP.
type rootsRepository struct {
	*httptest.Server
	signer signature.Signer
	root   []byte

	mu      sync.Mutex
	version int64
	files   map[string][]byte
	asked   int
	down    bool
}

func newRootsRepository(t *testing.T) *rootsRepository {
	t.Helper()
	g := NewWithT(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	r := &rootsRepository{files: map[string][]byte{}}
	r.signer, err = signature.LoadSigner(key, crypto.Hash(0))
	g.Expect(err).NotTo(HaveOccurred())
	public, err := metadata.KeyFromPublicKey(key.Public())
	g.Expect(err).NotTo(HaveOccurred())
	root := metadata.Root(time.Now().Add(time.Hour))
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		g.Expect(root.Signed.AddKey(public, role)).To(Succeed())
	}
	r.root = signed(t, r.signer, root)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked++
		content, ok := r.files[request.URL.Path]
		switch {
		case r.down:
			w.WriteHeader(http.StatusBadGateway)
		case !ok:
			http.NotFound(w, request)
		default:
			_, _ = w.Write(content)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func signed[T metadata.Roles](t *testing.T, by signature.Signer, what *metadata.Metadata[T]) []byte {
	t.Helper()
	_, err := what.Sign(by)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	content, err := what.ToBytes(false)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return content
}

// publish makes the content the trusted roots.
func (r *rootsRepository) publish(t *testing.T, content string) {
	t.Helper()
	g := NewWithT(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.version++
	until := time.Now().Add(time.Hour)
	const name = "trusted_root.json"
	file, err := metadata.TargetFile().FromBytes(name, []byte(content), "sha256")
	g.Expect(err).NotTo(HaveOccurred())
	targets, snapshot, timestamp := metadata.Targets(until), metadata.Snapshot(until), metadata.Timestamp(until)
	targets.Signed.Version, snapshot.Signed.Version, timestamp.Signed.Version = r.version, r.version, r.version
	targets.Signed.Targets[name] = file
	snapshot.Signed.Meta["targets.json"] = metadata.MetaFile(r.version)
	timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(r.version)
	r.files[fmt.Sprintf("/%d.targets.json", r.version)] = signed(t, r.signer, targets)
	r.files[fmt.Sprintf("/%d.snapshot.json", r.version)] = signed(t, r.signer, snapshot)
	r.files["/timestamp.json"] = signed(t, r.signer, timestamp)
	r.files["/targets/"+file.Hashes["sha256"].String()+"."+name] = []byte(content)
}

// since is how often it was asked since the last call.
func (r *rootsRepository) since() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = 0
	return asked
}

func (r *rootsRepository) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// TestRootsOfThePublicSigstore are fetched once a day from where they are
// published, and used for a week when that is down.
func TestRootsOfThePublicSigstore(t *testing.T) {
	g := NewWithT(t)
	sigstore, err := ca.NewVirtualSigstore()
	g.Expect(err).NotTo(HaveOccurred())
	next, err := ca.NewVirtualSigstore()
	g.Expect(err).NotTo(HaveOccurred())
	published := newRootsRepository(t)
	published.publish(t, rootsOf(t, sigstore))
	now := time.Now()
	roots := &signatures.Roots{URL: published.URL, Root: published.root, Now: func() time.Time { return now }}

	// resolved is what becomes of an artifact that was signed under those roots.
	resolved := func(by *ca.VirtualSigstore, with *signatures.Roots) error {
		r := newRegistry(t)
		d := r.push(t, "latest", artifactOf(t, filesLayer(t, map[string]string{"a": "1"})))
		r.attach(t, d, keyless(t, by, "release@example.com", r.claim(t, d)))
		obj, f := r.signed("cosign"), r.verifier()
		obj.Spec.Verify.SecretRef = nil
		obj.Spec.Verify.MatchOIDCIdentity = []sourcev1.OIDCIdentityMatch{{Issuer: "^https://issuer.example.com$", Subject: "^release@"}}
		f.Signatures.Public = with
		_, err := f.Resolve(t.Context(), obj)
		return err
	}
	g.Expect(resolved(sigstore, roots)).To(Succeed())
	g.Expect(published.since()).To(BeNumerically(">", 3))
	g.Expect(resolved(next, roots)).To(MatchError(ContainSubstring("no matching signatures were found")))
	g.Expect(published.since()).To(BeZero(), "they are kept")

	// Roots that change are followed within a day.
	published.publish(t, rootsOf(t, next))
	g.Expect(resolved(next, roots)).To(HaveOccurred())
	now = now.Add(25 * time.Hour)
	g.Expect(resolved(next, roots)).To(Succeed())
	g.Expect(resolved(sigstore, roots)).To(HaveOccurred())

	published.set(func() { published.down = true })
	now = now.Add(6 * 24 * time.Hour)
	g.Expect(resolved(next, roots)).To(Succeed(), "old ones are better than none")
	now = now.Add(2 * 24 * time.Hour)
	g.Expect(resolved(next, roots)).To(MatchError(ContainSubstring("reading the roots of the public Sigstore")))
	published.set(func() { published.down = false })
	g.Expect(resolved(next, roots)).To(Succeed())

	// Nobody else can publish roots: not by another file, nor with another key.
	fresh := func() *signatures.Roots { return &signatures.Roots{URL: published.URL, Root: published.root} }
	published.set(func() {
		for path := range published.files {
			if strings.HasPrefix(path, "/targets/") {
				published.files[path] = []byte(rootsOf(t, sigstore))
			}
		}
	})
	g.Expect(resolved(sigstore, fresh())).To(MatchError(ContainSubstring("reading the roots of the public Sigstore")))
	intruder := newRootsRepository(t)
	intruder.publish(t, rootsOf(t, sigstore))
	published.set(func() { published.files = intruder.files })
	g.Expect(resolved(sigstore, fresh())).To(MatchError(ContainSubstring("reading the roots of the public Sigstore")))
}
