package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// TestMain is also the process that builds.
func TestMain(m *testing.M) {
	ServeIfCalled()
	os.Exit(m.Run())
}

// files are what is built, by name.
func files(t *testing.T, content ...string) filesys.FileSystem {
	t.Helper()
	made := filesys.MakeFsInMemory()
	for i := 0; i < len(content); i += 2 {
		NewWithT(t).Expect(made.WriteFile("/"+content[i], []byte(content[i+1]))).To(Succeed())
	}
	return made
}

func small(t *testing.T) filesys.FileSystem {
	t.Helper()
	return files(t, "kustomization.yaml", "namePrefix: x-\nresources: [a.yaml]\n", "a.yaml", configMap("a"))
}

func configMap(name string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n", name)
}

func configMaps(count int) string {
	var all strings.Builder
	for i := range count {
		all.WriteString(configMap(fmt.Sprint("c", i)))
	}
	return all.String()
}

// run builds, and returns the names of the objects.
func run(ctx context.Context, b *Builder, of Files) (names []string, err error) {
	err = b.Run(ctx, of, "/", func(_ string, raw []byte) error {
		var obj struct{ Metadata struct{ Name string } }
		err := json.Unmarshal(raw, &obj)
		names = append(names, obj.Metadata.Name)
		return err
	})
	return names, err
}

// pid is the process that waits for a build; 0 when there is none.
func (b *Builder) pid() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.idle) == 0 {
		return 0
	}
	return b.idle[0].command.Process.Pid
}

func TestAProcessIsReused(t *testing.T) {
	g := NewWithT(t)
	b := New(1, 0)
	g.Expect(run(t.Context(), b, small(t))).To(Equal([]string{"x-a"}))
	first := b.pid()
	g.Expect(os.ReadFile(fmt.Sprintf("/proc/%d/environ", first))).To(BeEquivalentTo("GOMAXPROCS=1\x00"), "nothing of the agent's")

	_, err := run(t.Context(), b, files(t, "kustomization.yaml", "resources: [gone.yaml]"))
	g.Expect(err).To(MatchError(ContainSubstring("gone.yaml")))
	g.Expect(b.pid()).To(Equal(first))
}

func TestAPanicOfKustomize(t *testing.T) {
	g := NewWithT(t)
	_, err := run(t.Context(), New(1, 0), files(t, "kustomization.yaml", "resources: [a.yaml]\nopenapi: {path: s.json}\npatches: [{path: a.yaml}]\n", "a.yaml", configMap("a"), "s.json", "{"))
	g.Expect(err).To(MatchError(ErrCrashed.Error()), "what it says may be a file's")
}

// kustomize keeps a schema in variables of its process.
func TestAProcessThatHasSeenASchemaEnds(t *testing.T) {
	g := NewWithT(t)
	b := New(1, 0)
	with := files(t, "kustomization.yaml", "resources: [a.yaml]\nopenapi: {path: s.json}\n", "a.yaml", configMap("a"), "s.json", `{"definitions": {}}`)
	g.Expect(run(t.Context(), b, with)).To(Equal([]string{"a"}))
	g.Expect(b.pid()).To(BeZero())
	g.Expect(run(t.Context(), b, small(t))).To(Equal([]string{"x-a"}))
}

// noticed is a file system that says so when a file is read.
type noticed struct {
	filesys.FileSystem
	read func(name string)
}

func (n noticed) ReadFile(name string) ([]byte, error) {
	n.read(name)
	return n.FileSystem.ReadFile(name)
}

// kustomize holds each object against all others: these take it a quarter of an hour.
func TestABuildEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	b := New(1, 0)
	enough := errors.New("a newer revision has come")
	ctx, cancel := context.WithCancelCause(t.Context())
	slow := noticed{files(t, "kustomization.yaml", "namePrefix: x-\nresources: [a.yaml]\n", "a.yaml", configMaps(30_000)), func(name string) {
		if strings.HasSuffix(name, "a.yaml") {
			cancel(enough)
		}
	}}
	_, err := run(ctx, b, slow)
	g.Expect(err).To(MatchError(enough))
	g.Expect(run(t.Context(), b, small(t))).To(Equal([]string{"x-a"}), "others go on")
}

// Each letter of a few megabytes takes a hundred bytes, and more.
func TestABuildThatTakesTooMuchMemory(t *testing.T) {
	g := NewWithT(t)
	b := New(1, 0)
	_, err := run(t.Context(), b, files(t, "kustomization.yaml", "resources: [a.yaml]\n", "a.yaml", configMap("a")+"data: ["+strings.Repeat("x,", 4<<20)+"x]\n"))
	g.Expect(err).To(MatchError("kustomize takes more than 768 MiB of memory for these files: make several Kustomizations of them"))
	g.Expect(run(t.Context(), b, small(t))).To(Equal([]string{"x-a"}), "others go on")
}

