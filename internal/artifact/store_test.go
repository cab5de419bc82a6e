package artifact_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/artifact"
)

var app = artifact.Ref{Kind: "GitRepository", Namespace: "team", Name: "app"}

// clockwork is a clock that stands until it is moved.
type clockwork struct{ now time.Time }

func (c *clockwork) Now() time.Time { return c.now }

func newStore(t *testing.T) (*artifact.Store, string, *clockwork) {
	t.Helper()
	dir, clock := t.TempDir(), &clockwork{now: time.Unix(1_700_000_000, 0)}
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: dir, AdvertisedAddr: "hub.example:9090", Now: clock.Now})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return store, dir, clock
}

func write(content string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	}
}

func publish(t *testing.T, store *artifact.Store, file, content string) *meta.Artifact {
	t.Helper()
	a, err := store.Publish(t.Context(), app, "main@sha1:"+file, file+".tar.gz", write(content))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return a
}

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestStorePublishes(t *testing.T) {
	g := NewWithT(t)
	store, dir, clock := newStore(t)
	a := publish(t, store, "abc", "hello")
	g.Expect(a.Path).To(Equal("gitrepository/team/app/abc.tar.gz"))
	g.Expect(a.URL).To(Equal("http://hub.example:9090/gitrepository/team/app/abc.tar.gz"))
	g.Expect(a.Revision).To(Equal("main@sha1:abc"))
	g.Expect(a.Digest).To(Equal(digestOf("hello")))
	g.Expect(*a.Size).To(BeEquivalentTo(5))
	g.Expect(a.LastUpdateTime.Time.Equal(clock.now)).To(BeTrue())
	g.Expect(store.Verify(a)).To(Succeed())

	link, err := os.Readlink(filepath.Join(dir, "gitrepository/team/app/latest.tar.gz"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(link).To(Equal("abc.tar.gz"))
	g.Expect(filesBelow(t, filepath.Join(dir, ".tmp"))).To(BeEmpty())
}

func TestStoreKeepsTheOldArtifactWhenPublishingFails(t *testing.T) {
	g := NewWithT(t)
	store, dir, _ := newStore(t)
	a := publish(t, store, "abc", "hello")
	broken := errors.New("the disk is full")
	_, err := store.Publish(t.Context(), app, "r", "abc.tar.gz", func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return broken
	})
	g.Expect(err).To(MatchError(broken))
	g.Expect(err).To(MatchError(ContainSubstring("gitrepository/team/app/abc.tar.gz")))
	g.Expect(store.Verify(a)).To(Succeed())
	g.Expect(filesBelow(t, filepath.Join(dir, ".tmp"))).To(BeEmpty())
}

func TestStoreRefusesPathsThatLeadOut(t *testing.T) {
	store, dir, _ := newStore(t)
	for _, c := range []struct {
		ref  artifact.Ref
		file string
	}{
		{artifact.Ref{Kind: "K", Namespace: "..", Name: "n"}, "f"},
		{artifact.Ref{Kind: "K", Namespace: "n", Name: "../../x"}, "f"},
		{artifact.Ref{Kind: "", Namespace: "n", Name: "n"}, "f"},
		{app, "../f"}, {app, ".hidden"}, {app, ""}, {app, "latest.tar.gz"},
	} {
		g := NewWithT(t)
		_, err := store.Publish(t.Context(), c.ref, "r", c.file, write("x"))
		g.Expect(err).To(HaveOccurred(), "%v %q", c.ref, c.file)
		g.Expect(filesBelow(t, dir)).To(Equal([]string{".tmp"}))
	}
	NewWithT(t).Expect(store.Remove(artifact.Ref{Kind: "K", Namespace: ".."})).NotTo(Succeed())
}

func TestStoreVerify(t *testing.T) {
	g := NewWithT(t)
	store, dir, _ := newStore(t)
	a := publish(t, store, "abc", "hello")
	local := filepath.Join(dir, filepath.FromSlash(a.Path))

	g.Expect(os.WriteFile(local, []byte("jello"), 0o600)).To(Succeed())
	g.Expect(store.Verify(a)).To(MatchError(artifact.ErrDigest))
	g.Expect(local).NotTo(BeAnExistingFile(), "a damaged artifact is not served")
	g.Expect(store.Verify(a)).To(MatchError(artifact.ErrNotFound))

	foreign := *a
	foreign.Path = "../../etc/passwd"
	g.Expect(store.Verify(&foreign)).To(MatchError(artifact.ErrNotFound))
	foreign.Digest = "md5:abc"
	g.Expect(store.Verify(&foreign)).To(MatchError(artifact.ErrDigest))
}

// A reader that has not heard of the artifact that took the place of its own takes
// nothing from those who have.
func TestStoreKeepsWhatAReaderDoesNotKnow(t *testing.T) {
	g := NewWithT(t)
	store, _, _ := newStore(t)
	before := publish(t, store, "abc", "hello")
	after := publish(t, store, "abc", "hello again")
	g.Expect(after.Path).To(Equal(before.Path))
	_, err := store.Open(before)
	g.Expect(err).To(MatchError(artifact.ErrDigest))
	f, err := store.Open(after)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Close()).To(Succeed())
}

