package git_test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// stored reads the artifact of the object, as an agent would.
func stored(t *testing.T, r *source.Reconciler[*sourcev1.GitRepository], obj *sourcev1.GitRepository) map[string]string {
	t.Helper()
	g := NewWithT(t)
	f, err := r.Store.Open(obj.Status.Artifact)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = f.Close() }()
	content, err := artifact.Files(f, artifact.Limits{})
	g.Expect(err).NotTo(HaveOccurred())
	files := map[string]string{}
	for name, body := range content {
		files[name] = string(body)
	}
	return files
}

func TestSparseCheckout(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"root": "r", "apps/a/x": "1", "apps/ab/x": "2", "infra/x": "3"})
	r := reconciler(t, newFetcher())
	obj := newObject(repository.URL)
	obj.Spec.SparseCheckout = []string{"./apps/a", "infra/"}
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(stored(t, r, obj)).To(Equal(map[string]string{"apps/a/x": "1", "infra/x": "3"}))
	g.Expect(obj.Status.ObservedSparseCheckout).To(Equal([]string{"./apps/a", "infra/"}))
	downloads := repository.Requests().UploadPack
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(repository.Requests().UploadPack).To(Equal(downloads))

	for _, dir := range []string{"nope", "root", "../etc"} {
		obj.Spec.SparseCheckout = []string{"infra", dir}
		g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring(fmt.Sprintf("spec.sparseCheckout: the directory %q does not exist in commit", dir))))
		g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True GitOperationFailed"))
		g.Expect(stored(t, r, obj)).To(HaveLen(2))
	}
	obj.Spec.SparseCheckout = nil
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(stored(t, r, obj)).To(HaveLen(4))
	g.Expect(obj.Status.ObservedSparseCheckout).To(BeEmpty())
}

// link makes another repository's commit a submodule at the path.
func link(t *testing.T, r *testenv.Repository, path, url, commit string) {
	t.Helper()
	head, err := r.Head(t.Context())
	g := NewWithT(t)
	g.Expect(err).NotTo(HaveOccurred())
	index := filepath.Join(t.TempDir(), "index")
	t.Setenv("GIT_INDEX_FILE", index)
	modules := run(t, r, fmt.Sprintf("[submodule \"x\"]\n\tpath = %s\n\turl = %s\n", path, url), "hash-object", "-w", "--stdin")
	run(t, r, "", "read-tree", head)
	run(t, r, "", "update-index", "--add", "--cacheinfo", "100644,"+modules+",.gitmodules")
	run(t, r, "", "update-index", "--add", "--cacheinfo", "160000,"+commit+","+path)
	tree := run(t, r, "", "write-tree")
	g.Expect(os.Unsetenv("GIT_INDEX_FILE")).To(Succeed())
	run(t, r, "", "update-ref", "refs/heads/main", run(t, r, "", "commit-tree", tree, "-p", head, "-m", "Link"))
}

// family is three repositories of one server, the second of which is to be a
// submodule of the first, and the third of the second.
func family(t *testing.T) (parent, child, grandchild *testenv.Repository) {
	t.Helper()
	g := NewWithT(t)
	server, err := testenv.StartGit(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(server.Stop)
	named := func(name string) *testenv.Repository {
		r, err := server.Repository(t.Context(), name)
		g.Expect(err).NotTo(HaveOccurred())
		commit(t, r, map[string]string{name + ".txt": name})
		return r
	}
	return named("fleet"), named("child"), named("grandchild")
}

func headOf(t *testing.T, r *testenv.Repository) string {
	t.Helper()
	head, err := r.Head(t.Context())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return head
}

func TestSubmodules(t *testing.T) {
	g := NewWithT(t)
	parent, child, grandchild := family(t)
	old := headOf(t, grandchild)
	commit(t, grandchild, map[string]string{"grandchild.txt": "newer than what is linked"})
	link(t, child, "deeper", "../grandchild.git", old)
	link(t, parent, "libs/child", child.URL, headOf(t, child))
	for _, r := range []*testenv.Repository{parent, child, grandchild} {
		r.Protect("flux", "s3cret")
	}
	r := reconciler(t, newFetcher(newSecret("login", map[string]string{"username": "flux", "password": "s3cret"})))
	obj := newObject(parent.URL)
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(stored(t, r, obj)).To(Equal(map[string]string{"fleet.txt": "fleet"}))

	obj.Spec.RecurseSubmodules = true
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed(), "the credentials are good for the same host")
	g.Expect(stored(t, r, obj)).To(Equal(map[string]string{
		"fleet.txt": "fleet", "libs/child/child.txt": "child", "libs/child/deeper/grandchild.txt": "grandchild",
	}))
	g.Expect(obj.Status.ObservedRecurseSubmodules).To(BeTrue())
	downloads := child.Requests().UploadPack
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(child.Requests().UploadPack).To(Equal(downloads))

	grandchild.Protect("flux", "changed")
	commit(t, parent, map[string]string{"more": ""})
	g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring("submodule libs/child: submodule deeper: spec.url " + grandchild.URL)))
	g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True AuthenticationFailed submodule libs/child"))
}

