package git_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	remote "github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/hub/source/git"
	"github.com/headwater-dev/headwater/hub/source/sourcetest"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
)

func newRepository(t testing.TB) *testenv.Repository {
	t.Helper()
	g := NewWithT(t)
	server, err := testenv.StartGit(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(server.Stop)
	repository, err := server.Repository(t.Context(), "fleet")
	g.Expect(err).NotTo(HaveOccurred())
	return repository
}

func commit(t testing.TB, r *testenv.Repository, files map[string]string) string {
	t.Helper()
	hash, err := r.Commit(t.Context(), "Change files\n\nand say why", files)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return hash
}

// run runs git in the bare repository and returns what it printed.
func run(t *testing.T, r *testenv.Repository, stdin string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", append([]string{"-C", r.Dir, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)...)
	command.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), stderr.String())
	return strings.TrimSpace(string(output))
}

func newFetcher(secrets ...client.Object) *git.Fetcher {
	return &git.Fetcher{Remotes: &remote.Opener{
		Secrets:   fake.NewClientBuilder().WithObjects(secrets...).Build(),
		Transport: access.NewTransport(),
	}}
}

func newObject(url string) *sourcev1.GitRepository {
	obj := &sourcev1.GitRepository{}
	obj.Namespace, obj.Name = "team", "fleet"
	obj.Spec.URL = url
	obj.Spec.Interval.Duration = time.Minute
	obj.Spec.Reference = &sourcev1.GitRepositoryRef{Branch: "main"}
	return obj
}

func newSecret(name string, data map[string]string) *corev1.Secret {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}, Data: map[string][]byte{}}
	for key, value := range data {
		secret.Data[key] = []byte(value)
	}
	return secret
}

func TestFetcherKeepsTheContract(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Subject[*sourcev1.GitRepository] {
		repository := newRepository(t)
		repository.Protect("flux", "s3cret")
		obj := newObject(repository.URL)
		obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
		return &sourcetest.Subject[*sourcev1.GitRepository]{
			Fetcher:   newFetcher(newSecret("login", map[string]string{"username": "flux", "password": "s3cret"})),
			Object:    obj,
			Commit:    func(t *testing.T, files map[string]string) { commit(t, repository, files) },
			Downloads: func() int { return repository.Requests().UploadPack },
			WrongReference: func(*testing.T) []string {
				obj.Spec.Reference.Branch = "nope"
				return []string{`spec.ref.branch "nope"`, repository.URL}
			},
			WrongCredentials: func(*testing.T) (want, secrets []string) {
				repository.Protect("flux", "changed")
				return []string{"Secret team/login", "spec.secretRef", repository.URL}, []string{"s3cret", "changed"}
			},
		}
	})
}

func TestResolveIsOneRequest(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	hash := commit(t, repository, map[string]string{"a": "1"})
	rev, err := newFetcher().Resolve(t.Context(), newObject(repository.URL))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(rev.Name).To(Equal("main@sha1:" + hash))
	g.Expect(rev.ID).To(Equal(hash))
	g.Expect(repository.Requests()).To(Equal(testenv.GitRequests{InfoRefs: 1}))
}

// fetch resolves and fetches, and returns the revision, the summary and the
// files, with their modes.
func fetch(t *testing.T, f *git.Fetcher, obj *sourcev1.GitRepository) (revision, summary string, files map[string]string) {
	t.Helper()
	g := NewWithT(t)
	rev, err := f.Resolve(t.Context(), obj)
	g.Expect(err).NotTo(HaveOccurred())
	dir := filepath.Join(t.TempDir(), "tree")
	g.Expect(os.Mkdir(dir, 0o700)).To(Succeed())
	content, err := f.Fetch(t.Context(), obj, rev, dir)
	g.Expect(err).NotTo(HaveOccurred())
	defer content.Close()
	return rev.Name, content.Summary, filesOf(t, content.Files(dir))
}

func filesOf(t *testing.T, tree fs.FS) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		body, err := fs.ReadFile(tree, name)
		files[name] = info.Mode().String() + " " + string(body)
		return err
	})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return files
}

