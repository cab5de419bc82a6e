package source_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/sourcetest"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// folder is a Fetcher whose remote is a directory. spec.url is its path,
// spec.ref.tag a name that has to exist in it, and a file "password" asks for a
// secret of that name.
type folder struct {
	fetches int
	// breaks ends a Fetch after its first file.
	breaks error
}

func (*folder) Kind() string { return "GitRepository" }

func (*folder) Ignore(obj *sourcev1.GitRepository) (want *string, observed **string) {
	return obj.Spec.Ignore, &obj.Status.ObservedIgnore
}

func (*folder) Resolve(ctx context.Context, obj *sourcev1.GitRepository) (source.Revision, error) {
	if obj.Spec.Suspend {
		return source.Revision{}, reconcile.Unsupported("spec.suspend")
	}
	if ref := obj.Spec.Reference; ref != nil {
		if _, err := os.Stat(filepath.Join(obj.Spec.URL, ref.Tag)); err != nil {
			return source.Revision{}, reconcile.Fail("GitOperationFailed", fmt.Errorf("spec.ref.tag %q does not exist", ref.Tag))
		}
	}
	if secret, err := os.ReadFile(filepath.Join(obj.Spec.URL, "password")); err == nil && obj.Spec.SecretRef.Name != string(secret) {
		return source.Revision{}, reconcile.Fail("AuthenticationFailed", errors.New("Secret team/wrong is refused"))
	}
	h := fnv.New64()
	err := filepath.WalkDir(obj.Spec.URL, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		body, err := os.ReadFile(path)
		_, _ = h.Write(append(body, path...))
		return err
	})
	sum := fmt.Sprintf("%x", h.Sum64())
	return source.Revision{Name: "main@sha1:" + sum, ID: sum}, err
}

func (f *folder) Fetch(ctx context.Context, obj *sourcev1.GitRepository, _ source.Revision, dir string) (source.Content, error) {
	if err := ctx.Err(); err != nil {
		return source.Content{}, reconcile.Fail("GitOperationFailed", err)
	}
	f.fetches++
	if f.breaks != nil {
		_ = os.WriteFile(filepath.Join(dir, "half"), nil, 0o600)
		return source.Content{}, reconcile.Fail("GitOperationFailed", f.breaks)
	}
	return source.Content{Summary: "for commit 'x'"}, os.CopyFS(dir, os.DirFS(obj.Spec.URL))
}

func newObject(t *testing.T) *sourcev1.GitRepository {
	t.Helper()
	obj := &sourcev1.GitRepository{}
	obj.Namespace, obj.Name, obj.Generation = "team", "app", 3
	obj.Spec.URL = t.TempDir()
	return obj
}

func commit(t *testing.T, obj *sourcev1.GitRepository, files map[string]string) {
	t.Helper()
	for name, body := range files {
		path := filepath.Join(obj.Spec.URL, name)
		NewWithT(t).Expect(os.MkdirAll(filepath.Dir(path), 0o700)).To(Succeed())
		NewWithT(t).Expect(os.WriteFile(path, []byte(body), 0o600)).To(Succeed())
	}
}

func TestFolderKeepsTheContract(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Subject[*sourcev1.GitRepository] {
		obj, fetcher := newObject(t), &folder{}
		return &sourcetest.Subject[*sourcev1.GitRepository]{
			Fetcher:   fetcher,
			Object:    obj,
			Commit:    func(t *testing.T, files map[string]string) { commit(t, obj, files) },
			Downloads: func() int { return fetcher.fetches },
			WrongReference: func(*testing.T) []string {
				obj.Spec.Reference = &sourcev1.GitRepositoryRef{Tag: "nope"}
				return []string{"spec.ref.tag", "nope"}
			},
			WrongCredentials: func(t *testing.T) (want, secrets []string) {
				commit(t, obj, map[string]string{"password": "hunter2"})
				obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "wrong"}
				return []string{"Secret team/wrong"}, []string{"hunter2"}
			},
		}
	})
}

