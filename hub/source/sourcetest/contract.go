package sourcetest

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/record"

	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Subject is a Fetcher with a remote of its kind.
type Subject[T source.Object] struct {
	// Fetcher under test.
	Fetcher source.Fetcher[T]
	// Object reads the remote, with credentials that the remote wants.
	Object T
	// Commit adds files to the remote.
	Commit func(t *testing.T, files map[string]string)
	// Downloads counts how often the remote sent content.
	Downloads func() int
	// WrongReference makes the object ask for what the remote does not have.
	// The error has to hold the returned texts.
	WrongReference func(t *testing.T) (want []string)
	// WrongCredentials makes the remote refuse the object. The error has to
	// hold the wanted texts and none of the secrets.
	WrongCredentials func(t *testing.T) (want, secrets []string)
	// Files reads what was committed from an artifact that is no archive of
	// it; nil for those that are.
	Files func(t *testing.T, file string) map[string]string
	// Stored and Announced begin the condition and the event of a Fetcher
	// with words of its own; empty for the usual ones.
	Stored, Announced string
}

// Run holds the Fetcher to the contract; setUp makes a fresh subject for each
// test.
func Run[T source.Object](t *testing.T, setUp func(t *testing.T) *Subject[T]) {
	for name, test := range map[string]func(*testing.T, *run[T]){
		"publishes what the remote holds":      publishes[T],
		"unchanged means no fetch":             unchanged[T],
		"a new revision replaces the old":      replaces[T],
		"a lost artifact is rebuilt":           rebuilds[T],
		"a cancelled context ends the run":     cancels[T],
		"a wrong reference is named":           wrongReference[T],
		"refused credentials are named":        wrongCredentials[T],
		"a revision fetched twice is the same": repeats[T],
	} {
		t.Run(name, func(t *testing.T) { test(t, newRun(t, setUp(t))) })
	}
}

// run is a subject under a Reconciler with a store of its own.
type run[T source.Object] struct {
	*Subject[T]
	reconciler *source.Reconciler[T]
	events     *record.FakeRecorder
	dir        string
}

func newRun[T source.Object](t *testing.T, s *Subject[T]) *run[T] {
	t.Helper()
	dir := t.TempDir()
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: dir, AdvertisedAddr: "hub.test:9090"})
	gomega.NewWithT(t).Expect(err).NotTo(gomega.HaveOccurred())
	const plenty = 100
	events := record.NewFakeRecorder(plenty)
	return &run[T]{
		Subject: s,
		dir:     dir,
		events:  events,
		reconciler: &source.Reconciler[T]{
			Fetcher: s.Fetcher,
			Store:   store,
			Events:  reconcile.NewRecorder(events, nil, "source-controller", ""),
		},
	}
}

func (r *run[T]) reconcile(t *testing.T) {
	t.Helper()
	gomega.NewWithT(t).Expect(r.reconciler.Reconcile(t.Context(), r.Object)).To(gomega.Succeed())
}

// files reads the artifact that the status names, as an agent would.
func (r *run[T]) files(t *testing.T) map[string]string {
	t.Helper()
	g := gomega.NewWithT(t)
	stored := r.Object.GetArtifact()
	g.Expect(stored).NotTo(gomega.BeNil())
	g.Expect(r.reconciler.Store.Verify(stored)).To(gomega.Succeed())
	return r.read(t, filepath.Join(r.dir, stored.Path))
}

func (r *run[T]) read(t *testing.T, file string) map[string]string {
	t.Helper()
	if r.Files != nil {
		return r.Files(t, file)
	}
	g := gomega.NewWithT(t)
	f, err := os.Open(file)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	defer func() { _ = f.Close() }()
	content, err := artifact.Files(f, artifact.Limits{})
	g.Expect(err).NotTo(gomega.HaveOccurred())
	files := map[string]string{}
	for name, body := range content {
		files[name] = string(body)
	}
	return files
}

func (r *run[T]) condition(kind string) string {
	c := apimeta.FindStatusCondition(r.Object.CommonStatus().Conditions, kind)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
}

func publishes[T source.Object](t *testing.T, r *run[T]) {
	g := gomega.NewWithT(t)
	r.Commit(t, map[string]string{"base/app.yaml": "a: 1\n", "README.md": "hello"})
	r.reconcile(t)
	g.Expect(r.files(t)).To(gomega.HaveKeyWithValue("base/app.yaml", "a: 1\n"))
	g.Expect(r.files(t)).To(gomega.HaveKeyWithValue("README.md", "hello"))
	stored := r.Object.GetArtifact()
	g.Expect(stored.Revision).NotTo(gomega.BeEmpty())
	g.Expect(r.condition("ArtifactInStorage")).To(gomega.HavePrefix(cmp.Or(r.Stored, "True Succeeded stored artifact for")))
	g.Expect(r.events.Events).To(gomega.Receive(gomega.And(gomega.HavePrefix(cmp.Or(r.Announced, "Normal NewArtifact stored artifact ")), gomega.ContainSubstring(stored.Revision))))
	g.Expect(r.events.Events).NotTo(gomega.Receive())
}

func unchanged[T source.Object](t *testing.T, r *run[T]) {
	g := gomega.NewWithT(t)
	r.Commit(t, map[string]string{"a": "1"})
	r.reconcile(t)
	downloads := r.Downloads()
	before := r.Object.DeepCopyObject()
	<-r.events.Events
	for range 3 {
		r.reconcile(t)
	}
	g.Expect(r.Downloads()).To(gomega.Equal(downloads))
	g.Expect(r.Object).To(gomega.BeEquivalentTo(before), "no change, no write")
	g.Expect(r.events.Events).NotTo(gomega.Receive())
}

