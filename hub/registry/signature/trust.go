package signature

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// FailedReason is the reason of every error of this package about trust and
// signatures.
const FailedReason = "VerificationError"

const (
	cosignTool   = "cosign"
	notationTool = "notation"
)

// Verifier reads what specs trust. It is safe for concurrent use.
type Verifier struct {
	// Secrets reads the Secrets that specs name, live.
	Secrets client.Reader
	// Public has the roots of the public Sigstore.
	Public *Roots
}

// Trust is whom one spec trusts.
type Trust struct {
	// Digest of the spec's part and of the Secrets' content: another one asks
	// for another verification.
	Digest string
	judge  judge
	name   string
	// anybody may have signed who has a certificate.
	anybody bool
}

// Verified is what SourceVerified says of what was verified. Where anybody may have
// signed, since the public Sigstore certifies everybody, it says that too.
func (t *Trust) Verified(what string) string {
	message := "verified signature of " + what
	if t.anybody {
		message += ", which anybody may have made, since spec.verify.matchOIDCIdentity names nobody"
	}
	return message
}

// judge is a way to check signatures.
type judge interface {
	// judge returns nil for one good signature.
	judge(ctx context.Context, a *artifact) error
}

// material is what trust is made of.
type material struct {
	Spec sourcev1.OCIRepositoryVerification
	// Keys are the Secret's that the provider reads, Roots is a trusted_root.json.
	Keys  map[string][]byte
	Roots []byte
}

// Trust reads the trust of a spec in the namespace. An error names the field.
func (v *Verifier) Trust(ctx context.Context, namespace string, spec sourcev1.OCIRepositoryVerification) (*Trust, error) {
	t, err := v.trust(ctx, access.Secrets{Reader: v.Secrets, Namespace: namespace}, spec)
	if err != nil {
		// A fresh error, since those about Secrets have the reason of logins.
		return nil, reconcile.Fail(FailedReason, errors.New(err.Error()))
	}
	return t, nil
}

func (v *Verifier) trust(ctx context.Context, secrets access.Secrets, spec sourcev1.OCIRepositoryVerification) (*Trust, error) {
	m, err := read(ctx, secrets, spec)
	if err != nil {
		return nil, err
	}
	t := &Trust{Digest: m.digest(), name: spec.Provider}
	switch {
	case spec.Provider == notationTool:
		t.judge, err = newNotary(m.Keys)
	case spec.SecretRef != nil:
		t.judge, err = newKeys(m.Keys)
	default:
		t.name, t.anybody = cosignTool+" keyless", len(spec.MatchOIDCIdentity) == 0
		t.judge, err = newKeyless(spec.MatchOIDCIdentity, m.Roots, v.Public)
	}
	if err != nil {
		return nil, fmt.Errorf("spec.verify: %w", err)
	}
	return t, nil
}

// suffixes of the keys in spec.verify.secretRef that a provider reads.
var suffixes = map[string][]string{
	cosignTool:   {".pub"},
	notationTool: {policyKey, ".crt", ".pem"},
}

func read(ctx context.Context, secrets access.Secrets, spec sourcev1.OCIRepositoryVerification) (material, error) {
	m := material{Spec: spec, Keys: map[string][]byte{}}
	wanted, known := suffixes[spec.Provider]
	switch {
	case !known:
		return m, fmt.Errorf("spec.verify.provider %q is not known: use %s or %s", spec.Provider, cosignTool, notationTool)
	case spec.Provider == notationTool && spec.SecretRef == nil:
		return m, fmt.Errorf("spec.verify.secretRef is not set: %s needs a Secret with %s and certificates", notationTool, policyKey)
	case spec.SecretRef != nil:
		if err := secrets.Read(ctx, "spec.verify.secretRef", spec.SecretRef.Name, func(secret *corev1.Secret) error {
			for key, value := range secret.Data {
				if slices.ContainsFunc(wanted, func(suffix string) bool { return strings.HasSuffix(key, suffix) }) {
					m.Keys[key] = value
				}
			}
			if len(m.Keys) == 0 {
				return fmt.Errorf("it has no key that ends in %s", strings.Join(wanted, ", "))
			}
			return nil
		}); err != nil {
			return m, err
		}
	}
	if spec.TrustedRootSecretRef == nil {
		return m, nil
	}
	return m, secrets.Read(ctx, "spec.verify.trustedRootSecretRef", spec.TrustedRootSecretRef.Name, func(secret *corev1.Secret) error {
		if m.Roots = secret.Data[rootsKey]; len(m.Roots) == 0 {
			return fmt.Errorf("it has no key %s", rootsKey)
		}
		return nil
	})
}

func (m material) digest() string {
	content, err := json.Marshal(m) // with sorted keys
	if err != nil {
		panic(err) // strings and bytes
	}
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