func TestSubmodulesOfOtherHostsGetNoCredentials(t *testing.T) {
	g := NewWithT(t)
	parent, child, _ := family(t)
	elsewhere := newFront(t, parent, httptest.NewServer)
	link(t, parent, "child", elsewhere.URL+"/child.git", headOf(t, child))
	parent.Protect("flux", "s3cret")
	obj := newObject(parent.URL)
	obj.Spec.RecurseSubmodules = true
	obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
	fetcher := newFetcher(newSecret("login", map[string]string{"username": "flux", "password": "s3cret"}))
	_, _, files := fetch(t, fetcher, obj)
	g.Expect(files).To(HaveKey("child/child.txt"))
	g.Expect(elsewhere.authorizations()).NotTo(BeEmpty())
	g.Expect(elsewhere.authorizations()).To(HaveEach(BeEmpty()))
}

func TestSubmodulesThatCannotBeHad(t *testing.T) {
	for _, c := range []struct{ name, path, url, want string }{
		{"a file of this machine", "x", "/etc", "neither one of https, http nor ssh"},
		{"a file URL", "x", "file:///etc", "neither one of https, http nor ssh"},
		{"ssh elsewhere", "x", "git@other.test:team/x.git", "ssh://other.test/team/x.git is not on the host of spec.url"},
		{"a commit that is not there", "x", "../child.git", "no branch and no tag has it"},
		{"no repository", "x", "../gone.git", "there is no repository"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parent, _, _ := family(t)
			link(t, parent, c.path, c.url, strings.Repeat("1", 40))
			obj := newObject(parent.URL)
			obj.Spec.RecurseSubmodules = true
			r := reconciler(t, newFetcher())
			NewWithT(t).Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring(c.want)))
		})
	}
}

func TestSubmodulesEndSomewhere(t *testing.T) {
	g := NewWithT(t)
	// Each look at the repository finds it linked to itself.
	parent, _, _ := family(t)
	base := headOf(t, parent)
	link(t, parent, "again", "../fleet.git", base)
	for range 11 {
		link(t, parent, "again", "../fleet.git", headOf(t, parent))
	}
	obj := newObject(parent.URL)
	obj.Spec.RecurseSubmodules = true
	r := reconciler(t, newFetcher())
	g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring("submodules lie more than 10 deep")))
}

// including is a reconciler whose API server has the objects.
func including(t *testing.T, objects ...client.Object) (*source.Reconciler[*sourcev1.GitRepository], client.Client) {
	t.Helper()
	kinds := runtime.NewScheme()
	NewWithT(t).Expect(sourcev1.AddToScheme(kinds)).To(Succeed())
	f := newFetcher()
	api := fake.NewClientBuilder().WithScheme(kinds).WithStatusSubresource(&sourcev1.GitRepository{}).WithObjects(objects...).Build()
	f.Client = api
	return reconciler(t, f), api
}

