package artifact

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared testenv.Shared

const playKilled = "HEADWATER_TEST_KILLED"

// TestMain plays the process that is killed while it writes.
func TestMain(m *testing.M) {
	if os.Getenv(playKilled) != "" {
		writeUntilKilled()
	}
	os.Exit(shared.Run(m))
}

func writeUntilKilled() {
	f, err := newTempFile(".")
	if err != nil {
		panic(err)
	}
	work, _, err := newTempDir(".")
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(work, "half"), []byte("a"), 0o600); err != nil {
		panic(err)
	}
	fmt.Println(f.Name())
	_, _ = os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

func TestSweepTakesWhatAKilledProcessLeft(t *testing.T) {
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), ".tmp")
	g.Expect(sweep(dir)).To(Succeed(), "an absent directory is made")

	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), playKilled+"=yes")
	child.Dir = dir
	stdin, err := child.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = stdin.Close() }()
	stdout, err := child.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(child.Start()).To(Succeed())
	name, err := bufio.NewReader(stdout).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())

	g.Expect(sweep(dir)).To(Succeed())
	g.Expect(filepath.Join(dir, strings.TrimSpace(name))).To(BeARegularFile(), "a living process keeps its files")
	g.Expect(entriesOf(t, dir)).To(HaveLen(2))

	g.Expect(child.Process.Kill()).To(Succeed())
	_ = child.Wait()
	g.Expect(sweep(dir)).To(Succeed())
	g.Expect(entriesOf(t, dir)).To(BeEmpty())
}

// The agents of a node may share a directory: while one writes, others start.
func TestASweepTakesNothingThatIsBeingMade(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	var starts sync.WaitGroup
	starts.Go(func() {
		for ctx.Err() == nil {
			_ = sweep(dir) // what it cannot list is gone
		}
	})
	defer starts.Wait()
	defer stop()
	for range 200 {
		f, err := newTempFile(dir)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(f.Name()).To(BeARegularFile())
		discard(f)
		work, done, err := newTempDir(dir)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(work).To(BeADirectory())
		done()
	}
}

// A store opens beside a leftover that cannot be removed: here for want of file
// descriptors, of which a removal holds one for each level.
func TestStoreOpensBesideALeftoverThatStays(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	temp := filepath.Join(dir, tempDirName)
	g.Expect(os.MkdirAll(filepath.Join(temp, "dir-deep", strings.Repeat("a/", 200)), 0o700)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(temp, "file-half"), nil, 0o600)).To(Succeed())

	var before unix.Rlimit
	g.Expect(unix.Getrlimit(unix.RLIMIT_NOFILE, &before)).To(Succeed())
	few := before
	few.Cur = 100
	g.Expect(unix.Setrlimit(unix.RLIMIT_NOFILE, &few)).To(Succeed())
	_, err := NewStore(StoreOptions{Dir: dir, AdvertisedAddr: "hub.test:9090"})
	g.Expect(unix.Setrlimit(unix.RLIMIT_NOFILE, &before)).To(Succeed())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(filepath.Join(temp, "dir-deep")).To(BeADirectory())
	g.Expect(filepath.Join(temp, "file-half")).NotTo(BeAnExistingFile(), "the others are removed")

	_, err = NewStore(StoreOptions{Dir: dir, AdvertisedAddr: "hub.test:9090"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entriesOf(t, temp)).To(BeEmpty(), "the next start tries again")
}

func entriesOf(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return entries
}
