package bases

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/testenv"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]place{
		"https://example.com/a/base.yaml":                      {url: "https://example.com/a/base.yaml"},
		"https://example.com/a/base.yaml?token=x":              {url: "https://example.com/a/base.yaml?token=x"},
		"https://github.com/org/repo":                          {url: "https://github.com/org/repo", git: true},
		"GitHub.com/org/repo/a/b?ref=v1":                       {url: "https://GitHub.com/org/repo", git: true, dir: "a/b", ref: "v1"},
		"https://example.com/group/sub/repo//a/../b?ref=x":     {url: "https://example.com/group/sub/repo", git: true, dir: "b", ref: "x"},
		"https://example.com/group/sub/repo.git/a?version=x":   {url: "https://example.com/group/sub/repo.git", git: true, dir: "a", ref: "x"},
		"http://127.0.0.1:1/repo.git?ref=x&submodules=true":    {url: "http://127.0.0.1:1/repo.git", git: true, ref: "x"},
		"git::https://example.com/org/repo":                    {url: "https://example.com/org/repo", git: true},
		"https://dev.azure.com/org/project/_git/repo/a?ref=x":  {url: "https://dev.azure.com/org/project/_git/repo", git: true, dir: "a", ref: "x"},
		"https://github.com/org/repo//../../etc":               {url: "https://github.com/org/repo", git: true, dir: "etc"},
		"https://github.com/org/repo?ref=--upload-pack%3Devil": {url: "https://github.com/org/repo", git: true, ref: "--upload-pack=evil"},
	} {
		got, err := parse(text)
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred(), text)
		g.Expect(got).To(Equal(want), text)
	}
	for _, text := range []string{
		"file:///etc/passwd", "git::file:///etc", "ssh://git@example.com/org/repo", "git@example.com:org/repo", "git::ssh://example.com/x",
		"https://me:hunter2@example.com/org/repo", "ext::sh -c id", "https://example.com", "-oProxyCommand=id", "https://",
	} {
		_, err := parse(text)
		g := NewWithT(t)
		g.Expect(err).To(HaveOccurred(), text)
		g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	}
}

// Whatever a kustomization.yaml names, what is fetched is at the host that it names, and
// what is read is below the root of the repository.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/a/base.yaml?token=x#y", "GitHub.com/org/repo/a/b?ref=v1", "https://example.com/group/sub/repo//a/../../b?ref=x",
		"git::http://127.0.0.1:1/repo.git/a?version=x", "https://dev.azure.com/org/project/_git/repo/a", "https://me:hunter2@example.com/x", "file:///etc/passwd",
		"https://example.com/a/b%2f..%2fc//%2e%2e/d", "https://[::1%25eth0]/a", "git::git::https://example.com/.git/../x", "http://[::%25%FF]/0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g := NewWithT(t)
		got, err := parse(text)
		asked, unreadable := url.Parse(strings.TrimPrefix(strings.TrimSpace(text), "git::"))
		if err != nil {
			if unreadable == nil && asked.User != nil {
				if password, ok := asked.User.Password(); ok && len(password) > 8 {
					g.Expect(err.Error()).NotTo(ContainSubstring(password))
				}
			}
			return
		}
		u, err := url.Parse(got.url)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(u.Scheme).To(BeElementOf("https", "http"))
		g.Expect(u.User).To(BeNil())
		if unreadable == nil && asked.Host != "" {
			g.Expect(u.Host).To(Equal(asked.Host))
			g.Expect(u.Scheme).To(Equal(asked.Scheme))
		} else {
			g.Expect(strings.ToLower(u.Host)).To(Equal("github.com"))
		}
		g.Expect(got.dir == "" || filepath.IsLocal(got.dir)).To(BeTrue(), got.dir)
	})
}

func TestAddresses(t *testing.T) {
	for address, fine := range map[string]bool{
		"192.0.2.1:443": true, "10.1.2.3:443": true, "127.0.0.1:80": true, "[2001:db8::1]:443": true,
		"169.254.169.254:80": false, "[fe80::1%eth0]:80": false, "[::ffff:169.254.169.254]:80": false, "[fd00:ec2::254]:80": false,
		"[fd20:ce::254]:80": false, "100.100.100.200:80": false, "0.0.0.0:80": false, "[::]:80": false, "224.0.0.1:80": false,
	} {
		NewWithT(t).Expect(refuseAddresses("tcp", address, nil) == nil).To(Equal(fine), address)
	}
}

