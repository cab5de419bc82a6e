package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const (
	// fenceDuration and requestTimeout are D and R. The times are for
	// three times as long ones.
	fenceDuration  = 9 * time.Second
	requestTimeout = 3 * time.Second
	memberLease    = 6 * time.Second
	reassignAfter  = 8 * time.Second
	// slow is how long each request to a target is held back, so that there is
	// always one to be interrupted.
	slow = 40 * time.Millisecond
)

// world is what faults happen to.
type world struct {
	options
	screen screen
	dir    string
	random *rand.Rand
	hub    *testenv.ControlPlane
	planes []*testenv.ControlPlane
	onHub  client.Client
	keys   []*key
	// releases of all keys
	releases []*release
	hooks    hooks
	source   *source
	product  *stack.Stack
	hubs     []*runner

	mu     sync.Mutex // guards what follows
	agents []*runner
	names  map[int]string // of the agents' processes, past ones included
	ending bool

	outcome outcome
	cleanup []func()
}

// key is one target: a namespace on an API server, and the only way to it.
type key struct {
	name  string
	plane *testenv.ControlPlane
	proxy *testenv.Proxy
	user  string
	// admin looks at the target past the proxy; hand is an administrator whose
	// deeds are on the record.
	admin client.Client
	hand  client.Client
	// releases on the target; most have none.
	releases []*release
}

func newWorld(o options, out io.Writer) *world {
	return &world{
		options: o,
		screen:  screen{out: out, started: time.Now()},
		random:  rand.New(rand.NewPCG(o.seed, 0)),
		names:   map[int]string{},
	}
}

// Open starts everything.
func (w *world) Open(ctx context.Context) error {
	w.screen.Say("seed %d: %d targets on two API servers, %d of them with %d Helm releases each, %d agents, two hubs, a commit every %s",
		w.seed, w.targets, w.releaseTargets, releasesEach, w.options.agents, w.every)
	var err error
	if w.dir, err = os.MkdirTemp("", "headwater-chaos-*"); err != nil {
		return err
	}
	w.after(func() { _ = os.RemoveAll(w.dir) })
	if err := w.startPlanes(ctx); err != nil {
		return err
	}
	if err := w.makeKeys(ctx); err != nil {
		return err
	}
	w.makeReleases()
	if w.source, err = newSource(ctx, w.after); err != nil {
		return err
	}
	if err := w.startProduct(ctx); err != nil {
		return err
	}
	if err := w.declare(ctx); err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	w.after(end)
	go w.hooks.Run(ctx)
	return w.watchFailures(ctx)
}

// Close ends and removes everything.
func (w *world) Close() {
	w.mu.Lock()
	w.ending = true
	w.mu.Unlock()
	for _, clean := range slices.Backward(w.cleanup) {
		clean()
	}
}

func (w *world) after(clean func()) { w.cleanup = append(w.cleanup, clean) }

func (w *world) startPlanes(ctx context.Context) error {
	types, err := stack.Scheme()
	if err != nil {
		return err
	}
	for _, name := range []string{"hub", "north", "south"} {
		plane, err := testenv.Start(ctx, testenv.Options{Name: name})
		if err != nil {
			return err
		}
		w.after(plane.Stop)
		w.planes = append(w.planes, plane)
	}
	w.hub, w.planes = w.planes[0], w.planes[1:]
	w.onHub, err = w.hub.Client(types)
	return err
}

// makeKeys makes the targets, and the accounts that agents use there.
func (w *world) makeKeys(ctx context.Context) error {
	hands := map[*testenv.ControlPlane]string{}
	for _, plane := range w.planes {
		leases := []rbacv1.PolicyRule{{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"*"}}}
		if _, err := plane.ServiceAccount(ctx, "people", "hand", leases); err != nil {
			return err
		}
		token, err := plane.Token(ctx, "people", "hand", 12*time.Hour)
		if err != nil {
			return err
		}
		hands[plane] = token
	}
	for i := range w.targets {
		k := &key{name: fmt.Sprintf("k%02d", i), plane: w.planes[i%len(w.planes)]}
		k.user = "system:serviceaccount:" + k.name + ":headwater"
		if err := w.makeKey(k, hands[k.plane]); err != nil {
			return fmt.Errorf("making target %s: %w", k.name, err)
		}
		w.keys = append(w.keys, k)
	}
	return nil
}

func (w *world) makeKey(k *key, hand string) error {
	var err error
	if k.admin, err = k.plane.Client(nil); err != nil {
		return err
	}
	if k.proxy, err = k.plane.Proxy(k.name); err != nil {
		return err
	}
	w.after(k.proxy.Stop)
	if err := k.proxy.Delay(slow); err != nil {
		return err
	}
	k.hand, err = clientOf(k.proxy, hand)
	return err
}

// startProduct starts two hubs, of which one stands by, and the agents.
func (w *world) startProduct(ctx context.Context) error {
	bin := filepath.Join(w.root, "bin")
	if w.agentBinary == "" {
		w.agentBinary = filepath.Join(bin, "agent")
	}
	var err error
	w.product, err = stack.New(ctx, w.hub, stack.Options{
		Root: w.root, Dir: w.dir, HubBinary: filepath.Join(bin, "hub"), AgentBinary: w.agentBinary,
	})
	if err != nil {
		return err
	}
	w.after(w.product.Stop)
	for i := range 2 {
		hub, err := w.product.StartHubAs(ctx, stack.Instance{Name: fmt.Sprintf("hub-%d", i)},
			"--enable-leader-election", "--leader-election-lease-duration=15s", "--leader-election-renew-deadline=10s",
			"--leader-election-retry-period=2s", "--member-lease-duration="+memberLease.String(), "--reassign-after="+reassignAfter.String())
		if err != nil {
			return err
		}
		w.hubs = append(w.hubs, w.keepRunning(ctx, hub, nil))
	}
	for i := range w.options.agents {
		if _, err := w.startAgent(ctx, stack.Instance{Name: fmt.Sprintf("agent-%d", i)}); err != nil {
			return err
		}
	}
	return nil
}
