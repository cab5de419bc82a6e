package git

import (
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

const (
	defaultBranch = "master"
	// peeledSuffix marks, in a list of references, the commit that an
	// annotated tag points at.
	peeledSuffix = "^{}"
	// sha1 is how revisions name the hash of commits; repositories of sha256
	// are not supported by go-git.
	sha1       = "sha1:"
	hashLength = 40
)

// Target is what spec.ref asks for.
type Target struct {
	// Field and Value are how the user said it.
	Field, Value string
	// Ref is the full name of the reference; empty for a commit.
	Ref string
	// label is what stands before the hash in the revision; may be empty.
	label string
}

// TargetOf reads spec.ref with Flux's precedence: commit, name, tag, branch.
// Semver is refused before.
func TargetOf(ref *sourcev1.GitRepositoryRef) Target {
	if ref == nil {
		ref = &sourcev1.GitRepositoryRef{}
	}
	switch {
	case ref.Commit != "":
		return Target{Field: "spec.ref.commit", Value: ref.Commit, label: ref.Branch}
	case ref.Name != "":
		return Target{Field: "spec.ref.name", Value: ref.Name, Ref: ref.Name, label: ref.Name}
	case ref.Tag != "":
		return Target{Field: "spec.ref.tag", Value: ref.Tag, Ref: "refs/tags/" + ref.Tag, label: ref.Tag}
	case ref.Branch != "":
		return Target{Field: "spec.ref.branch", Value: ref.Branch, Ref: "refs/heads/" + ref.Branch, label: ref.Branch}
	}
	return Target{Field: "spec.ref.branch (by default)", Value: defaultBranch, Ref: "refs/heads/" + defaultBranch, label: defaultBranch}
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
