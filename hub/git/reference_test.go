package git

import (
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	. "github.com/onsi/gomega"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

func TestTargetAndRevision(t *testing.T) {
	for _, c := range []struct {
		name                 string
		ref                  *sourcev1.GitRepositoryRef
		field, ref1, revised string
	}{
		{"nothing", nil, "spec.ref.branch (by default)", "refs/heads/master", "master@sha1:abc"},
		{"empty", &sourcev1.GitRepositoryRef{}, "spec.ref.branch (by default)", "refs/heads/master", "master@sha1:abc"},
		{"branch", &sourcev1.GitRepositoryRef{Branch: "feat/x"}, "spec.ref.branch", "refs/heads/feat/x", "feat/x@sha1:abc"},
		{"tag before branch", &sourcev1.GitRepositoryRef{Branch: "main", Tag: "v1.0.0"}, "spec.ref.tag", "refs/tags/v1.0.0", "v1.0.0@sha1:abc"},
		{"semver before tag", &sourcev1.GitRepositoryRef{Tag: "v1", SemVer: "1.x"}, "spec.ref.semver", "", "sha1:abc"},
		{"name before semver", &sourcev1.GitRepositoryRef{SemVer: "1.x", Name: "refs/heads/x"}, "spec.ref.name", "refs/heads/x", "refs/heads/x@sha1:abc"},
		{"name before tag", &sourcev1.GitRepositoryRef{Tag: "v1", Name: "refs/pull/7/head"}, "spec.ref.name", "refs/pull/7/head", "refs/pull/7/head@sha1:abc"},
		{"commit before name", &sourcev1.GitRepositoryRef{Name: "refs/heads/x", Commit: "abc"}, "spec.ref.commit", "", "sha1:abc"},
		{"commit of a branch", &sourcev1.GitRepositoryRef{Branch: "main", Commit: "abc"}, "spec.ref.commit", "", "main@sha1:abc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			got := TargetOf(c.ref)
			g.Expect(got.Field).To(Equal(c.field))
			g.Expect(got.Ref).To(Equal(c.ref1))
			g.Expect(got.Revision("abc")).To(Equal(c.revised))
		})
	}
}

func TestCheckCommit(t *testing.T) {
	g := NewWithT(t)
	for _, bad := range []string{"", "abc", "main", "0123456789012345678901234567890123456789a", "g123456789012345678901234567890123456789", "A123456789012345678901234567890123456789"} {
		g.Expect(Target{Field: "spec.ref.commit", Value: bad}.CheckCommit()).To(MatchError(ContainSubstring("spec.ref.commit")), bad)
	}
	g.Expect(Target{Value: "a123456789012345678901234567890123456789"}.CheckCommit()).To(Succeed())
}

func TestFind(t *testing.T) {
	hash := func(c byte) plumbing.Hash { return plumbing.Hash{c} }
	head := hash(9)
	refs := &packp.AdvRefs{
		Head: &head,
		References: map[string]plumbing.Hash{
			"refs/heads/main": hash(1), "refs/tags/light": hash(2), "refs/tags/full": hash(3),
		},
		Peeled: map[string]plumbing.Hash{"refs/tags/full": hash(4)},
	}
	for _, c := range []struct {
		ref         string
		tip, commit byte
		ok          bool
	}{
		{"refs/heads/main", 1, 1, true},
		{"refs/tags/light", 2, 2, true},
		{"refs/tags/full", 3, 4, true},
		{"refs/tags/full^{}", 3, 4, true},
		{"HEAD", 9, 9, true},
		{"main", 0, 0, false},
		{"refs/heads/mai", 0, 0, false},
	} {
		tip, commit, ok := Target{Ref: c.ref}.Find(refs)
		g := NewWithT(t)
		g.Expect(ok).To(Equal(c.ok), c.ref)
		if ok {
			g.Expect(tip).To(Equal(hash(c.tip)), c.ref)
			g.Expect(commit).To(Equal(hash(c.commit)), c.ref)
		}
	}
}

func TestPin(t *testing.T) {
	refs := packp.NewAdvRefs()
	for i, name := range []string{
		"refs/heads/9.9.9", "refs/tags/1.0.0", "refs/tags/v1.2.0", "refs/tags/v1.10.0", "refs/tags/1.11.0-rc.1", "refs/tags/2.0.0",
		"refs/tags/v2.0.0", "refs/tags/v3", "refs/tags/app-4.0.0", "refs/tags/x/5.0.0",
	} {
		refs.References[name] = plumbing.Hash{byte(i)}
	}
	for within, want := range map[string]string{
		"1.x": "v1.10.0", ">=1.0.0 <1.10.0": "v1.2.0", "~1.0": "1.0.0", ">=1.11.0-0 <2.0.0-0": "1.11.0-rc.1", ">=1.0.0": "v2.0.0", "*": "v2.0.0", ">=3": "",
	} {
		g := NewWithT(t)
		pinned, found, err := TargetOf(&sourcev1.GitRepositoryRef{SemVer: within}).Pin(refs)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(found).To(Equal(want != ""), within)
		if found {
			g.Expect(pinned.Ref).To(Equal("refs/tags/"+want), within)
			g.Expect(pinned.Revision("abc")).To(Equal(want+"@sha1:abc"), within)
		}
	}
	_, _, err := TargetOf(&sourcev1.GitRepositoryRef{SemVer: "latest"}).Pin(refs)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring(`spec.ref.semver "latest" is no range of versions`)))
}
