package git_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/memory"
	. "github.com/onsi/gomega"

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
