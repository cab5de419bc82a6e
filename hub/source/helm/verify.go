package helm

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/registry/signature"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const verificationReason = "ChartVerificationError"

// errVerifiedElsewhere says that signatures are kept in registries alone.
var errVerifiedElsewhere = source.Unverified(reconcile.Stall(verificationReason,
	errors.New("spec.verify is for charts from a HelmRepository with spec.type oci alone")))

// verify checks the signature that spec.verify asks for, unless that was done for
// the artifact with the same trust. Stale says that the trust is another one: the
// tag may have moved since, so what was checked now has to become the artifact.
func (f *ChartFetcher) verify(ctx context.Context, obj *sourcev1.HelmChart, p *pick) (stale bool, err error) {
	if obj.Spec.Verify == nil {
		source.Unasked(obj)
		obj.Status.ObservedVerification = ""
		return false, nil
	}
	trust, err := f.trust(ctx, obj)
	if err != nil {
		return false, err
	}
	stale = obj.Status.ObservedVerification != trust.Digest
	if stored := obj.GetArtifact(); !stale && stored != nil && stored.Revision == p.version && source.IsVerified(obj) {
		return false, nil
	}
	return stale, f.check(ctx, obj, p)
}

func (f *ChartFetcher) trust(ctx context.Context, obj *sourcev1.HelmChart) (*signature.Trust, error) {
	asked := obj.Spec.Verify
	trust, err := f.Signatures.Trust(ctx, obj.Namespace, sourcev1.OCIRepositoryVerification{
		Provider: asked.Provider, SecretRef: asked.SecretRef, MatchOIDCIdentity: asked.MatchOIDCIdentity,
	})
	return trust, unverified(err)
}

// check looks for a good signature of the digest that the version's tag stands
// for, and pins the offer to that digest.
func (f *ChartFetcher) check(ctx context.Context, obj *sourcev1.HelmChart, p *pick) error {
	trust, err := f.trust(ctx, obj)
	if err != nil {
		return err
	}
	if err := f.visit(ctx, p.repo, pullReason, func(ctx context.Context, s shop) error {
		at, ok := s.(*registryShop)
		if !ok {
			return errVerifiedElsewhere
		}
		p.offer.manifest, err = at.signed(ctx, p.offer, trust)
		return err
	}); err != nil {
		return about(obj, err)
	}
	p.verified = trust
	return nil
}

// signed is the digest of the version, once its signature is good.
func (s *registryShop) signed(ctx context.Context, o offer, trust *signature.Trust) (string, error) {
	c, err := s.open(ctx, o.name)
	if err != nil {
		return "", err
	}
	manifest, err := remote.Get(c.ref(o), c.Options()...)
	if err != nil {
		return "", c.Failed(ctx, s.reason, fmt.Sprintf("resolving version %s of chart %q", o.version, o.name), err)
	}
	digest := manifest.Digest.String()
	return digest, unverified(trust.Verify(ctx, c.Session, c.repository.Digest(digest)))
}

// unverified gives an error about a signature the reason that charts have for it.
func unverified(err error) error {
	if err == nil {
		return nil
	}
	if reason, _ := reconcile.ReasonOf(err); reason == signature.FailedReason {
		err = reconcile.Fail(verificationReason, errors.New(err.Error()))
	}
	return source.Unverified(err)
}
