package testenv

import (
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

func TestGitServesWhatWasCommitted(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)

	first, err := repository.Commit(t.Context(), "Start", map[string]string{
		"base/app.yaml":    "a: 1\n",
		"base/gone.yaml":   "b: 2",
		"name with spaces": "",
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(first).To(MatchRegexp("^[0-9a-f]{40}$"))
	second, err := repository.Commit(t.Context(), "Change\n\nand say why", map[string]string{"base/app.yaml": "a: 2\n"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(second).NotTo(Equal(first))
	third, err := repository.Remove(t.Context(), "Remove", "base/gone.yaml")
	g.Expect(err).NotTo(HaveOccurred())

	clone := t.TempDir()
	g.Expect(git(t, "clone", "--quiet", repository.URL, clone)).To(Succeed())
	g.Expect(os.ReadFile(filepath.Join(clone, "base", "app.yaml"))).To(Equal([]byte("a: 2\n")))
	g.Expect(filepath.Join(clone, "name with spaces")).To(BeAnExistingFile())
	g.Expect(filepath.Join(clone, "base", "gone.yaml")).NotTo(BeAnExistingFile())
	g.Expect(repository.Head(t.Context())).To(Equal(third))
}

func TestGitBranchStartsFromMain(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	g.Expect(repository.On("feature").Head(t.Context())).To(BeEmpty())
	main, err := repository.Commit(t.Context(), "Start", map[string]string{"a": "1"})
	g.Expect(err).NotTo(HaveOccurred())

	feature, err := repository.On("feature").Commit(t.Context(), "Go on", map[string]string{"b": "2"})
	g.Expect(err).NotTo(HaveOccurred())

	g.Expect(repository.Head(t.Context())).To(Equal(main))
	clone := t.TempDir()
	g.Expect(git(t, "clone", "--quiet", "--branch=feature", repository.URL, clone)).To(Succeed())
	g.Expect(filepath.Join(clone, "a")).To(BeAnExistingFile())
	g.Expect(filepath.Join(clone, "b")).To(BeAnExistingFile())
	g.Expect(repository.On("feature").Head(t.Context())).To(Equal(feature))
}

func TestGitCountsClonesApartFromLooks(t *testing.T) {
	for _, protocol := range []string{"0", "2"} {
		t.Run("protocol "+protocol, func(t *testing.T) {
			g := NewWithT(t)
			repository := newRepository(t)
			_, err := repository.Commit(t.Context(), "Start", map[string]string{"a": "1"})
			g.Expect(err).NotTo(HaveOccurred())

			version := "protocol.version=" + protocol
			g.Expect(git(t, "-c", version, "ls-remote", "--quiet", repository.URL)).To(Succeed())
			g.Expect(repository.Requests()).To(Equal(GitRequests{InfoRefs: 1}))
			g.Expect(git(t, "-c", version, "clone", "--quiet", repository.URL, t.TempDir())).To(Succeed())
			g.Expect(repository.Requests()).To(Equal(GitRequests{InfoRefs: 2, UploadPack: 1}))
		})
	}
}

func TestGitAsksForCredentials(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	_, err := repository.Commit(t.Context(), "Start", map[string]string{"a": "1"})
	g.Expect(err).NotTo(HaveOccurred())
	repository.Protect("flux", "s3cret")

	with := func(user *url.Userinfo) string {
		address, err := url.Parse(repository.URL)
		g.Expect(err).NotTo(HaveOccurred())
		address.User = user
		return address.String()
	}
	g.Expect(git(t, "ls-remote", with(nil))).NotTo(Succeed())
	g.Expect(git(t, "ls-remote", with(url.UserPassword("flux", "wrong")))).NotTo(Succeed())
	g.Expect(git(t, "clone", "--quiet", with(url.UserPassword("flux", "s3cret")), t.TempDir())).To(Succeed())
	requests := repository.Requests()
	g.Expect(requests.Denied).To(BeNumerically(">=", 2))
	g.Expect(requests.UploadPack).To(Equal(1))

	repository.Protect("", "")
	g.Expect(git(t, "ls-remote", with(nil))).To(Succeed())
}

func TestGitTakesPushes(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	_, err := repository.Commit(t.Context(), "Start", map[string]string{"a": "1"})
	g.Expect(err).NotTo(HaveOccurred())
	clone := t.TempDir()
	g.Expect(git(t, "clone", "--quiet", repository.URL, clone)).To(Succeed())
	identity := []string{"-C", clone, "-c", "user.name=x", "-c", "user.email=x@headwater.invalid"}
	g.Expect(git(t, append(identity, "commit", "--quiet", "--allow-empty", "-m", "By hand")...)).To(Succeed())
	before, err := repository.Head(t.Context())
	g.Expect(err).NotTo(HaveOccurred())

	g.Expect(git(t, "-C", clone, "push", "--quiet")).To(Succeed())

	g.Expect(repository.Head(t.Context())).NotTo(Equal(before))
}

func TestGitDoesNotKnowOtherRepositories(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	response, err := http.Get(repository.server.URL + "/other.git/info/refs?service=git-upload-pack")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(response.Body.Close()).To(Succeed())
	g.Expect(response.StatusCode).To(Equal(http.StatusNotFound))
}

func TestGitStopRemovesTheRepositories(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	g.Expect(repository.Dir).To(BeADirectory())
	repository.server.Stop()
	g.Expect(repository.Dir).NotTo(BeAnExistingFile())
}

func newRepository(t *testing.T) *Repository {
	t.Helper()
	server, err := StartGit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	repository, err := server.Repository(t.Context(), "fleet")
	if err != nil {
		t.Fatal(err)
	}
	return repository
}

// git runs the git that people have, as they would.
func git(t *testing.T, args ...string) error {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", args...)
	command.Env = append(gitEnvironment(), "GIT_TERMINAL_PROMPT=0")
	output, err := command.CombinedOutput()
	t.Logf("git %v: %s", args, output)
	return err
}