// world is a reconciler with a store, a clock and a folder.
type world struct {
	*source.Reconciler[*sourcev1.GitRepository]
	folder *folder
	events *record.FakeRecorder
	dir    string
	now    time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{folder: &folder{}, events: record.NewFakeRecorder(10), dir: t.TempDir(), now: time.Unix(1_700_000_000, 0)}
	w.Reconciler = &source.Reconciler[*sourcev1.GitRepository]{
		Fetcher: w.folder,
		Events:  reconcile.NewRecorder(w.events, nil, "source-controller", ""),
	}
	w.advertise(t, "hub.one:9090")
	return w
}

func (w *world) advertise(t *testing.T, addr string) {
	t.Helper()
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: w.dir, AdvertisedAddr: addr, Now: func() time.Time { return w.now }})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	w.Store = store
}

func (w *world) stored(t *testing.T, obj *sourcev1.GitRepository) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(w.dir, obj.Status.Artifact.Path))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	defer func() { _ = f.Close() }()
	files, err := artifact.Files(f, artifact.Limits{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	var names []string
	for name := range files {
		names = append(names, name)
	}
	return names
}

func conditionsOf(obj *sourcev1.GitRepository) map[string]string {
	conditions := map[string]string{}
	for _, c := range obj.Status.Conditions {
		conditions[c.Type] = fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
	}
	return conditions
}

func TestReconcilePublishes(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	commit(t, obj, map[string]string{"a": "1"})
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())

	a := obj.Status.Artifact
	sum := strings.TrimPrefix(a.Revision, "main@sha1:")
	g.Expect(a.Path).To(Equal("gitrepository/team/app/" + sum + ".tar.gz"))
	g.Expect(a.URL).To(Equal("http://hub.one:9090/gitrepository/team/app/" + sum + ".tar.gz"))
	g.Expect(conditionsOf(obj)).To(Equal(map[string]string{
		"ArtifactInStorage": "True Succeeded stored artifact for revision '" + a.Revision + "'",
	}))
	g.Expect(obj.Status.Conditions[0].ObservedGeneration).To(BeEquivalentTo(3))
	reason, message := w.Ready(obj)
	g.Expect(reason).To(Equal("Succeeded"))
	g.Expect(message).To(Equal("stored artifact for revision '" + a.Revision + "'"))
	g.Expect(<-w.events.Events).To(And(
		HavePrefix("Normal NewArtifact stored artifact for commit 'x'"),
		ContainSubstring("source.toolkit.fluxcd.io/revision:"+a.Revision),
		ContainSubstring("source.toolkit.fluxcd.io/digest:"+a.Digest)))
	g.Expect(w.Revision(obj)).To(HaveKeyWithValue("source.toolkit.fluxcd.io/revision", a.Revision))
	g.Expect(w.Revision(newObject(t))).To(BeEmpty())
	work, err := os.ReadDir(filepath.Join(w.dir, ".tmp"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(work).To(BeEmpty(), "what was fetched is removed")
}

func TestReconcileExcludes(t *testing.T) {
	tree := map[string]string{
		"app.yaml": "", "logo.png": "", ".gitignore": "", ".github/ci.yaml": "", "docs/guide.md": "", "docs/api.md": "",
		"charts/x/templates/a.yaml": "",
	}
	for _, c := range []struct {
		name         string
		ignore       *string
		sourceignore map[string]string
		want         []string
	}{
		{name: "the defaults", want: []string{"app.yaml", "docs/guide.md", "docs/api.md", "charts/x/templates/a.yaml"}},
		{name: "an empty ignore keeps the defaults", ignore: new(string),
			want: []string{"app.yaml", "docs/guide.md", "docs/api.md", "charts/x/templates/a.yaml"}},
		{name: "any pattern replaces the defaults, but for version control", ignore: new("/docs\n"),
			want: []string{"app.yaml", "logo.png", ".github/ci.yaml", "charts/x/templates/a.yaml"}},
		{name: "a file replaces them too, in its directory", sourceignore: map[string]string{"docs/.sourceignore": "*.md\n"},
			want: []string{"app.yaml", "logo.png", ".github/ci.yaml", "charts/x/templates/a.yaml", "docs/.sourceignore"}},
		{name: "the spec comes last and can take in again", ignore: new("!docs/api.md\n"),
			sourceignore: map[string]string{".sourceignore": "*.md\n"},
			want:         []string{"app.yaml", "logo.png", ".github/ci.yaml", "charts/x/templates/a.yaml", "docs/api.md", ".sourceignore"}},
		{name: "a file in a directory overrules the one above", sourceignore: map[string]string{".sourceignore": "*.md\n", "-x/.sourceignore": "!a.md\n", "-x/a.md": "", "-x/b.md": ""},
			want: []string{"app.yaml", "logo.png", ".github/ci.yaml", "charts/x/templates/a.yaml", ".sourceignore", "-x/.sourceignore", "-x/a.md"}},
		{name: "a directory of that name is no list", sourceignore: map[string]string{"x/.sourceignore/y": ""},
			want: []string{"app.yaml", "docs/guide.md", "docs/api.md", "charts/x/templates/a.yaml", "x/.sourceignore/y"}},
		{name: "everything but one directory", ignore: new("/*\n!/docs\n"), want: []string{"docs/guide.md", "docs/api.md"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, obj := newWorld(t), newObject(t)
			obj.Spec.Ignore = c.ignore
			commit(t, obj, tree)
			commit(t, obj, c.sourceignore)
			g := NewWithT(t)
			g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
			g.Expect(w.stored(t, obj)).To(ConsistOf(c.want))
			g.Expect(obj.Status.ObservedIgnore).To(Equal(c.ignore))
		})
	}
}

// Each path is held against each pattern, wherever it was read.
func TestReconcileBoundsTheExcludes(t *testing.T) {
	many := map[string]string{}
	for i := range 6 {
		many[fmt.Sprintf("%d/.sourceignore", i)] = strings.Repeat("a\n", 2000)
	}
	large := map[string]string{}
	for i := range 3 {
		large[fmt.Sprintf("%d/.sourceignore", i)] = strings.Repeat("# "+strings.Repeat("x", 997)+"\n", 100)
	}
	for _, c := range []struct {
		name   string
		ignore *string
		files  map[string]string
		want   []string
	}{
		{name: "many lines in all files", files: many, want: []string{"/.sourceignore", "10000 lines"}},
		{name: "many bytes in all files", files: large, want: []string{"/.sourceignore", "262144 bytes"}},
		{name: "many lines in the spec", ignore: new(strings.Repeat("a\n", 10_001)), want: []string{"spec.ignore", "10000 lines"}},
		{name: "a long line", files: map[string]string{".sourceignore": "b\n" + strings.Repeat("a", 5000) + "\nsecret.yaml\n"},
			want: []string{".sourceignore", "line 2", "4096 bytes"}},
		{name: "a long line in the spec", ignore: new(strings.Repeat("a", 70_000) + "\nsecret.yaml\n"),
			want: []string{"spec.ignore", "line 1", "4096 bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			w, obj := newWorld(t), newObject(t)
			obj.Spec.Ignore = c.ignore
			commit(t, obj, map[string]string{"app.yaml": "", "secret.yaml": ""})
			commit(t, obj, c.files)
			err := w.Reconcile(t.Context(), obj)
			g.Expect(err).To(HaveOccurred())
			for _, part := range c.want {
				g.Expect(err.Error()).To(ContainSubstring(part))
			}
			g.Expect(len(err.Error())).To(BeNumerically("<", 1000))
			g.Expect(obj.Status.Artifact).To(BeNil())
			g.Expect(conditionsOf(obj)).To(HaveKeyWithValue("StorageOperationFailed", HavePrefix("True SourceIgnoreError")))
		})
	}
}

// Nobody could use the artifact: that is said where it is made.
func TestReconcileRefusesWhatNoAgentUnpacks(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	commit(t, obj, map[string]string{"app.yaml": "", "zeros": ""})
	g.Expect(os.Truncate(filepath.Join(obj.Spec.URL, "zeros"), 64<<20)).To(Succeed())
	err := w.Reconcile(t.Context(), obj)
	g.Expect(err).To(MatchError(artifact.ErrTooLarge))
	g.Expect(err).To(MatchError(ContainSubstring("it unpacks to more than 500 times its size, which no agent unpacks: leave files out with spec.ignore")))
	g.Expect(obj.Status.Artifact).To(BeNil())
	g.Expect(conditionsOf(obj)).To(HaveKeyWithValue("StorageOperationFailed", HavePrefix("True ArchiveOperationFailed")))

	obj.Spec.Ignore = new("/zeros\n")
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(w.stored(t, obj)).To(ConsistOf("app.yaml"))
}

func TestReconcileEndsWithTheTimeout(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	obj.Spec.Timeout = &metav1.Duration{Duration: time.Nanosecond} // the folder does not look at it
	commit(t, obj, map[string]string{"a": "1"})
	err := w.Reconcile(t.Context(), obj)
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(err).To(MatchError(ContainSubstring("spec.timeout")))
	g.Expect(obj.Status.Artifact).To(BeNil())
	obj.Spec.Timeout = nil
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
}

func TestReconcileRebuildsWhenTheExcludesChange(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	commit(t, obj, map[string]string{"a": "1", "b": "2"})
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	first := obj.Status.Artifact.DeepCopy()
	obj.Spec.Ignore = new("b\n")
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.Revision).To(Equal(first.Revision))
	g.Expect(obj.Status.Artifact.Digest).NotTo(Equal(first.Digest))
	g.Expect(w.stored(t, obj)).To(ConsistOf("a"))
	g.Expect(w.events.Events).To(HaveLen(2))
	obj.Spec.Ignore = nil
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.Digest).To(Equal(first.Digest))
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(w.folder.fetches).To(Equal(3))
}