func TestStoreTakesNoMoreThanAgentsDownload(t *testing.T) {
	g := NewWithT(t)
	store, dir, _ := newStore(t)
	zeros := make([]byte, 1<<20)
	fill := func(mib int) error {
		_, err := store.Publish(t.Context(), app, "main@sha1:abc", "abc.tar.gz", func(w io.Writer) error {
			for range mib {
				if _, err := w.Write(zeros); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	}
	g.Expect(fill(257)).To(MatchError(artifact.ErrTooLarge))
	g.Expect(filesBelow(t, dir)).To(Equal([]string{".tmp"}))
	g.Expect(fill(256)).To(Succeed())
}

// TestStoreReadsAFileNowAndThen counts the bytes that this process reads.
func TestStoreReadsAFileNowAndThen(t *testing.T) {
	g := NewWithT(t)
	store, dir, clock := newStore(t)
	content := strings.Repeat("hello", 1<<20)
	a := publish(t, store, "abc", content)
	local := filepath.Join(dir, filepath.FromSlash(a.Path))
	reads := func() bool {
		t.Helper()
		before := bytesRead(t)
		g.Expect(store.Verify(a)).To(Succeed())
		return bytesRead(t)-before >= len(content)
	}
	clock.now = time.Now()
	g.Expect(reads()).To(BeTrue(), "nobody has read it since it was written")
	g.Expect(reads()).To(BeTrue(), "it was written just now, and may be so again without a trace")

	clock.now = clock.now.Add(time.Minute)
	g.Expect(reads()).To(BeTrue())
	g.Expect(reads()).To(BeFalse(), "nobody has touched it")
	clock.now = clock.now.Add(11 * time.Minute)
	g.Expect(reads()).To(BeTrue(), "a disk may lose bits by itself")
	g.Expect(reads()).To(BeFalse())

	opened, err := store.Open(a)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(opened.Close()).To(Succeed())
	before, err := os.Stat(local)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(local, []byte("jello"+content[len("jello"):]), 0o600)).To(Succeed())
	g.Expect(os.Chtimes(local, before.ModTime(), before.ModTime())).To(Succeed(), "as a copy that keeps times does")
	g.Expect(store.Verify(a)).To(MatchError(artifact.ErrDigest))
}

// bytesRead is what this process has read from files so far.
func bytesRead(t *testing.T) int {
	t.Helper()
	g := NewWithT(t)
	content, err := os.ReadFile("/proc/self/io")
	g.Expect(err).NotTo(HaveOccurred())
	var count int
	_, err = fmt.Sscanf(string(content), "rchar: %d", &count)
	g.Expect(err).NotTo(HaveOccurred())
	return count
}

func TestStoreKeepsAReplacedArtifactForTheTTL(t *testing.T) {
	g := NewWithT(t)
	store, dir, clock := newStore(t)
	publish(t, store, "old", "1")
	clock.now = clock.now.Add(24 * time.Hour)
	current := publish(t, store, "new", "2")

	removed, err := store.GC(app, current.Path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(removed).To(BeZero(), "an agent may be about to fetch it")

	clock.now = clock.now.Add(61 * time.Second)
	removed, err = store.GC(app, current.Path)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(removed).To(Equal(1))
	g.Expect(filesBelow(t, filepath.Join(dir, "gitrepository/team/app"))).To(ConsistOf("new.tar.gz", "latest.tar.gz"))
}

func TestStoreRemove(t *testing.T) {
	g := NewWithT(t)
	store, dir, _ := newStore(t)
	publish(t, store, "abc", "hello")
	other, err := store.Publish(t.Context(), artifact.Ref{Kind: "GitRepository", Namespace: "team", Name: "app2"}, "r", "f", write("x"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(store.Remove(app)).To(Succeed())
	g.Expect(store.Remove(app)).To(Succeed(), "gone is gone")
	g.Expect(filesBelow(t, filepath.Join(dir, "gitrepository/team"))).To(Equal([]string{"app2"}))
	g.Expect(store.Verify(other)).To(Succeed())
	removed, err := store.GC(app, "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(removed).To(BeZero())
}

func TestStoreNeedsItsOptions(t *testing.T) {
	_, err := artifact.NewStore(artifact.StoreOptions{Dir: t.TempDir()})
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("--storage-adv-addr")))
}