// server is a real Git server on loopback with one repository.
func server(t *testing.T) *testenv.Repository {
	t.Helper()
	g := NewWithT(t)
	git, err := testenv.StartGit(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(git.Stop)
	repository, err := git.Repository(t.Context(), "base")
	g.Expect(err).NotTo(HaveOccurred())
	return repository
}

const most = 1 << 20

func TestARepository(t *testing.T) {
	g := NewWithT(t)
	repository := server(t)
	first, err := repository.Commit(t.Context(), "one", map[string]string{"a/kustomization.yaml": "resources: [../b.yaml]", "b.yaml": "b: 1"})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = repository.On("next").Commit(t.Context(), "two", map[string]string{"b.yaml": "b: 2"})
	g.Expect(err).NotTo(HaveOccurred())
	f := New()
	for ref, want := range map[string]string{"": "b: 1", "?ref=main": "b: 1", "?ref=next": "b: 2", "?ref=" + first: "b: 1"} {
		files, entry, err := f.Fetch(t.Context(), repository.URL+"/a"+ref, most)
		g.Expect(err).NotTo(HaveOccurred(), ref)
		g.Expect(entry).To(Equal("a"))
		g.Expect(string(files["b.yaml"])).To(Equal(want), ref)
		g.Expect(files).To(HaveLen(2))
	}
	for url, want := range map[string]string{
		repository.URL + "?ref=gone":                               `it has no branch or tag "gone"`,
		repository.URL + "?ref=--upload-pack=x":                    `it has no branch or tag "--upload-pack=x"`,
		repository.URL + "?ref=" + strings.Repeat("0", 39) + "1":   "fetching commit",
		strings.Replace(repository.URL, "base.git", "gone.git", 1): "listing the references",
	} {
		_, _, err := f.Fetch(t.Context(), url, most)
		g.Expect(err).To(MatchError(ContainSubstring(want)), url)
		g.Expect(err.Error()).NotTo(ContainSubstring("127.0.0.1"), "the caller has the URL")
	}
	repository.Protect("me", "hunter2")
	_, _, err = f.Fetch(t.Context(), repository.URL, most)
	g.Expect(err).To(MatchError(ContainSubstring("authentication required")))
}

func TestWhatIsTooLarge(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("TMPDIR", t.TempDir()) // other tests fetch bases too
	repository := server(t)
	zeros := strings.Repeat("0", 8<<20) // a few kilobytes as a packfile
	_, err := repository.Commit(t.Context(), "one", map[string]string{"a.yaml": "a: 1", "zeros.yaml": zeros})
	g.Expect(err).NotTo(HaveOccurred())
	_, _, err = New().Fetch(t.Context(), repository.URL, most)
	g.Expect(err).To(MatchError(ErrTooLarge))
	g.Expect(err).To(MatchError(ContainSubstring("zeros.yaml")))
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "headwater-base-*"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(BeEmpty(), "nothing stays on disk")
}

// What a server says of its commits and directories takes memory, and what of it is not
// read is not gone.
func TestObjectsThatAreTooLarge(t *testing.T) {
	g := NewWithT(t)
	repository := server(t)
	_, err := repository.Commit(t.Context(), "one", map[string]string{"a/a.yaml": "a: 1"})
	g.Expect(err).NotTo(HaveOccurred())
	git := func(input string, args ...string) string {
		command := exec.CommandContext(t.Context(), "git", append([]string{"-C", repository.Dir, "-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
		command.Stdin = strings.NewReader(input)
		out, err := command.Output()
		g.Expect(err).NotTo(HaveOccurred(), "git %v", args)
		return strings.TrimSpace(string(out))
	}
	empty := git("", "mktree")
	var names strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&names, "040000 tree %s\t%d%s\n", empty, i, strings.Repeat("d", 2000))
	}
	directory := git("040000 tree "+git(names.String(), "mktree")+"\tlarge\n040000 tree "+git("", "rev-parse", "main:a")+"\ta\n", "mktree")
	for branch, c := range map[string]struct{ tree, message, want string }{
		"commit":    {git("", "rev-parse", "main^{tree}"), strings.Repeat("x", 2<<20), "more than the 1048576 that are read of a commit"},
		"directory": {directory, "one", "the commit's directories have more than 33554432 bytes"},
	} {
		git("", "update-ref", "refs/heads/"+branch, git(c.message, "commit-tree", "-F", "-", c.tree))
		_, _, err := New().Fetch(t.Context(), repository.URL+"?ref="+branch, most)
		g.Expect(err).To(MatchError(ContainSubstring(c.want)), branch)
	}
}

func TestAFile(t *testing.T) {
	g := NewWithT(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/ok/base.yaml", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			http.Error(w, "credentials", http.StatusTeapot)
		}
		_, _ = w.Write([]byte("a: 1"))
	})
	mux.HandleFunc("/large.yaml", func(w http.ResponseWriter, _ *http.Request) {
		for range 64 {
			_, _ = w.Write(make([]byte, 64<<10))
		}
	})
	mux.Handle("/metadata.yaml", http.RedirectHandler("http://169.254.169.254/latest", http.StatusFound))
	mux.Handle("/passwd.yaml", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	mux.Handle("/round.yaml", http.RedirectHandler("/round.yaml", http.StatusFound))
	here := httptest.NewServer(mux)
	t.Cleanup(here.Close)
	f := New()
	files, entry, err := f.Fetch(t.Context(), here.URL+"/ok/base.yaml?x=y", most)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entry).To(Equal("base.yaml"))
	g.Expect(files).To(Equal(map[string][]byte{"base.yaml": []byte("a: 1")}))
	for path, want := range map[string]string{
		"/large.yaml": "it is too large", "/metadata.yaml": "169.254.169.254 is an address that bases are not fetched from",
		"/passwd.yaml": "redirected away from https", "/round.yaml": "redirected too often", "/gone.yaml": "the server answered 404",
	} {
		_, _, err := f.Fetch(t.Context(), here.URL+path, most)
		g.Expect(err).To(MatchError(ContainSubstring(want)), path)
	}
}

// A server that never answers holds nobody up for longer than the time there is.
func TestASilentServer(t *testing.T) {
	for _, path := range []string{"/base.yaml", "/org/repo"} {
		ctx, cancel := context.WithCancel(t.Context())
		silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			cancel() // as the time's end does
			<-r.Context().Done()
		}))
		t.Cleanup(silent.Close)
		_, _, err := New().Fetch(ctx, silent.URL+path, most)
		NewWithT(t).Expect(err).To(MatchError(context.Canceled))
	}
}