func TestFetchReadsTheTree(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"old": "1"})
	blob := func(body string) string { return run(t, repository, body, "hash-object", "-w", "--stdin") }
	inner := run(t, repository, "100755 blob "+blob("#!/bin/sh")+"\trun.sh\n", "mktree")
	tree := run(t, repository, strings.Join([]string{
		"100644 blob " + blob("a: 1\n") + "\tapp.yaml",
		"120000 blob " + blob("/etc/passwd") + "\tlink",
		"120000 blob " + blob("inner") + "\tdirlink",
		"160000 commit " + strings.Repeat("1", 40) + "\tsubmodule",
		"040000 tree " + inner + "\tinner",
	}, "\n")+"\n", "mktree")
	hash := run(t, repository, "", "commit-tree", tree, "-p", "main", "-m", "  Build the tree\n\nwith all modes")
	run(t, repository, "", "update-ref", "refs/heads/main", hash)

	revision, summary, files := fetch(t, newFetcher(), newObject(repository.URL))
	g.Expect(revision).To(Equal("main@sha1:" + hash))
	g.Expect(summary).To(Equal("for commit 'Build the tree'"))
	g.Expect(files).To(Equal(map[string]string{
		"app.yaml":     "-rw------- a: 1\n",
		"inner/run.sh": "-rwx------ #!/bin/sh",
	}))
}

func TestFetchLargeAndSimilarFiles(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	large := strings.Repeat("0123456789abcdef", 400_000)
	commit(t, repository, map[string]string{"a": large, "b": large + "tail", "c": "small"})
	run(t, repository, "", "repack", "-adfq") // so that b is a delta of a
	_, _, files := fetch(t, newFetcher(), newObject(repository.URL))
	g.Expect(files).To(HaveLen(3))
	g.Expect(files["b"]).To(Equal("-rw------- " + large + "tail"))
}

func TestReferences(t *testing.T) {
	repository := newRepository(t)
	first := commit(t, repository, map[string]string{"a": "1"})
	run(t, repository, "", "tag", "light", first)
	run(t, repository, "", "tag", "-a", "-m", "annotated", "full", first)
	run(t, repository, "", "update-ref", "refs/pull/7/head", first)
	run(t, repository, "", "tag", "-a", "-m", "annotated", "v1.2.0", first)
	run(t, repository, "", "tag", "v1.0.0", first)
	commit(t, repository.On("feature/x"), map[string]string{"a": "x"})
	feature, err := repository.On("feature/x").Head(t.Context())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	middle := commit(t, repository, map[string]string{"a": "1.5"})
	head := commit(t, repository, map[string]string{"a": "2"})
	for _, c := range []struct {
		name, want, content string
		ref                 sourcev1.GitRepositoryRef
	}{
		{"branch", "main@sha1:" + head, "2", sourcev1.GitRepositoryRef{Branch: "main"}},
		{"branch with a slash", "feature/x@sha1:" + feature, "x", sourcev1.GitRepositoryRef{Branch: "feature/x"}},
		{"tag", "light@sha1:" + first, "1", sourcev1.GitRepositoryRef{Tag: "light"}},
		{"annotated tag", "full@sha1:" + first, "1", sourcev1.GitRepositoryRef{Tag: "full"}},
		{"semver", "v1.2.0@sha1:" + first, "1", sourcev1.GitRepositoryRef{SemVer: ">=1.0.0", Tag: "light", Branch: "main"}},
		{"name of a branch", "refs/heads/main@sha1:" + head, "2", sourcev1.GitRepositoryRef{Name: "refs/heads/main"}},
		{"name of a pull request", "refs/pull/7/head@sha1:" + first, "1", sourcev1.GitRepositoryRef{Name: "refs/pull/7/head"}},
		{"commit", "sha1:" + first, "1", sourcev1.GitRepositoryRef{Commit: first}},
		{"commit that nothing names", "sha1:" + middle, "1.5", sourcev1.GitRepositoryRef{Commit: middle}},
		{"commit that nothing names, of a branch", "main@sha1:" + middle, "1.5", sourcev1.GitRepositoryRef{Branch: "main", Commit: middle}},
		{"commit of a branch", "main@sha1:" + first, "1", sourcev1.GitRepositoryRef{Branch: "main", Commit: first}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			obj := newObject(repository.URL)
			obj.Spec.Reference = &c.ref
			revision, _, files := fetch(t, newFetcher(), obj)
			g.Expect(revision).To(Equal(c.want))
			g.Expect(files["a"]).To(HaveSuffix(c.content))
		})
	}
}