func TestReconcileRewritesTheURL(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	commit(t, obj, map[string]string{"a": "1"})
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	w.advertise(t, "hub.two:80")
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(obj.Status.Artifact.URL).To(HavePrefix("http://hub.two:80/gitrepository/team/app/"))
	g.Expect(w.folder.fetches).To(Equal(1))
}

func TestReconcileKeepsTheArtifactWhenAFetchBreaks(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	commit(t, obj, map[string]string{"a": "1"})
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	before := obj.Status.Artifact.DeepCopy()

	commit(t, obj, map[string]string{"a": "2"})
	w.folder.breaks = errors.New("spec.url http://u:hunter2@git.test: it broke")
	g.Expect(w.Reconcile(t.Context(), obj)).To(MatchError(w.folder.breaks))
	g.Expect(obj.Status.Artifact).To(Equal(before))
	g.Expect(w.stored(t, obj)).To(ConsistOf("a"))
	conditions := conditionsOf(obj)
	g.Expect(conditions).To(HaveKeyWithValue("ArtifactInStorage", ContainSubstring(before.Revision)))
	g.Expect(conditions).To(HaveKeyWithValue("ArtifactOutdated", HavePrefix("True NewRevision new upstream revision 'main@sha1:")))
	g.Expect(conditions).To(HaveKeyWithValue("FetchFailed", And(HavePrefix("True GitOperationFailed"), Not(ContainSubstring("hunter2")))))
	again := obj.DeepCopy()
	g.Expect(w.Reconcile(t.Context(), obj)).NotTo(Succeed())
	g.Expect(obj.Status).To(Equal(again.Status), "failing again is no change")

	w.folder.breaks = nil
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(conditionsOf(obj)).To(HaveLen(1))
	g.Expect(conditionsOf(obj)).To(HaveKey("ArtifactInStorage"))
}

