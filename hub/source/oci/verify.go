package oci

import (
	"context"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
)

// trusted is the digest of the trust with which a revision was verified.
type trusted string

// verify checks the signature that spec.verify asks for. What was checked of the
// artifact in status, with the same trust, is not checked again.
func (f *Fetcher) verify(ctx context.Context, obj *sourcev1.OCIRepository, s *session, rev source.Revision) (trusted, error) {
	if obj.Spec.Verify == nil {
		source.Unasked(obj)
		return "", nil
	}
	trust, err := f.Signatures.Trust(ctx, obj.Namespace, *obj.Spec.Verify)
	if err != nil {
		return "", source.Unverified(err)
	}
	stored := obj.GetArtifact()
	if stored == nil || stored.Revision != rev.Name || obj.Status.ObservedVerification != trust.Digest || !source.IsVerified(obj) {
		if err := trust.Verify(ctx, s.Session, s.repository.Digest(rev.ID)); err != nil {
			return "", source.Unverified(err)
		}
	}
	source.Verified(obj, trust.Verified("revision "+rev.Name))
	return trusted(trust.Digest), nil
}
