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

// target is what spec.ref asks for.
type target struct {
	// field and value are how the user said it.
	field, value string
	// ref is the full name of the reference; empty for a commit.
	ref string
	// label is what stands before the hash in the revision; may be empty.
	label string
}

// targetOf reads spec.ref with Flux's precedence: commit, name, tag, branch.
// Semver is refused before.
func targetOf(ref *sourcev1.GitRepositoryRef) target {
	if ref == nil {
		ref = &sourcev1.GitRepositoryRef{}
	}
	switch {
	case ref.Commit != "":
		return target{field: "spec.ref.commit", value: ref.Commit, label: ref.Branch}
	case ref.Name != "":
		return target{field: "spec.ref.name", value: ref.Name, ref: ref.Name, label: ref.Name}
	case ref.Tag != "":
		return target{field: "spec.ref.tag", value: ref.Tag, ref: "refs/tags/" + ref.Tag, label: ref.Tag}
	case ref.Branch != "":
		return target{field: "spec.ref.branch", value: ref.Branch, ref: "refs/heads/" + ref.Branch, label: ref.Branch}
	}
	return target{field: "spec.ref.branch (by default)", value: defaultBranch, ref: "refs/heads/" + defaultBranch, label: defaultBranch}
}

// revision is Flux's name of the commit, as reached by the target.
func (t target) revision(commit string) string {
	if t.label == "" {
		return sha1 + commit
	}
	return t.label + "@" + sha1 + commit
}

// checkCommit refuses a spec.ref.commit that is not a full hash: it could name
// several commits.
func (t target) checkCommit() error {
	if len(t.value) != hashLength || strings.Trim(t.value, "0123456789abcdef") != "" {
		return fmt.Errorf("%s %q is not a full hash of %d lower-case hex digits", t.field, t.value, hashLength)
	}
	return nil
}

// find looks the reference up in the remote's list: tip is the object that it
// names, commit the one that it leads to. They differ for annotated tags.
func (t target) find(refs *packp.AdvRefs) (tip, commit plumbing.Hash, ok bool) {
	name := strings.TrimSuffix(t.ref, peeledSuffix)
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