// A server may quote anything at any length. The API server takes 32,768 bytes of it, or
// nothing of the whole status.
func TestReconcileBoundsWhatItQuotes(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	w.folder.breaks = errors.New(strings.Repeat("long ", 10_000))
	g.Expect(w.Reconcile(t.Context(), obj)).NotTo(Succeed())
	failed := apimeta.FindStatusCondition(obj.Status.Conditions, "FetchFailed")
	g.Expect(failed.Message).To(HavePrefix("long long"))
	g.Expect(len(failed.Message)).To(BeNumerically("<=", 32_768))
}

func TestReconcileTakesALostArtifactOutOfTheStatus(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	commit(t, obj, map[string]string{"a": "1"})
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(os.Remove(filepath.Join(w.dir, obj.Status.Artifact.Path))).To(Succeed())
	w.folder.breaks = errors.New("it broke")
	g.Expect(w.Reconcile(t.Context(), obj)).NotTo(Succeed())
	g.Expect(obj.Status.Artifact).To(BeNil())
	g.Expect(conditionsOf(obj)).NotTo(HaveKey("ArtifactInStorage"))
}

func TestReconcileStalls(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	obj.Spec.Suspend = true // what folder does not implement
	apimeta.SetStatusCondition(&obj.Status.Conditions, metav1.Condition{Type: "FetchFailed", Status: "True", Reason: "Old"})
	g.Expect(w.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring("spec.suspend is set")))
	g.Expect(conditionsOf(obj)).To(BeEmpty(), "nothing was fetched that could have failed")
}

