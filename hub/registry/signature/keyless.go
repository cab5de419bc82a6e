package signature

import (
	"context"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

const rootsKey = "trusted_root.json"

// keyless judges the signatures that cosign makes with short-lived certificates.
type keyless struct {
	identities []verify.PolicyOption
	// own are the roots of the spec; nil for those of the public Sigstore.
	own    root.TrustedMaterial
	public *Roots
}

func newKeyless(matches []sourcev1.OIDCIdentityMatch, roots []byte, public *Roots) (*keyless, error) {
	k := &keyless{public: public}
	if len(matches) == 0 {
		k.identities = []verify.PolicyOption{verify.WithoutIdentitiesUnsafe()}
	}
	for i, match := range matches {
		if match.Issuer == "" || match.Subject == "" {
			return nil, fmt.Errorf("matchOIDCIdentity[%d] lacks an issuer or a subject, each a regular expression", i)
		}
		identity, err := verify.NewShortCertificateIdentity("", match.Issuer, "", match.Subject)
		if err != nil {
			return nil, fmt.Errorf("matchOIDCIdentity[%d]: %w", i, err)
		}
		k.identities = append(k.identities, verify.WithCertificateIdentity(identity))
	}
	if roots == nil {
		return k, nil
	}
	own, err := root.NewTrustedRootFromJSON(roots)
	if err != nil {
		return nil, fmt.Errorf("the key %s of trustedRootSecretRef's Secret does not parse: %w", rootsKey, err)
	}
	k.own = own
	return k, nil
}

func (k *keyless) judge(ctx context.Context, a *artifact) error {
	trusted := k.own
	if trusted == nil {
		public, err := k.public.get(ctx)
		if err != nil {
			return fmt.Errorf("reading the roots of the public Sigstore: %w", err)
		}
		trusted = public
	}
	options := demands(trusted)
	return a.cosigned(func(b blob) error {
		signed, err := a.signed(b)
		if err != nil {
			return err
		}
		legacy, err := asBundle(b, signed)
		if err != nil {
			return err
		}
		// What is signed is the payload, which names the artifact.
		verifier, err := verify.NewVerifier(trusted, options...)
		if err != nil {
			return err
		}
		_, err = verifier.Verify(legacy, verify.NewPolicy(verify.WithArtifactDigest(payloadHash, sum(b.content)), k.identities...))
		return err
	}, func(b *bundle.Bundle) error {
		return a.bundled(b, trusted, options, k.identities...)
	})
}

// demands are the proofs that the roots can check. A time that somebody
// witnessed is always one of them, since the certificates last for minutes.
func demands(trusted root.TrustedMaterial) []verify.VerifierOption {
	options := []verify.VerifierOption{verify.WithObserverTimestamps(1)}
	if len(trusted.RekorLogs()) > 0 {
		options = append(options, verify.WithTransparencyLog(1))
	}
	if len(trusted.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	return options
}
