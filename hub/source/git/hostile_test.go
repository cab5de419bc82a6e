package git_test

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// cut ends an answer after some bytes, as a broken connection does.
type cut struct {
	http.ResponseWriter
	left int
}

// random is text that does not compress.
func random(size int) string {
	content := make([]byte, size/2)
	_, _ = rand.Read(content) // never fails
	return hex.EncodeToString(content)
}

func (c *cut) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

// drip answers a byte now and then, of what could be a long packet, until the
// client has gone.
func drip(w http.ResponseWriter, r *http.Request) {
	rest := "fff0"
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-ticks.C:
			_, _ = io.WriteString(w, rest[:1])
			if rest = rest[1:]; rest == "" {
				rest = "x"
			}
			w.(http.Flusher).Flush()
		}
	}
}

// TestServersThatMisbehave has a server turn bad once there is an artifact.
func TestServersThatMisbehave(t *testing.T) {
	var elsewhere *front
	answer := func(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			http.Error(w, "leak", code)
			return false
		}
	}
	fetches := func(then func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool { return r.Method != http.MethodPost || then(w, r) }
	}
	for name, c := range map[string]struct {
		guard  func(http.ResponseWriter, *http.Request) bool
		reason string
		want   string
	}{
		"401":                 {answer(http.StatusUnauthorized), "AuthenticationFailed", "does not accept the credentials of Secret team/login"},
		"403":                 {answer(http.StatusForbidden), "AuthenticationFailed", "does not accept the credentials of Secret team/login"},
		"404":                 {answer(http.StatusNotFound), "GitOperationFailed", "there is no repository, or the credentials of Secret team/login"},
		"429":                 {answer(http.StatusTooManyRequests), "GitOperationFailed", "the server answered 429"},
		"429 and when":        {answer(http.StatusTooManyRequests, "Retry-After", "17"), "GitOperationFailed", "the server answered 429: trying again in 17s"},
		"503 and when":        {answer(http.StatusServiceUnavailable, "Retry-After", "100000000"), "GitOperationFailed", "the server answered 503: trying again in 1h0m0s"},
		"401 for the objects": {fetches(answer(http.StatusUnauthorized)), "AuthenticationFailed", "does not accept the credentials"},
		"429 for the objects": {fetches(answer(http.StatusTooManyRequests, "Retry-After", "17")), "GitOperationFailed", "trying again in 17s"},
		"a list by drops":     {func(w http.ResponseWriter, r *http.Request) bool { drip(w, r); return false }, "GitOperationFailed", "listing the references: it took longer than 5s (spec.timeout)"},
		"objects by drops":    {fetches(func(w http.ResponseWriter, r *http.Request) bool { drip(w, r); return false }), "GitOperationFailed", "took longer than 5s (spec.timeout)"},
		"a truncated list":    {nil, "GitOperationFailed", "listing the references"},
		"a truncated pack":    {nil, "GitOperationFailed", "fetching commit"},
		"a redirect of a fetch": {fetches(func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return false
		}), "GitOperationFailed", "redirect on non-initial request"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			repository := newRepository(t)
			commit(t, repository, map[string]string{"a": "1"})
			elsewhere = newFront(t, repository, httptest.NewServer)
			server := newFront(t, repository, httptest.NewServer)
			obj := newObject(server.URL + "/fleet.git")
			obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
			r := reconciler(t, newFetcher(newSecret("login", map[string]string{"username": "flux", "password": "hunter2"})))
			g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())

			commit(t, repository, map[string]string{"a": "2", "big": random(100_000)})
			obj.Spec.Timeout = &metav1.Duration{Duration: 30 * time.Second}
			if strings.Contains(name, "drops") {
				obj.Spec.Timeout.Duration = 5 * time.Second
			}
			switch name {
			case "a truncated list":
				server.limit(func(*http.Request) int { return 100 })
			case "a truncated pack":
				server.limit(func(r *http.Request) int {
					if r.Method == http.MethodPost {
						return 50_000
					}
					return 1 << 20
				})
			default:
				server.turn(c.guard)
			}
			err := r.Reconcile(t.Context(), obj)
			g.Expect(err).To(MatchError(And(ContainSubstring(c.want), HavePrefix("spec.url "+server.URL))))
			g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True " + c.reason))
			g.Expect(err.Error()).NotTo(Or(ContainSubstring("leak"), ContainSubstring("hunter2"), ContainSubstring("\n")))
			g.Expect(stored(t, r, obj)).To(Equal(map[string]string{"a": "1"}), "the last good artifact stays")
			g.Expect(elsewhere.authorizations()).To(BeEmpty())

			server.turn(nil)
			server.limit(nil)
			obj.Spec.Timeout = nil
			g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())
			g.Expect(stored(t, r, obj)).To(HaveKeyWithValue("a", "2"))
		})
	}
}