func replaces[T source.Object](t *testing.T, r *run[T]) {
	g := gomega.NewWithT(t)
	r.Commit(t, map[string]string{"a": "1"})
	r.reconcile(t)
	first := r.Object.GetArtifact().DeepCopy()
	r.Commit(t, map[string]string{"a": "2"})
	r.reconcile(t)
	second := r.Object.GetArtifact()
	g.Expect(second.Revision).NotTo(gomega.Equal(first.Revision))
	g.Expect(second.Path).NotTo(gomega.Equal(first.Path))
	g.Expect(r.files(t)).To(gomega.HaveKeyWithValue("a", "2"))
	g.Expect(r.reconciler.Store.Verify(first)).To(gomega.Succeed(), "an agent may be about to fetch it")
}

func rebuilds[T source.Object](t *testing.T, r *run[T]) {
	g := gomega.NewWithT(t)
	r.Commit(t, map[string]string{"a": "1"})
	r.reconcile(t)
	<-r.events.Events
	stored := r.Object.GetArtifact().DeepCopy()
	path := filepath.Join(r.dir, stored.Path)

	g.Expect(os.Remove(path)).To(gomega.Succeed())
	r.reconcile(t)
	g.Expect(r.files(t)).To(gomega.HaveKeyWithValue("a", "1"))

	g.Expect(os.WriteFile(path, []byte("damage"), 0o600)).To(gomega.Succeed())
	r.reconcile(t)
	g.Expect(r.files(t)).To(gomega.HaveKeyWithValue("a", "1"))
	g.Expect(r.Object.GetArtifact().Digest).To(gomega.Equal(stored.Digest))
	g.Expect(r.events.Events).NotTo(gomega.Receive(), "the content is the same")
}

func cancels[T source.Object](t *testing.T, r *run[T]) {
	g := gomega.NewWithT(t)
	r.Commit(t, map[string]string{"a": "1"})
	r.reconcile(t)
	r.Commit(t, map[string]string{"a": "2"})
	rev, err := r.Fetcher.Resolve(t.Context(), r.Object)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	downloads := r.Downloads()

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.Expect(r.reconciler.Reconcile(ctx, r.Object)).To(gomega.MatchError(context.Canceled))
	_, err = r.Fetcher.Fetch(ctx, r.Object, rev, t.TempDir())
	g.Expect(err).To(gomega.MatchError(context.Canceled))
	g.Expect(r.Downloads()).To(gomega.Equal(downloads))
	g.Expect(r.files(t)).To(gomega.HaveKeyWithValue("a", "1"))
}

func wrongReference[T source.Object](t *testing.T, r *run[T]) {
	r.Commit(t, map[string]string{"a": "1"})
	r.reconcile(t)
	r.fails(t, r.WrongReference(t), nil)
}

func wrongCredentials[T source.Object](t *testing.T, r *run[T]) {
	r.Commit(t, map[string]string{"a": "1"})
	r.reconcile(t)
	want, secrets := r.WrongCredentials(t)
	r.fails(t, want, secrets)
	gomega.NewWithT(t).Expect(r.condition("FetchFailed")).To(gomega.HavePrefix("True AuthenticationFailed "))
}

// fails reconciles with an error and looks whether what was published before is
// still there.
func (r *run[T]) fails(t *testing.T, want, secrets []string) {
	t.Helper()
	g := gomega.NewWithT(t)
	before := r.Object.GetArtifact().DeepCopy()
	err := r.reconciler.Reconcile(t.Context(), r.Object)
	g.Expect(err).To(gomega.HaveOccurred())
	g.Expect(r.condition("FetchFailed")).To(gomega.HavePrefix("True "))
	for _, text := range []string{err.Error(), r.condition("FetchFailed")} {
		for _, part := range want {
			g.Expect(text).To(gomega.ContainSubstring(part))
		}
		for _, secret := range secrets {
			g.Expect(text).NotTo(gomega.ContainSubstring(secret))
		}
		g.Expect(text).NotTo(gomega.ContainSubstring("\n"), "one sentence")
	}
	g.Expect(r.Object.GetArtifact()).To(gomega.Equal(before))
	g.Expect(r.files(t)).To(gomega.HaveKeyWithValue("a", "1"))
	g.Expect(r.condition("ArtifactInStorage")).To(gomega.HavePrefix("True "))
}

func repeats[T source.Object](t *testing.T, r *run[T]) {
	g := gomega.NewWithT(t)
	r.Commit(t, map[string]string{"a/b": "1", "c": "2"})
	rev, err := r.Fetcher.Resolve(t.Context(), r.Object)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	var trees []map[string]string
	for range 2 {
		dir := filepath.Join(t.TempDir(), "tree")
		g.Expect(os.Mkdir(dir, 0o700)).To(gomega.Succeed())
		content, err := r.Fetcher.Fetch(t.Context(), r.Object, rev, dir)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		if content.File != "" {
			tree := r.read(t, content.File)
			trees = append(trees, map[string]string{"a/b": tree["a/b"], "c": tree["c"]})
			continue
		}
		tree := map[string]string{}
		for _, name := range []string{"a/b", "c"} {
			body, err := fs.ReadFile(content.Files(dir), name)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			tree[name] = string(body)
		}
		trees = append(trees, tree)
		content.Close()
	}
	g.Expect(slices.Sorted(maps.Keys(trees[0]))).To(gomega.Equal([]string{"a/b", "c"}))
	g.Expect(trees[0]).To(gomega.Equal(map[string]string{"a/b": "1", "c": "2"}))
	g.Expect(trees[0]).To(gomega.Equal(trees[1]))
}
