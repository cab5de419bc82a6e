package oci

import (
	"context"
	"fmt"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
)

// verify checks the signature that spec.verify asks for, and notes it in the
// status. What was checked before, with the same trust, is not checked again.
func (f *Fetcher) verify(ctx context.Context, obj *sourcev1.OCIRepository, s *session, rev source.Revision) error {
	if obj.Spec.Verify == nil {
		source.Unasked(obj)
		obj.Status.ObservedVerification = ""
		return nil
	}
	trust, err := f.Signatures.Trust(ctx, obj.Namespace, *obj.Spec.Verify)
	if err != nil {
		return source.Unverified(err)
	}
	stored := obj.GetArtifact()
	if stored != nil && stored.Revision == rev.Name && obj.Status.ObservedVerification == trust.Digest && source.IsVerified(obj) {
		return nil
	}
	if err := trust.Verify(ctx, s.Session, s.repository.Digest(rev.ID)); err != nil {
		return source.Unverified(err)
	}
	obj.Status.ObservedVerification = trust.Digest
	source.Verified(obj, fmt.Sprintf("verified signature of revision %s", rev.Name))
	return nil
}
