package signature

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

const (
	policyKey = "trustpolicy.json"
	// notarySignature is the type of a manifest that notation makes.
	notarySignature = "application/vnd.cncf.notary.signature"
)

// notary judges the signatures that notation makes.
type notary struct{ verifier notation.Verifier }

func newNotary(data map[string][]byte) (*notary, error) {
	text, found := data[policyKey]
	if !found {
		return nil, fmt.Errorf("the Secret has no key %s", policyKey)
	}
	var policy trustpolicy.Document
	if err := json.Unmarshal(text, &policy); err != nil {
		return nil, fmt.Errorf("the key %s of the Secret does not parse: %w", policyKey, err)
	}
	var certificates certificates
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if name == policyKey {
			continue
		}
		parsed, err := cryptoutils.UnmarshalCertificatesFromPEM(data[name])
		if err != nil || len(parsed) == 0 {
			return nil, fmt.Errorf("the key %s of the Secret is not a certificate in PEM form", name)
		}
		certificates = append(certificates, parsed...)
	}
	if len(certificates) == 0 {
		return nil, errors.New("the Secret has no certificate: no key ends in .crt or .pem")
	}
	judge, err := verifier.New(&policy, certificates, nil)
	if err != nil {
		return nil, fmt.Errorf("the key %s of the Secret: %w", policyKey, err)
	}
	return &notary{verifier: judge}, nil
}

// certificates are the Secret's, which is every trust store that a policy may
// name.
type certificates []*x509.Certificate

// GetCertificates are all.
func (c certificates) GetCertificates(context.Context, truststore.Type, string) ([]*x509.Certificate, error) {
	return c, nil
}

func (n *notary) judge(ctx context.Context, a *artifact) error {
	options := notation.VerifierVerifyOptions{ArtifactReference: a.ref.String()}
	if skipper, ok := n.verifier.(interface {
		SkipVerify(context.Context, notation.VerifierVerifyOptions) (bool, *trustpolicy.VerificationLevel, error)
	}); ok {
		if skip, _, err := skipper.SkipVerify(ctx, options); err != nil || skip {
			return err
		}
	}
	target, err := remote.Get(a.ref, a.session.Options()...)
	if err != nil {
		return &readError{err}
	}
	descriptor := ocispec.Descriptor{
		MediaType: string(target.MediaType),
		Digest:    digest.Digest(target.Digest.String()),
		Size:      target.Size,
	}
	return a.first(a.referring(notarySignature), func(b blob) error {
		of := options
		of.SignatureMediaType = string(b.MediaType)
		_, err := n.verifier.Verify(ctx, descriptor, b.content, of)
		if err != nil && strings.Contains(err.Error(), "descriptor mismatch") {
			return fmt.Errorf("a signature for another artifact: %w", err)
		}
		return err
	})
}
