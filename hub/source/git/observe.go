package git

import (
	"slices"

	"k8s.io/utils/ptr"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/hub/source"
)

// found is what Resolve learnt, and Fetch.
type found struct {
	target git.Target
	// included are the artifacts of spec.include.
	included []*meta.Artifact
	// verified says which signatures Fetch found to be good.
	verified string
}

// Observed says whether the artifact was made, and its signatures checked, as the
// spec has it now.
func (*Fetcher) Observed(obj *sourcev1.GitRepository) bool {
	mode := modeOf(obj)
	return obj.Status.ObservedRecurseSubmodules == obj.Spec.RecurseSubmodules &&
		slices.Equal(obj.Status.ObservedSparseCheckout, obj.Spec.SparseCheckout) &&
		slices.Equal(obj.Status.ObservedInclude, obj.Spec.Include) &&
		(mode == "" || ptr.Deref(obj.Status.SourceVerificationMode, "") == mode && source.IsVerified(obj))
}

// Observe notes what the artifact was made with.
func (*Fetcher) Observe(obj *sourcev1.GitRepository, rev source.Revision) {
	f, _ := rev.Found.(*found)
	obj.Status.ObservedRecurseSubmodules = obj.Spec.RecurseSubmodules
	obj.Status.ObservedSparseCheckout = slices.Clone(obj.Spec.SparseCheckout)
	obj.Status.ObservedInclude = slices.Clone(obj.Spec.Include)
	obj.Status.IncludedArtifacts = f.included
	if mode := modeOf(obj); mode != "" {
		obj.Status.SourceVerificationMode = &mode
		if f.verified != "" { // else it is as before
			source.Verified(obj, f.verified)
		}
		return
	}
	obj.Status.SourceVerificationMode = nil
	source.Unasked(obj)
}

// sameContent says whether two lists of artifacts have the same files.
func sameContent(a, b []*meta.Artifact) bool {
	return slices.EqualFunc(a, b, func(a, b *meta.Artifact) bool { return a.Digest == b.Digest })
}