// TestATreeWithoutEnd has half a million files, which are two trees and one file.
func TestATreeWithoutEnd(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"a": "1"})
	obj := newObject(repository.URL)
	r := reconciler(t, newFetcher())
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())

	tree := func(count int, mode, kind, object string) string {
		var entries strings.Builder
		for i := range count {
			fmt.Fprintf(&entries, "%s %s %s\t%03d\n", mode, kind, object, i)
		}
		return run(t, repository, entries.String(), "mktree")
	}
	blob := run(t, repository, "x", "hash-object", "-w", "--stdin")
	root := tree(501, "040000", "tree", tree(1000, "100644", "blob", blob))
	push(t, repository, root)
	g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring("the commit has more than 500000 files: name the directories that are needed in spec.sparseCheckout")))
	g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True GitOperationFailed"))
	g.Expect(stored(t, r, obj)).To(Equal(map[string]string{"a": "1"}), "the last good artifact stays")

	obj.Spec.SparseCheckout = []string{"007"}
	g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed(), "the remedy")
	g.Expect(stored(t, r, obj)).To(HaveLen(1000))
}

// TestTreesThatGitItselfDoesNotMake have names that lead elsewhere, or no file
// system takes.
func TestTreesThatGitItselfDoesNotMake(t *testing.T) {
	for name, c := range map[string]struct {
		entries []string // modes and names
		want    string
	}{
		"up":               {[]string{"100644 .."}, `by a name that no file system takes: ".."`},
		"up, a directory":  {[]string{"40000 .."}, `by a name that no file system takes: ".."`},
		"itself":           {[]string{"40000 ."}, `by a name that no file system takes: "."`},
		"a path":           {[]string{"100644 ../../etc/cron.d/x"}, `by a name that no file system takes: "../../etc/cron.d/x"`},
		"from the root":    {[]string{"100644 /etc/passwd"}, `by a name that no file system takes: "/etc/passwd"`},
		"twice":            {[]string{"100644 b", "100755 b"}, `"b" is in the commit twice`},
		"a file and a dir": {[]string{"100644 b", "40000 b"}, `"b" is in the commit twice`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			repository := newRepository(t)
			commit(t, repository, map[string]string{"a": "1"})
			obj := newObject(repository.URL)
			r := reconciler(t, newFetcher())
			g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())

			blob := run(t, repository, "x", "hash-object", "-w", "--stdin")
			dir := run(t, repository, "100644 blob "+blob+"\tfile\n", "mktree")
			push(t, repository, rawTree(t, repository, c.entries, map[bool]string{false: blob, true: dir}))
			g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring(c.want)))
			g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True GitOperationFailed"))
			g.Expect(stored(t, r, obj)).To(Equal(map[string]string{"a": "1"}), "the last good artifact stays")
		})
	}
}

