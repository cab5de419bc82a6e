package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// tokenLifetime of an agent's token for the hub: longer than any run.
const tokenLifetime = 24 * time.Hour

// Options say where things are.
type Options struct {
	// Root of the repository: config/ is installed from there.
	Root string
	// HubBinary and AgentBinary are what make build makes.
	HubBinary, AgentBinary string
	// Dir is for logs, artifacts and caches. The caller removes it after Stop.
	Dir string
}

// Stack is the product on one hub. Its methods are for one goroutine.
type Stack struct {
	Options

	control   *testenv.ControlPlane
	admin     client.Client
	processes []*Process
}

// Process is the hub or an agent. It can be killed (see testenv.Process) and
// started again, as the same agent with another process id.
type Process struct {
	*testenv.Process
	// Name is hub, or the agent's.
	Name string
	// Address is where a hub serves artifacts, and an agent its metrics: host and
	// port.
	Address string
	command testenv.Command
}

// New installs the product on the control plane. Nothing of it runs yet.
func New(ctx context.Context, control *testenv.ControlPlane, options Options) (*Stack, error) {
	for _, binary := range []string{options.HubBinary, options.AgentBinary} {
		if _, err := os.Stat(binary); err != nil {
			return nil, fmt.Errorf("%w: run make build", err)
		}
	}
	types, err := Scheme()
	if err != nil {
		return nil, err
	}
	admin, err := control.Client(types)
	if err != nil {
		return nil, err
	}
	s := &Stack{Options: options, control: control, admin: admin}
	return s, s.install(ctx)
}

// Instance says how one process differs from the others of its kind. All fields
// but Name may be empty.
type Instance struct {
	// Name of the process: of its log, its ServiceAccount and its files.
	Name string
	// Agent is the name that an agent goes by, where another process has the
	// same.
	Agent string
	// Binary takes the place of the usual one.
	Binary string
	// Hub is the way to the hub's API server, where it is not the direct one.
	Hub *testenv.Proxy
	// Env is added to the environment, as "key=value".
	Env []string
}

// StartHub starts the hub with further flags.
func (s *Stack) StartHub(ctx context.Context, flags ...string) (*Process, error) {
	return s.StartHubAs(ctx, Instance{Name: "hub"}, flags...)
}

// StartHubAs starts one of several hubs, with artifacts of its own.
func (s *Stack) StartHubAs(ctx context.Context, i Instance, flags ...string) (*Process, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	outside, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	i.Binary = cmp.Or(i.Binary, s.HubBinary)
	p, err := s.start(ctx, i, "headwater-hub", append([]string{
		"--storage-path=" + filepath.Join(s.Dir, "artifacts-"+i.Name),
		"--image-storage-path=" + filepath.Join(s.Dir, "images-"+i.Name),
		"--storage-addr=" + address,
		"--storage-adv-addr=" + address,
		"--artifact-tls-addr=" + outside,
		"--artifact-tls-adv-addr=" + outside,
	}, flags...))
	if p != nil {
		p.Address = address
	}
	return p, err
}

// StartAgent starts an agent of the given name with further flags. All agents
// share one artifact cache, as those of one node do.
func (s *Stack) StartAgent(ctx context.Context, name string, flags ...string) (*Process, error) {
	return s.StartAgentAs(ctx, Instance{Name: name}, flags...)
}

// StartAgentAs starts an agent that is not like the others.
func (s *Stack) StartAgentAs(ctx context.Context, i Instance, flags ...string) (*Process, error) {
	account := "headwater-" + i.Name
	if err := s.bind(ctx, account); err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	i.Binary = cmp.Or(i.Binary, s.AgentBinary)
	p, err := s.start(ctx, i, account, append([]string{
		"--name=" + cmp.Or(i.Agent, i.Name),
		"--artifact-cache-dir=" + filepath.Join(s.Dir, "cache"),
		"--metrics-addr=" + address,
		"--debug-targets",
	}, flags...))
	if p != nil {
		p.Address = address
	}
	return p, err
}

func (s *Stack) start(ctx context.Context, i Instance, account string, flags []string) (*Process, error) {
	kubeconfig, err := s.kubeconfig(ctx, i, account)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(s.Dir, i.Name+".kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		return nil, fmt.Errorf("starting %s: %w", i.Name, err)
	}
	p := &Process{Name: i.Name, command: testenv.Command{
		Name: i.Name,
		Path: i.Binary,
		Args: append([]string{
			"--kubeconfig=" + file,
			"--runtime-namespace=" + Namespace,
			"--metrics-addr=127.0.0.1:0",
			"--health-addr=127.0.0.1:0",
		}, flags...),
		Env: append(os.Environ(), i.Env...),
		Log: filepath.Join(s.Dir, i.Name+".log"),
	}}
	if err := p.Start(); err != nil {
		return nil, err
	}
	s.processes = append(s.processes, p)
	return p, nil
}

// kubeconfig of a process for the hub.
func (s *Stack) kubeconfig(ctx context.Context, i Instance, account string) ([]byte, error) {
	direct, err := s.control.ServiceAccount(ctx, Namespace, account, nil)
	if err != nil || i.Hub == nil {
		return direct, err
	}
	token, err := s.control.Token(ctx, Namespace, account, tokenLifetime)
	if err != nil {
		return nil, err
	}
	return i.Hub.Kubeconfig(token)
}

// Start starts the process again after it has ended.
func (p *Process) Start() error {
	started, err := testenv.StartProcess(p.command)
	if err != nil {
		return err
	}
	p.Process = started
	return nil
}

// Err says which of the processes have ended by themselves or by Kill.
func (s *Stack) Err() error {
	var errs []error
	for _, p := range s.processes {
		errs = append(errs, p.Err())
	}
	return errors.Join(errs...)
}

// Stop kills the processes, last one first.
func (s *Stack) Stop() {
	for _, p := range slices.Backward(s.processes) {
		p.Kill()
	}
}

// Logs quotes the last lines of each process's log.
func (s *Stack) Logs(lines int) string {
	var text strings.Builder
	for _, p := range s.processes {
		content, err := os.ReadFile(p.command.Log)
		if err != nil {
			continue
		}
		all := strings.Split(strings.TrimSpace(string(content)), "\n")
		fmt.Fprintf(&text, "the end of the log of %s:\n  %s\n", p.Name, strings.Join(all[max(0, len(all)-lines):], "\n  "))
	}
	return text.String()
}

// freeAddress is an address on loopback that nobody listens on now. Its port is
// below those that Linux gives to connections that go out, so that none of them
// has taken it when the process listens, or listens again after a restart.
func freeAddress(ctx context.Context) (string, error) {
	const first, ports, tries = 20000, 10000, 100
	var err error
	for range tries {
		var listener net.Listener
		address := fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(ports)) //nolint:gosec // G404: chance, not secrecy
		if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err == nil {
			return address, listener.Close()
		}
	}
	return "", fmt.Errorf("looking for a free port: %w", err)
}