func TestInclude(t *testing.T) {
	g := NewWithT(t)
	main, shared, _ := family(t)
	other := newObject(shared.URL)
	other.Name = "shared"
	r, api := including(t, other)
	obj := newObject(main.URL)
	obj.Spec.Include = []sourcev1.GitRepositoryInclude{
		{GitRepositoryRef: meta.LocalObjectReference{Name: "shared"}},
		{GitRepositoryRef: meta.LocalObjectReference{Name: "shared"}, FromPath: "/base", ToPath: "/deploy/base"},
	}
	commit(t, shared, map[string]string{"base/x": "1"})
	g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError("spec.include[0]: GitRepository team/shared has no artifact yet"))
	g.Expect(condition(obj, "IncludeUnavailable")).To(HavePrefix("True NoArtifact"))
	g.Expect(condition(obj, "FetchFailed")).To(BeEmpty())

	publish := func() {
		g.Expect(r.Reconcile(t.Context(), other)).To(Succeed())
		g.Expect(api.Status().Update(t.Context(), other)).To(Succeed())
	}
	publish()
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(stored(t, r, obj)).To(Equal(map[string]string{
		"fleet.txt": "fleet", "shared/child.txt": "child", "shared/base/x": "1", "deploy/base/x": "1",
	}))
	g.Expect(condition(obj, "IncludeUnavailable")).To(BeEmpty())
	g.Expect(obj.Status.ObservedInclude).To(Equal(obj.Spec.Include))
	g.Expect(obj.Status.IncludedArtifacts).To(HaveLen(2))
	g.Expect(obj.Status.IncludedArtifacts[0].Revision).To(Equal(other.Status.Artifact.Revision))
	downloads := main.Requests().UploadPack
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(main.Requests().UploadPack).To(Equal(downloads))

	commit(t, shared, map[string]string{"base/x": "2"})
	publish()
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed(), "although its own commit has not moved")
	g.Expect(stored(t, r, obj)).To(HaveKeyWithValue("deploy/base/x", "2"))

	for _, c := range []struct {
		include sourcev1.GitRepositoryInclude
		want    string
		holds   string
	}{
		{sourcev1.GitRepositoryInclude{GitRepositoryRef: meta.LocalObjectReference{Name: "gone"}}, "there is no GitRepository team/gone", "True NotFound"},
		{sourcev1.GitRepositoryInclude{GitRepositoryRef: meta.LocalObjectReference{Name: "shared"}, ToPath: "../x"}, `toPath "../x" leads out`, ""},
		{sourcev1.GitRepositoryInclude{GitRepositoryRef: meta.LocalObjectReference{Name: "shared"}, ToPath: "/../x"}, `toPath "/../x" leads out`, ""},
		{sourcev1.GitRepositoryInclude{GitRepositoryRef: meta.LocalObjectReference{Name: "shared"}, FromPath: "../.."}, `fromPath "../.." leads out`, ""},
		{sourcev1.GitRepositoryInclude{GitRepositoryRef: meta.LocalObjectReference{Name: "fleet"}}, "it names the object itself", ""},
		{sourcev1.GitRepositoryInclude{GitRepositoryRef: meta.LocalObjectReference{Name: "shared"}, FromPath: "nope"}, `fromPath "nope" is no directory`, "True CopyFailure"},
		{sourcev1.GitRepositoryInclude{GitRepositoryRef: meta.LocalObjectReference{Name: "shared"}, ToPath: "fleet.txt"}, "fleet.txt", "True CopyFailure"},
	} {
		obj.Spec.Include = []sourcev1.GitRepositoryInclude{c.include}
		g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(And(ContainSubstring("spec.include[0]: "), ContainSubstring(c.want))))
		g.Expect(condition(obj, "IncludeUnavailable")).To(HavePrefix(c.holds))
		g.Expect(stored(t, r, obj)).To(HaveKeyWithValue("deploy/base/x", "2"), "the last good artifact stays")
	}
	obj.Spec.Include = nil
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(stored(t, r, obj)).To(HaveLen(1))
	g.Expect(obj.Status.IncludedArtifacts).To(BeEmpty())
}

func TestIncludeReplacesNothing(t *testing.T) {
	g := NewWithT(t)
	main, shared, _ := family(t)
	commit(t, main, map[string]string{"shared/child.txt": "mine"})
	other := newObject(shared.URL)
	other.Name = "shared"
	r, api := including(t, other)
	g.Expect(r.Reconcile(t.Context(), other)).To(Succeed())
	g.Expect(api.Status().Update(t.Context(), other)).To(Succeed())
	obj := newObject(main.URL)
	obj.Spec.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: "shared"}}}
	g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring("shared/child.txt is there already")))
}

func TestIncludesDoNotGoInCircles(t *testing.T) {
	g := NewWithT(t)
	main, shared, _ := family(t)
	includes := func(obj *sourcev1.GitRepository, names ...string) *sourcev1.GitRepository {
		for _, name := range names {
			obj.Spec.Include = append(obj.Spec.Include, sourcev1.GitRepositoryInclude{GitRepositoryRef: meta.LocalObjectReference{Name: name}})
		}
		return obj
	}
	named := func(name string) *sourcev1.GitRepository {
		obj := newObject(shared.URL)
		obj.Name = name
		return obj
	}
	r, _ := including(t, includes(named("b"), "c"), includes(named("c"), "gone", "b", "a"))
	a := includes(newObject(main.URL), "b")
	a.Name = "a"
	g.Expect(r.Reconcile(t.Context(), a)).To(MatchError("spec.include[0]: GitRepository team/b includes this one in turn: remove one of the two"))
	g.Expect(condition(a, "IncludeUnavailable")).To(HavePrefix("True IllegalPath"))
}