// TestATreeThatIsTooDeep has directories in directories until their path is longer
// than any that can be opened.
func TestATreeThatIsTooDeep(t *testing.T) {
	g := NewWithT(t)
	repository := newRepository(t)
	commit(t, repository, map[string]string{"a": "1"})
	tree := run(t, repository, "100644 blob "+run(t, repository, "x", "hash-object", "-w", "--stdin")+"\tfile\n", "mktree")
	long := strings.Repeat("d", 200)
	for range 25 {
		tree = run(t, repository, "040000 tree "+tree+"\t"+long+"\n", "mktree")
	}
	push(t, repository, tree)
	obj := newObject(repository.URL)
	r := reconciler(t, newFetcher())
	g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring("by a name that no file system takes")))
}

// TestObjectsThatAreTooLarge are small as they are sent. Taken apart they would not
// fit into the memory of the hub.
func TestObjectsThatAreTooLarge(t *testing.T) {
	for name, c := range map[string]struct {
		push func(t *testing.T, r *testenv.Repository, tree string)
		want string
	}{
		"a commit": {func(t *testing.T, r *testenv.Repository, tree string) {
			run(t, r, "", "update-ref", "refs/heads/main", run(t, r, strings.Repeat("x", 2<<20), "commit-tree", tree, "-p", "main"))
		}, "more than the 1048576 that are read of a commit"},
		"a directory": {func(t *testing.T, r *testenv.Repository, tree string) {
			var entries []string
			for i := range 20_000 {
				entries = append(entries, fmt.Sprintf("40000 %05d%s", i, strings.Repeat("d", 2000)))
			}
			push(t, r, rawTree(t, r, entries, map[bool]string{true: tree}))
		}, "the commit's directories have more than 33554432 bytes"},
		"many directories": {func(t *testing.T, r *testenv.Repository, tree string) {
			for _, prefix := range []string{strings.Repeat("d", 200), ""} {
				var entries strings.Builder
				for i := range 500 {
					fmt.Fprintf(&entries, "040000 tree %s\t%s%03d\n", tree, prefix, i)
				}
				tree = run(t, r, entries.String(), "mktree")
			}
			push(t, r, tree)
		}, "the commit's directories have more than 33554432 bytes"},
		"paths": {func(t *testing.T, r *testenv.Repository, tree string) {
			var entries strings.Builder
			for i := range 30_000 {
				fmt.Fprintf(&entries, "040000 tree %s\t%05d\n", tree, i)
			}
			tree = run(t, r, entries.String(), "mktree")
			for range 10 {
				tree = run(t, r, "040000 tree "+tree+"\t"+strings.Repeat("d", 255)+"\n", "mktree")
			}
			push(t, r, tree)
		}, "the paths of the commit's files have more than 67108864 bytes: name the directories"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			repository := newRepository(t)
			commit(t, repository, map[string]string{"a": "1"})
			obj := newObject(repository.URL)
			r := reconciler(t, newFetcher())
			g.Expect(r.Reconcile(t.Context(), obj)).To(Succeed())

			c.push(t, repository, run(t, repository, "", "rev-parse", "main^{tree}"))
			g.Expect(r.Reconcile(t.Context(), obj)).To(MatchError(ContainSubstring(c.want)))
			g.Expect(condition(obj, "FetchFailed")).To(HavePrefix("True GitOperationFailed"))
			g.Expect(stored(t, r, obj)).To(Equal(map[string]string{"a": "1"}), "the last good artifact stays")
		})
	}
}

// rawTree is a tree of these entries as they are: each has one of two objects, the
// second where it is a directory.
func rawTree(t *testing.T, r *testenv.Repository, entries []string, objects map[bool]string) string {
	t.Helper()
	var content strings.Builder
	for _, entry := range entries {
		hash, err := hex.DecodeString(objects[strings.HasPrefix(entry, "40000")])
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		content.WriteString(entry + "\x00" + string(hash))
	}
	return run(t, r, content.String(), "hash-object", "-t", "tree", "--literally", "-w", "--stdin")
}

// push makes the tree the next commit.
func push(t *testing.T, r *testenv.Repository, tree string) {
	t.Helper()
	run(t, r, "", "update-ref", "refs/heads/main", run(t, r, "", "commit-tree", tree, "-m", "Grow", "-p", "main"))
}
