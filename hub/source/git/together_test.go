package git_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// All that makes up an artifact, at once: each part holds for the whole.
func TestAllPartsTogether(t *testing.T) {
	g := NewWithT(t)
	me := newSSHAuthor(t)
	main, child, shared := family(t)
	commit(t, main, map[string]string{"deploy/app.yaml": "1", "deploy/notes.md": "", "deploy/keep.md": "", "other/x": ""})
	commit(t, child, map[string]string{".sourceignore": "secret.txt\n", "secret.txt": ""})
	link(t, main, "deploy/child", child.URL, headOf(t, child))
	me.tag(t, main, "v1.0.0", headOf(t, main))
	commit(t, shared, map[string]string{"base/x": "1", "base/x.md": "1"})

	kinds := runtime.NewScheme()
	g.Expect(sourcev1.AddToScheme(kinds)).To(Succeed())
	other := newObject(shared.URL)
	other.Name = "shared"
	f := newFetcher(newSecret("keys", me.trusted))
	api := fake.NewClientBuilder().WithScheme(kinds).WithStatusSubresource(other).WithObjects(other).Build()
	f.Client = api
	r := reconciler(t, f)
	g.Expect(r.Reconcile(t.Context(), other)).To(Succeed())
	g.Expect(api.Status().Update(t.Context(), other)).To(Succeed())

	obj := trusting(main, "Tag", sourcev1.GitRepositoryRef{SemVer: "1.x", Branch: "main"})
	obj.Spec.SparseCheckout = []string{"./deploy"}
	obj.Spec.Ignore = new("*.md\n!keep.md\n")
	obj.Spec.RecurseSubmodules = true
	obj.Spec.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: "shared"}, FromPath: "./base", ToPath: "./deploy/base"}}
	want := map[string]string{
		"deploy/app.yaml": "1", "deploy/keep.md": "", "deploy/child/.sourceignore": "secret.txt\n", "deploy/child/child.txt": "child", "deploy/base/x": "1",
	}
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.Revision).To(Equal("v1.0.0@sha1:" + headOf(t, main)))
	g.Expect(stored(t, r, obj)).To(Equal(want))
	downloads := main.Requests().UploadPack
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(main.Requests().UploadPack).To(Equal(downloads), "nothing has changed")

	run(t, main, "", "tag", "-a", "-m", "not signed", "v1.1.0", headOf(t, main))
	g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring("signature verification of tag 'v1.1.0' failed: it is not signed")))
	g.Expect(stored(t, r, obj)).To(Equal(want), "the last good artifact stays")
}