func TestFetchGivesWhatWasResolved(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"a": "1"})
	obj, fetcher := newObject(repository.URL), newFetcher()
	rev, err := fetcher.Resolve(t.Context(), obj)
	g.Expect(err).NotTo(HaveOccurred())
	commit(t, repository, map[string]string{"a": "2"})

	dir := filepath.Join(t.TempDir(), "tree")
	g.Expect(os.Mkdir(dir, 0o700)).To(Succeed())
	content, err := fetcher.Fetch(t.Context(), obj, rev, dir)
	g.Expect(err).NotTo(HaveOccurred())
	defer content.Close()
	g.Expect(filesOf(t, content.Files(dir))).To(HaveKeyWithValue("a", HaveSuffix("1")), "the branch moved meanwhile")
}

func TestFieldsThatMeanNothing(t *testing.T) {
	obj := newObject("http://127.0.0.1:1/x.git")
	obj.Spec.Provider, obj.Spec.GitImplementation = "generic", "libgit2"
	_, err := newFetcher().Resolve(t.Context(), obj)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("connection refused")))
}

// reasonOf is the reason of the condition that the error becomes; empty for a
// stall.
func reasonOf(err error) string {
	reason, _ := reconcile.ReasonOf(err)
	return reason
}

// elsewhere answers every request with the handler, as a server of its own.
func elsewhere(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func TestFailuresAreOneSentence(t *testing.T) {
	empty := newRepository(t)
	broken := elsewhere(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, strings.Repeat("leak ", 10_000))
	})
	page := elsewhere(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>leak</html>") })
	forbidden := elsewhere(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "leak", http.StatusForbidden) })
	sha256 := newRepository(t)
	NewWithT(t).Expect(os.RemoveAll(sha256.Dir)).To(Succeed())
	NewWithT(t).Expect(os.Mkdir(sha256.Dir, 0o700)).To(Succeed())
	run(t, sha256, "", "init", "--quiet", "--bare", "--object-format=sha256")
	run(t, sha256, "", "update-ref", "refs/heads/main", run(t, sha256, "", "commit-tree", run(t, sha256, "", "mktree"), "-m", "x"))
	for _, c := range []struct {
		name, url string
		want      []string
	}{
		{"objects named by SHA-256", sha256.URL, []string{"spec.url " + sha256.URL, "names its objects by SHA-256"}},
		{"empty repository", empty.URL, []string{"spec.url " + empty.URL, "is empty"}},
		{"no repository", strings.Replace(empty.URL, "fleet", "gone", 1), []string{"there is no repository", "spec.secretRef"}},
		{"no server", "http://127.0.0.1:1/x.git", []string{"spec.url http://127.0.0.1:1/x.git", "connection refused"}},
		{"no host", "http://nowhere.invalid/x.git", []string{"nowhere.invalid"}},
		{"broken server", broken.URL + "/x.git", []string{"the server answered 502"}},
		{"not a Git server", page.URL + "/x.git", []string{"spec.url " + page.URL, "not that of a Git server"}},
		{"forbidden", forbidden.URL + "/x.git", []string{"authentication failed", "spec.secretRef is not set"}},
		{"credentials in the URL", "http://user:hunter2@127.0.0.1:1/x.git?token=hunter2", []string{"spec.url http://127.0.0.1:1/x.git:"}},
		{"a URL that does not parse", "http://user:hunter2@[::1/x.git", []string{"spec.url"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := newFetcher().Resolve(t.Context(), newObject(c.url))
			g.Expect(err).To(HaveOccurred())
			for _, part := range c.want {
				g.Expect(err.Error()).To(ContainSubstring(part))
			}
			for _, never := range []string{"\n", "leak", "hunter2"} {
				g.Expect(err.Error()).NotTo(ContainSubstring(never))
			}
			g.Expect(len(err.Error())).To(BeNumerically("<", 300))
		})
	}
}

