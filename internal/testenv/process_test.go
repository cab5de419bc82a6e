package testenv

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// helperVariable makes TestHelper play a program that uses this package.
const helperVariable = "TESTENV_HELPER"

// TestHelper is no test but the programs that the others start, by their role.
// Those that have children print the directory and the processes, and end by a
// panic when their input does.
func TestHelper(t *testing.T) {
	g := NewWithT(t)
	switch os.Getenv(helperVariable) {
	case "client":
		g.Expect(listOnce(t.Context())).To(Succeed())
	case "controlplane":
		c, err := Start(t.Context(), Options{ControllerManager: true})
		g.Expect(err).NotTo(HaveOccurred())
		waitAndPanic(c.dir, c.etcd, c.api, c.manager)
	case "process":
		dir, err := newDirectory()
		g.Expect(err).NotTo(HaveOccurred())
		sleep, err := exec.LookPath("sleep")
		g.Expect(err).NotTo(HaveOccurred())
		var children []*Process
		for range 3 {
			p, err := StartProcess(Command{Path: sleep, Args: []string{"1000"}})
			g.Expect(err).NotTo(HaveOccurred())
			children = append(children, p)
		}
		waitAndPanic(dir, children...)
	}
}

func waitAndPanic(dir *directory, children ...*Process) {
	fmt.Print(dir.path)
	for _, p := range children {
		fmt.Print(" ", p.PID())
	}
	fmt.Println()
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	panic("as the test wants it")
}

// helperCommand runs TestHelper in a process of its own.
func helperCommand(role string, env ...string) *exec.Cmd {
	command := exec.Command(os.Args[0], "-test.run=^TestHelper$")
	command.Env = append(append(os.Environ(), helperVariable+"="+role), env...)
	return command
}

// program is the test binary playing a program.
type program struct {
	*exec.Cmd
	stdin    io.Closer
	dir      string
	children []int
}

func startProgram(t *testing.T, role string) *program {
	t.Helper()
	p := &program{Cmd: helperCommand(role)}
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the helper said %q: %v", line, err)
	}
	fields := strings.Fields(line)
	p.dir = fields[0]
	for _, field := range fields[1:] {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		p.children = append(p.children, pid)
	}
	return p
}

func TestNothingOutlivesTheParent(t *testing.T) {
	kill := func(signal syscall.Signal) func(*program) error {
		return func(p *program) error { return p.Process.Signal(signal) }
	}
	for _, test := range []struct {
		name, role string
		end        func(*program) error
	}{
		{"panic", "process", func(p *program) error { return p.stdin.Close() }},
		{"ctrl-c", "process", kill(syscall.SIGINT)},
		{"kill -9", "process", kill(syscall.SIGKILL)},
		{"kill -9 with a control plane", "controlplane", kill(syscall.SIGKILL)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := startProgram(t, test.role)
			g.Expect(p.children).To(HaveLen(3))
			for _, pid := range p.children {
				g.Expect(runs(pid)).To(BeTrue(), "child %d", pid)
			}
			g.Expect(test.end(p)).To(Succeed())
			g.Expect(p.Wait()).NotTo(Succeed())
			for _, pid := range p.children {
				g.Eventually(runs).WithArguments(pid).WithTimeout(10*time.Second).Should(BeFalse(), "child %d", pid)
			}
		})
	}
}

// runs tells whether a process exists and is not a zombie, which nobody may
// have waited for once its parent is dead.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func TestDirectoriesOfTheDeadAreSwept(t *testing.T) {
	g := NewWithT(t)
	p := startProgram(t, "process")
	alive, err := newDirectory()
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(alive.remove()).To(Succeed()) }()
	g.Expect(p.dir).To(BeADirectory(), "its owner is alive")

	g.Expect(p.Process.Kill()).To(Succeed())
	g.Expect(p.Wait()).NotTo(Succeed())
	other, err := newDirectory()
	g.Expect(err).NotTo(HaveOccurred())

	g.Expect(p.dir).NotTo(BeAnExistingFile())
	g.Expect(alive.path).To(BeADirectory())
	g.Expect(other.remove()).To(Succeed())
	g.Expect(other.path).NotTo(BeAnExistingFile())
}

func TestProcessTellsHowItEnded(t *testing.T) {
	g := NewWithT(t)
	log := filepath.Join(t.TempDir(), "log")
	p, err := StartProcess(Command{Name: "greeter", Path: "/bin/sh", Args: []string{"-c", "echo hello; exit 3"}, Log: log})
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(p.Done()).Should(BeClosed())
	g.Expect(p.Err()).To(MatchError(And(ContainSubstring("greeter ended: exit status 3"), ContainSubstring("hello"))))
	g.Expect(p.Signal(syscall.SIGTERM)).To(Succeed(), "it has ended already")
	p.Kill()
}

func TestProcessThatDoesNotStart(t *testing.T) {
	g := NewWithT(t)
	_, err := StartProcess(Command{Path: filepath.Join(t.TempDir(), "missing")})
	g.Expect(err).To(MatchError(ContainSubstring("starting missing")))
}

func TestKillEndsTheWholeGroup(t *testing.T) {
	g := NewWithT(t)
	log := filepath.Join(t.TempDir(), "log")
	p, err := StartProcess(Command{Path: "/bin/sh", Args: []string{"-c", "sleep 1000 & echo $!; wait"}, Log: log})
	g.Expect(err).NotTo(HaveOccurred())
	var grandchild int
	g.Eventually(func() error {
		content, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		grandchild, err = strconv.Atoi(strings.TrimSpace(string(content)))
		return err
	}).Should(Succeed())
	g.Expect(p.Err()).NotTo(HaveOccurred())
	p.Kill()
	g.Eventually(runs).WithArguments(grandchild).Should(BeFalse())
}