// kustomize ends its process on these, whether or not that has built before.
func TestFilesOnWhichKustomizeExits(t *testing.T) {
	g := NewWithT(t)
	b := New(1, 0)
	fatal := files(t, "kustomization.yaml", "resources: [c.yaml]\nconfigMapGenerator: [{name: c, behavior: merge, literals: [a=b]}]\n",
		"c.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {'': hunter2}\n")
	for range 2 {
		tries := 0
		said := ""
		logger := funcr.New(func(_, args string) { said += args }, funcr.Options{})
		_, err := run(log.IntoContext(t.Context(), logger), b, noticed{fatal, func(name string) {
			if name == "/c.yaml" {
				tries++
			}
		}})
		g.Expect(err).To(MatchError("kustomize crashed on these files: the agent's log says where"))
		g.Expect(said).To(And(ContainSubstring(`"how"="exit status 1" "asked"="the content of" "path"="/c.yaml"`), Not(ContainSubstring("hunter2"))))
		g.Expect(tries).To(Equal(1))
		g.Expect(run(t.Context(), b, small(t))).To(Equal([]string{"x-a"}), "others go on")
	}
}

// The kernel ends processes when the machine is out of memory, and those that wait as well.
func TestAProcessThatIsKilledWhileItWaits(t *testing.T) {
	g := NewWithT(t)
	b := New(1, 0)
	g.Expect(run(t.Context(), b, small(t))).To(Equal([]string{"x-a"}))
	first := b.pid()
	g.Expect(syscall.Kill(first, syscall.SIGKILL)).To(Succeed())
	g.Expect(run(t.Context(), b, small(t))).To(Equal([]string{"x-a"}))
	second := b.pid()
	g.Expect(second).NotTo(Equal(first))

	_, err := run(t.Context(), b, noticed{small(t), func(string) { _ = syscall.Kill(second, syscall.SIGKILL) }})
	g.Expect(err).To(MatchError(ErrCrashed), "it has begun")
}

// A tenant's files may make the agent crash as it reads them.
func TestAPanicWhileFilesAreRead(t *testing.T) {
	g := NewWithT(t)
	b := New(1, 0)
	g.Expect(run(t.Context(), b, small(t))).To(Equal([]string{"x-a"}))
	first := b.pid()
	g.Expect(func() { _, _ = run(t.Context(), b, noticed{small(t), func(string) { panic("at the disco") }}) }).To(Panic())
	g.Expect(syscall.Kill(first, 0)).To(MatchError(syscall.ESRCH), "nothing is left of it")
	g.Expect(run(t.Context(), b, small(t))).To(Equal([]string{"x-a"}), "others go on")
}

// Upgrades in place remove the program that runs.
func TestABuildAfterItsProgramIsGone(t *testing.T) {
	g := NewWithT(t)
	const gone = "HEADWATER_PROGRAM_IS_GONE"
	if os.Getenv(gone) != "" {
		g.Expect(os.Remove(os.Args[0])).To(Succeed())
		g.Expect(run(t.Context(), New(1, 0), small(t))).To(Equal([]string{"x-a"}))
		return
	}
	program, err := os.ReadFile(os.Args[0])
	g.Expect(err).NotTo(HaveOccurred())
	copied := filepath.Join(t.TempDir(), "program")
	g.Expect(os.WriteFile(copied, program, 0o700)).To(Succeed()) //nolint:gosec // it is run
	again := exec.CommandContext(t.Context(), copied, "-test.run=^"+t.Name()+"$")
	again.Env = append(os.Environ(), gone+"=1")
	said, err := again.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(said))
	g.Expect(copied).NotTo(BeAnExistingFile())
}

// kustomize quotes whole files, of which an error may have many.
func TestAnErrorThatIsTooLong(t *testing.T) {
	_, err := run(t.Context(), New(1, 0), files(t, "kustomization.yaml", "resources: [a.yaml]\nconfigMapGenerator: [{name: c, literals: ["+strings.Repeat("x", 2<<20)+"]}]\n", "a.yaml", configMap("a")))
	NewWithT(t).Expect(err).To(MatchError(MatchRegexp("^kustomize failed with an error of [0-9]+ bytes, which is too long to be shown$")))
}

// Whoever takes the objects may have enough of them.
func TestWhatIsNotTaken(t *testing.T) {
	g := NewWithT(t)
	b := New(1, 0)
	enough := errors.New("enough")
	g.Expect(b.Run(t.Context(), small(t), "/", func(string, []byte) error { return enough })).To(MatchError(enough))
	g.Expect(run(t.Context(), b, small(t))).To(Equal([]string{"x-a"}))
}
