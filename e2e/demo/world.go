package main

import (
	"context"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// The times that decide how soon a dead agent is replaced are shorter than the
// defaults, so that the demo takes two minutes. Their proportions are kept.
const (
	memberLease    = "--member-lease-duration=6s" // an agent that does not renew it is dead
	reassignAfter  = "--reassign-after=3s"        // so much later its clusters go to others
	fenceDuration  = "--fence-duration=9s"        // who waited so long, and one request, may write
	requestTimeout = "--request-timeout=3s"
)

// agentNames are what the Pods of a StatefulSet would be called.
func agentNames() []string { return []string{"agent-0", "agent-1"} }

// world is everything that runs: six servers and three processes of ours.
type world struct {
	options
	screen *screen

	dir        string
	hub        *cluster
	targets    []*cluster
	repository *repository
	registry   *testenv.Registry
	product    *stack.Stack
	hubProcess *stack.Process
	agents     map[string]*stack.Process
	killed     string // the agent that the scenes killed

	mu      sync.Mutex
	cleanup []func()
}

// cluster is a control plane and an administrator's client of it.
type cluster struct {
	*testenv.ControlPlane
	client.Client
	name string
}

// Open starts everything and tells the hub what to deploy where.
func (w *world) Open(ctx context.Context) error {
	var err error
	if w.dir, err = os.MkdirTemp("", "headwater-demo-*"); err != nil {
		return err
	}
	w.after(func() { _ = os.RemoveAll(w.dir) })
	if err := w.startServers(ctx); err != nil {
		return err
	}
	if err := w.startProduct(ctx); err != nil {
		return err
	}
	return w.declare(ctx)
}

// Close ends and removes everything, last things first.
func (w *world) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, clean := range slices.Backward(w.cleanup) {
		clean()
	}
	w.cleanup = nil
}

func (w *world) after(clean func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cleanup = append(w.cleanup, clean)
}

// startServers starts the Git server, the registry and the four control planes.
func (w *world) startServers(ctx context.Context) error {
	var err error
	if w.repository, err = newRepository(ctx, w.after); err != nil {
		return err
	}
	w.registry = testenv.StartRegistry()
	w.after(w.registry.Stop)
	w.screen.Say("git server up: %s, and a registry: %s", w.repository.URL, w.registry.Host)
	names := []string{"hub", "staging", "prod-eu", "prod-us"}
	w.screen.Say("starting four Kubernetes control planes: %v", names)
	clusters := make([]*cluster, len(names))
	group, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		group.Go(func() (err error) {
			clusters[i], err = w.startCluster(ctx, name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	w.hub, w.targets = clusters[0], clusters[1:]
	return nil
}

func (w *world) startCluster(ctx context.Context, name string) (*cluster, error) {
	isTarget := name != "hub"
	control, err := testenv.Start(ctx, testenv.Options{Name: name, ControllerManager: isTarget, Kubelet: isTarget})
	if err != nil {
		return nil, err
	}
	w.after(control.Stop)
	types, err := stack.Scheme()
	if err != nil {
		return nil, err
	}
	admin, err := control.Client(types)
	if err != nil {
		return nil, err
	}
	w.screen.Say("%s is up: %s", name, control.URL)
	return &cluster{ControlPlane: control, Client: admin, name: name}, nil
}

// startProduct installs Headwater and starts a hub and two agents.
func (w *world) startProduct(ctx context.Context) error {
	var err error
	w.product, err = stack.New(ctx, w.hub.ControlPlane, stack.Options{
		Root: w.root, HubBinary: w.hubBinary, AgentBinary: w.agentBinary, Dir: w.dir,
	})
	if err != nil {
		return err
	}
	w.after(w.product.Stop)
	w.screen.Say("the CRDs and the RBAC of config/ are installed on the hub")
	if w.hubProcess, err = w.product.StartHub(ctx, reassignAfter, memberLease); err != nil {
		return err
	}
	w.screen.Say("hub runs under a ServiceAccount of its own, process %d", w.hubProcess.PID())
	w.agents = map[string]*stack.Process{}
	for _, name := range agentNames() {
		agent, err := w.product.StartAgent(ctx, name, memberLease, fenceDuration, requestTimeout)
		if err != nil {
			return err
		}
		w.agents[name] = agent
		w.screen.Say("%s runs under a ServiceAccount of its own, process %d", name, agent.PID())
	}
	return nil
}