func TestReconcileNamesAStoreThatFails(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	commit(t, obj, map[string]string{"a": "1"})
	g.Expect(os.WriteFile(filepath.Join(w.dir, "gitrepository"), nil, 0o600)).To(Succeed(), "a file is in the way")
	g.Expect(w.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring("gitrepository/team/app/")))
	g.Expect(conditionsOf(obj)).To(HaveKeyWithValue("StorageOperationFailed", HavePrefix("True ArchiveOperationFailed")))
	g.Expect(os.Remove(filepath.Join(w.dir, "gitrepository"))).To(Succeed())
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	g.Expect(conditionsOf(obj)).To(HaveLen(1))
}

func TestReconcileCollectsGarbage(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	for _, body := range []string{"1", "2", "3"} {
		commit(t, obj, map[string]string{"a": body})
		g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
		w.Settled(obj)
	}
	files := func() []os.DirEntry {
		entries, err := os.ReadDir(filepath.Join(w.dir, "gitrepository/team/app"))
		g.Expect(err).NotTo(HaveOccurred())
		return entries
	}
	g.Expect(files()).To(HaveLen(3), "two artifacts and the link")
	w.now = w.now.Add(2 * time.Minute)
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	w.Settled(obj)
	g.Expect(files()).To(HaveLen(2))
	g.Expect(w.stored(t, obj)).To(ConsistOf("a"))

	g.Expect(w.Finalize(t.Context(), obj)).To(Succeed())
	g.Expect(filepath.Join(w.dir, "gitrepository/team/app")).NotTo(BeADirectory())
}

// A status that could not be written names the artifact before, which agents fetch.
func TestGarbageIsCollectedAfterTheStatus(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	commit(t, obj, map[string]string{"a": "1"})
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	w.Settled(obj)
	written := obj.DeepCopy()
	for _, body := range []string{"2", "3", "4"} {
		w.now = w.now.Add(time.Hour)
		commit(t, obj, map[string]string{"a": body})
		g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	}
	g.Expect(w.stored(t, written)).To(ConsistOf("a"))
	w.Settled(obj)
	g.Expect(filepath.Join(w.dir, written.Status.Artifact.Path)).NotTo(BeAnExistingFile())
	g.Expect(w.stored(t, obj)).To(ConsistOf("a"))
}

func TestTheLatestLinkLeadsToWhatTheStatusNames(t *testing.T) {
	g := NewWithT(t)
	w, obj := newWorld(t), newObject(t)
	commit(t, obj, map[string]string{"a": "1"})
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	lost := obj.DeepCopy()
	commit(t, obj, map[string]string{"a": "2"})
	g.Expect(w.Reconcile(t.Context(), lost)).To(Succeed())
	g.Expect(lost.Status.Artifact.Path).NotTo(Equal(obj.Status.Artifact.Path))

	commit(t, obj, map[string]string{"a": "1"})
	g.Expect(w.Reconcile(t.Context(), obj)).To(Succeed())
	link, err := os.Readlink(filepath.Join(w.dir, filepath.Dir(obj.Status.Artifact.Path), "latest.tar.gz"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(link).To(Equal(filepath.Base(obj.Status.Artifact.Path)))
}
