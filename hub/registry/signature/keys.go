package signature

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// How cosign stores signatures.
const (
	simpleSigning       = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	// bundleType is the beginning: the version follows.
	bundleType = "application/vnd.dev.sigstore.bundle"
	// signPredicate is what a statement says that signs, rather than tells
	// something about, an artifact.
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

// keys judges the signatures that cosign makes with keys. The transparency log
// is not asked: who has the key says what is trusted.
type keys []signature.Verifier

func newKeys(data map[string][]byte) (keys, error) {
	var all keys
	for _, name := range slices.Sorted(maps.Keys(data)) {
		key, err := cryptoutils.UnmarshalPEMToPublicKey(data[name])
		if err != nil {
			return nil, fmt.Errorf("the key %s of the Secret is not a public key in PEM form", name)
		}
		verifier, err := signature.LoadVerifier(key, crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("the key %s of the Secret: %w", name, err)
		}
		all = append(all, verifier)
	}
	return all, nil
}

func (k keys) judge(_ context.Context, a *artifact) error {
	return a.cosigned(func(b blob) error { return k.any(func(key signature.Verifier) error { return attachedBy(key, a, b) }) },
		func(b *bundle.Bundle) error {
			return k.any(func(key signature.Verifier) error {
				material := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
					return root.NewExpiringKey(key, time.Time{}, time.Time{}), nil
				})
				return a.bundled(b, material, []verify.VerifierOption{verify.WithNoObserverTimestamps()}, verify.WithKey())
			})
		})
}

// any is nil when one key does.
func (k keys) any(try func(signature.Verifier) error) (err error) {
	for _, key := range k {
		if err = try(key); err == nil {
			return nil
		}
	}
	return err
}

// cosigned looks at both forms in which cosign stores signatures.
func (a *artifact) cosigned(attached func(blob) error, bundled func(*bundle.Bundle) error) error {
	first := a.first(a.attached, attached)
	if first == nil {
		return nil
	}
	var unread *readError
	if errors.As(first, &unread) {
		return first
	}
	second := a.first(a.referring(bundleType), func(b blob) error {
		parsed := &bundle.Bundle{}
		if err := parsed.UnmarshalJSON(b.content); err != nil {
			return fmt.Errorf("a bundle that does not parse: %w", err)
		}
		return bundled(parsed)
	})
	switch {
	case second == nil:
		return nil
	case errors.Is(second, errNone):
		return first
	case errors.Is(first, errNone):
		return second
	}
	return errors.Join(first, second)
}

// attachedBy checks a signature over a payload that names the artifact.
func attachedBy(key signature.Verifier, a *artifact, b blob) error {
	signed, err := a.signed(b)
	if err != nil {
		return err
	}
	return key.VerifySignature(bytes.NewReader(signed), bytes.NewReader(b.content))
}

// signed is the signature of a payload, once the payload is one for the artifact.
// The name in it is not compared: artifacts are copied, with their signatures.
func (a *artifact) signed(b blob) ([]byte, error) {
	if string(b.MediaType) != simpleSigning {
		return nil, fmt.Errorf("a layer of the type %q, which is no signature", b.MediaType)
	}
	var claim payload.SimpleContainerImage
	if err := json.Unmarshal(b.content, &claim); err != nil {
		return nil, errors.New("a payload that does not parse")
	}
	if got := claim.Critical.Image.DockerManifestDigest; got != a.ref.DigestStr() {
		return nil, fmt.Errorf("a signature for another digest, %q", got)
	}
	signed, err := base64.StdEncoding.DecodeString(b.Annotations[signatureAnnotation])
	if err != nil || len(signed) == 0 {
		return nil, fmt.Errorf("a payload without a signature in the annotation %s", signatureAnnotation)
	}
	return signed, nil
}

// bundled checks a bundle that signs the artifact.
func (a *artifact) bundled(b *bundle.Bundle, trusted root.TrustedMaterial, options []verify.VerifierOption, who ...verify.PolicyOption) error {
	verifier, err := verify.NewVerifier(trusted, options...)
	if err != nil {
		return err
	}
	hash, digest, err := digestOf(a.ref.DigestStr())
	if err != nil {
		return err
	}
	result, err := verifier.Verify(b, verify.NewPolicy(verify.WithArtifactDigest(hash, digest), who...))
	if err != nil {
		return err
	}
	if result.Statement != nil && result.Statement.GetPredicateType() != signPredicate {
		return fmt.Errorf("a statement of the type %q, which is no signature", result.Statement.GetPredicateType())
	}
	return nil
}

func digestOf(text string) (hash string, digest []byte, err error) {
	hash, encoded, _ := strings.Cut(text, ":")
	digest, err = hex.DecodeString(encoded)
	return hash, digest, err
}