func TestUnknownCommit(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"a": "1"})
	obj, fetcher := newObject(repository.URL), newFetcher()
	obj.Spec.Reference.Commit = strings.Repeat("1", 40)
	rev, err := fetcher.Resolve(t.Context(), obj)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = fetcher.Fetch(t.Context(), obj, rev, t.TempDir())
	g.Expect(err).To(MatchError(And(ContainSubstring(obj.Spec.Reference.Commit), ContainSubstring(repository.URL))))

	obj.Spec.Reference.Commit = "main"
	_, err = fetcher.Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring(`spec.ref.commit "main"`)))
}

func TestTimeout(t *testing.T) {
	g := NewWithT(t)
	done := make(chan struct{})
	silent := elsewhere(t, func(http.ResponseWriter, *http.Request) { <-done })
	defer close(done)
	obj := newObject(silent.URL + "/x.git")
	obj.Spec.Timeout = &metav1.Duration{Duration: 50 * time.Millisecond}
	_, err := newFetcher().Resolve(t.Context(), obj)
	g.Expect(err).To(MatchError(ContainSubstring("took longer than 50ms (spec.timeout)")))
}

func TestEndlessAnswers(t *testing.T) {
	const hash = "1111111111111111111111111111111111111111"
	packet := func(line string) string { return fmt.Sprintf("%04x%s", len(line)+4, line) }
	endless := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "001e# service=git-upload-pack\n0000"+packet(hash+" refs/heads/main\x00ofs-delta\n"))
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, text); err != nil {
					return
				}
			}
		}
	}
	line := packet(hash + " refs/heads/" + strings.Repeat("x", 60_000) + "\n")
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"list":  {endless(http.StatusOK, line), "longer than 67108864 bytes"},
		"error": {endless(http.StatusInternalServerError, "leak"), "the server answered 500"},
	} {
		t.Run(name, func(t *testing.T) {
			server := elsewhere(t, c.handler)
			_, err := newFetcher().Resolve(t.Context(), newObject(server.URL+"/x.git"))
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.want)))
		})
	}
}

// preludes are what a server can send before the packfile without an end: here they
// end, late, so that who reads them all says something else.
func preludes() map[string]string {
	packet := func(line string) string { return fmt.Sprintf("%04x%s", len(line)+4, line) }
	return map[string]string{
		"shallow":  strings.Repeat(packet("shallow "+strings.Repeat("1", 40)), 30_000),
		"ack":      "0000" + strings.Repeat(packet("ACK "+strings.Repeat("1", 40)+"\n"), 30_000),
		"progress": "0000" + packet("NAK\n") + strings.Repeat(packet("\x02Counting objects\r"), 70_000) + "0000",
	}
}

const longPrelude = "more than 1048576 bytes besides what it was asked for"

func TestEndlessPreludes(t *testing.T) {
	for name, prelude := range preludes() {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			repository := newRepository(t)
			commit(t, repository, map[string]string{"a": "1"})
			server, obj, fetcher := newFront(t, repository, httptest.NewServer), newObject(repository.URL), newFetcher()
			obj.Spec.URL = server.URL + "/fleet.git"
			rev, err := fetcher.Resolve(t.Context(), obj)
			g.Expect(err).NotTo(HaveOccurred())
			server.turn(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost {
					_, _ = io.WriteString(w, prelude)
				}
				return r.Method != http.MethodPost
			})
			_, err = fetcher.Fetch(t.Context(), obj, rev, t.TempDir())
			g.Expect(err).To(MatchError(ContainSubstring(longPrelude)))
		})
	}
}
