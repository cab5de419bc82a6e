package git_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/memory"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/git"
)

// TestAnEndlessReport is what a server says to a push; here it ends, late.
func TestAnEndlessReport(t *testing.T) {
	g := NewWithT(t)
	packet := func(line string) string { return fmt.Sprintf("%04x%s", len(line)+4, line) }
	old, commit := strings.Repeat("1", 40), strings.Repeat("2", 40)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := packet("unpack ok\n") + strings.Repeat(packet("ok refs/heads/main\n"), 50_000) + "0000"
		if r.Method == http.MethodGet {
			answer = packet("# service=git-receive-pack\n") + "0000" + packet(old+" refs/heads/main\x00report-status\n") + "0000"
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	obj := &sourcev1.GitRepository{Spec: sourcev1.GitRepositorySpec{URL: server.URL + "/fleet.git"}}
	session, err := (&git.Opener{Transport: access.NewTransport()}).Open(t.Context(), obj)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(session.Close)
	err = session.Push(t.Context(), git.Pack{Objects: memory.NewStorage()},
		[]git.Update{{Name: "refs/heads/main", Old: plumbing.NewHash(old), New: plumbing.NewHash(commit)}})
	g.Expect(err).To(MatchError(ContainSubstring("more than 1048576 bytes besides what it was asked for")))
}

// A push begins with a list of its own, at the URL of the spec: where the list
// before it was redirected to, nobody is shown the credentials.
func TestAPushAfterARedirectShowsNoCredentials(t *testing.T) {
	g := NewWithT(t)
	old := strings.Repeat("1", 40)
	var mu sync.Mutex
	shown := map[string][]string{}
	note := func(server string, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		shown[server] = append(shown[server], r.Header.Get("Authorization"))
	}
	packet := func(line string) string { return fmt.Sprintf("%04x%s", len(line)+4, line) }
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note("other", r)
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, packet("# service="+r.URL.Query().Get("service")+"\n")+"0000"+packet(old+" refs/heads/main\x00report-status\n")+"0000")
			return
		}
		_, _ = io.WriteString(w, packet("unpack ok\n")+packet("ok refs/heads/main\n")+"0000")
	}))
	t.Cleanup(other.Close)
	moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note("moved", r)
		http.Redirect(w, r, other.URL+r.URL.RequestURI(), http.StatusMovedPermanently)
	}))
	t.Cleanup(moved.Close)
	login := &corev1.Secret{Data: map[string][]byte{"username": []byte("flux"), "password": []byte("hunter2")}}
	login.Namespace, login.Name = "team", "login"
	obj := &sourcev1.GitRepository{Spec: sourcev1.GitRepositorySpec{
		URL: moved.URL + "/fleet.git", SecretRef: &meta.LocalObjectReference{Name: "login"},
	}}
	obj.Namespace = "team"
	session, err := (&git.Opener{Secrets: fake.NewClientBuilder().WithObjects(login).Build(), Transport: access.NewTransport()}).Open(t.Context(), obj)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(session.Close)
	_, err = session.List(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(session.Push(t.Context(), git.Pack{Objects: memory.NewStorage()},
		[]git.Update{{Name: "refs/heads/main", Old: plumbing.NewHash(old), New: plumbing.ZeroHash}})).To(Succeed())
	mu.Lock()
	defer mu.Unlock()
	g.Expect(shown["moved"]).To(And(HaveLen(2), HaveEach(HavePrefix("Basic "))))
	g.Expect(shown["other"]).To(And(HaveLen(3), HaveEach(BeEmpty())))
}
