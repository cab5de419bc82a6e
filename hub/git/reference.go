package git

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	defaultBranch = "master"
	// peeledSuffix marks, in a list of references, the commit that an
	// annotated tag points at.
	peeledSuffix = "^{}"
	// sha1 is how revisions name the hash of commits; repositories of sha256
	// are not supported by go-git.
	sha1       = "sha1:"
	tags       = "refs/tags/"
	branches   = "refs/heads/"
	hashLength = 40
)

// Target is what spec.ref asks for.
type Target struct {
	// Field and Value are how the user said it.
	Field, Value string
	// Ref is the full name of the reference; empty for a commit, and for a
	// range of versions until Pin has chosen a tag.
	Ref string
	// label is what stands before the hash in the revision; may be empty.
	label string
	// ranged says that Value is a range of versions.
	ranged bool
}

// TargetOf reads spec.ref with Flux's precedence: commit, name, semver, tag,
// branch.
func TargetOf(ref *sourcev1.GitRepositoryRef) Target {
	if ref == nil {
		ref = &sourcev1.GitRepositoryRef{}
	}
	switch {
	case ref.Commit != "":
		return Target{Field: "spec.ref.commit", Value: ref.Commit, label: ref.Branch}
	case ref.Name != "":
		return Target{Field: "spec.ref.name", Value: ref.Name, Ref: ref.Name, label: ref.Name}
	case ref.SemVer != "":
		return Target{Field: "spec.ref.semver", Value: ref.SemVer, ranged: true}
	case ref.Tag != "":
		return Target{Field: "spec.ref.tag", Value: ref.Tag, Ref: tags + ref.Tag, label: ref.Tag}
	case ref.Branch != "":
		return Target{Field: "spec.ref.branch", Value: ref.Branch, Ref: branches + ref.Branch, label: ref.Branch}
	}
	return Target{Field: "spec.ref.branch (by default)", Value: defaultBranch, Ref: branches + defaultBranch, label: defaultBranch}
}

// IsCommit says that the target names its commit itself, so that there is nothing
// to ask the remote.
func (t Target) IsCommit() bool { return t.Ref == "" && !t.ranged }

// IsTag says that the target is a tag.
func (t Target) IsTag() bool { return t.ranged || strings.HasPrefix(t.Ref, tags) }

// Pin chooses the tag with the highest version in the range; other targets stay
// as they are. Of tags with equal versions it is the last by name.
func (t Target) Pin(refs *packp.AdvRefs) (pinned Target, found bool, err error) {
	if !t.ranged {
		return t, true, nil
	}
	within, err := semver.NewConstraint(t.Value)
	if err != nil {
		return t, false, reconcile.Fail(OperationFailedReason, fmt.Errorf("%s %q is no range of versions: %w", t.Field, t.Value, err))
	}
	var best *semver.Version
	for _, name := range slices.Sorted(maps.Keys(refs.References)) {
		tag, isTag := strings.CutPrefix(name, tags)
		if !isTag {
			continue
		}
		version, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
		if err != nil || !within.Check(version) || best != nil && version.LessThan(best) {
			continue
		}
		best, t.Ref, t.label = version, name, tag
	}
	return t, best != nil, nil
}

// Revision is Flux's name of the commit, as reached by the target.
func (t Target) Revision(commit string) string {
	if t.label == "" {
		return sha1 + commit
	}
	return t.label + "@" + sha1 + commit
}

// CheckCommit refuses a spec.ref.commit that is not a full hash: it could name
// several commits.
func (t Target) CheckCommit() error {
	if len(t.Value) != hashLength || strings.Trim(t.Value, "0123456789abcdef") != "" {
		return fmt.Errorf("%s %q is not a full hash of %d lower-case hex digits", t.Field, t.Value, hashLength)
	}
	return nil
}

// Find looks the reference up in the remote's list: tip is the object that it
// names, commit the one that it leads to. They differ for annotated tags.
func (t Target) Find(refs *packp.AdvRefs) (tip, commit plumbing.Hash, ok bool) {
	name := strings.TrimSuffix(t.Ref, peeledSuffix)
	tip, ok = refs.References[name]
	if !ok && name == plumbing.HEAD.String() && refs.Head != nil {
		tip, ok = *refs.Head, true
	}
	commit = tip
	if peeled, annotated := refs.Peeled[name]; annotated {
		commit = peeled
	}
	return tip, commit, ok
}
