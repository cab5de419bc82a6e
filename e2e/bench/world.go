package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const logLines = 12

// world is what is measured: a hub, targets, and the product between them.
type world struct {
	options
	shape      shape
	dir        string
	hubPlane   *testenv.ControlPlane
	planes     []*testenv.ControlPlane // of the targets
	hub        client.Client           // as administrator
	cache      cache.Cache             // of the hub's Kustomizations or HelmReleases
	sites      []*site
	product    *stack.Stack
	metrics    string // address of the agent's
	repository *testenv.Repository
	revision   string // the last commit
	podinfo    *podinfo
	pids       map[string]int
	cleanup    []func()
}

// steps are run in this order; each leaves what the next needs.
func (w *world) steps() []step {
	if w.bound {
		return w.boundSteps()
	}
	if w.shape.helm {
		return w.helmSteps()
	}
	steps := []step{
		{"install", w.applyAll("v1"), w.install, w.verify("v1", w.kustomizations)},
		{"nothing changed", w.applyAll("v1"), w.nothing, w.verify("v1", w.kustomizations)},
		{"upgrade", w.applyAll("v2"), w.upgrade, w.verify("v2", w.kustomizations)},
		{"delete", w.deleteAll, w.remove, w.verify("v2", 0)},
	}
	if w.shape.interval < time.Hour {
		steps = slices.Insert(steps, 2, step{"by interval", w.nobody, w.interval, w.verify("v1", w.kustomizations)})
	}
	return steps
}

// chosenSteps are those that are asked for.
func (w *world) chosenSteps() []step {
	all := w.steps()
	if w.options.steps == 0 {
		return all
	}
	return all[:min(w.options.steps, len(all))]
}

// Open starts everything.
func (w *world) Open(ctx context.Context) error {
	var err error
	if w.dir, err = os.MkdirTemp("", "headwater-bench-*"); err != nil {
		return err
	}
	w.cleanup = append(w.cleanup, func() { _ = os.RemoveAll(w.dir) })
	if w.hubPlane, err = w.startControlPlane(ctx, "hub"); err != nil {
		return err
	}
	for i := range w.shape.planes {
		plane, err := w.startControlPlane(ctx, fmt.Sprintf("target-%d", i))
		if err != nil {
			return err
		}
		w.planes = append(w.planes, plane)
	}
	if err := w.makeClients(ctx); err != nil {
		return err
	}
	if err := w.makeSites(ctx); err != nil {
		return err
	}
	if err := w.makeRepository(ctx); err != nil {
		return err
	}
	if w.shape.helm {
		if err := w.openHelm(ctx); err != nil {
			return err
		}
	}
	return w.startProduct(ctx)
}

// Close ends and removes everything.
func (w *world) Close() {
	for _, clean := range slices.Backward(w.cleanup) {
		clean()
	}
}

func (w *world) startControlPlane(ctx context.Context, name string) (*testenv.ControlPlane, error) {
	control, err := testenv.Start(ctx, testenv.Options{Name: name})
	if err == nil {
		w.cleanup = append(w.cleanup, control.Stop)
	}
	return control, err
}

func (w *world) makeClients(ctx context.Context) error {
	types, err := stack.Scheme()
	if err != nil {
		return err
	}
	if w.hub, err = w.hubPlane.Client(types); err != nil {
		return err
	}
	if w.cache, err = cache.New(w.hubPlane.Config(), cache.Options{Scheme: types}); err != nil {
		return err
	}
	return w.hub.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: stack.Namespace}})
}

func (w *world) makeRepository(ctx context.Context) error {
	server, err := testenv.StartGit(ctx)
	if err != nil {
		return err
	}
	w.cleanup = append(w.cleanup, server.Stop)
	w.repository, err = server.Repository(ctx, "bench")
	return err
}

// startProduct starts the hub and an agent with their default flags.
func (w *world) startProduct(ctx context.Context) error {
	bin := filepath.Join(w.root, "bin")
	var err error
	w.product, err = stack.New(ctx, w.hubPlane, stack.Options{
		Root: w.root, HubBinary: filepath.Join(bin, "hub"), AgentBinary: filepath.Join(bin, "agent"), Dir: w.dir,
	})
	if err != nil {
		return err
	}
	w.cleanup = append(w.cleanup, w.product.Stop)
	hub, err := w.product.StartHub(ctx)
	if err != nil {
		return err
	}
	agent, err := w.product.StartAgent(ctx, "agent-0")
	if err != nil {
		return err
	}
	w.metrics = agent.Address
	w.pids = map[string]int{"hub": hub.PID(), "agent": agent.PID(), "bench itself": os.Getpid()}
	for name, control := range w.controlPlanes() {
		found, err := controlPlanePIDs(name, control)
		if err != nil {
			return err
		}
		maps.Copy(w.pids, found)
	}
	return nil
}

// startCache starts the watch, now that the CRDs are there.
func (w *world) startCache(ctx context.Context) error {
	go func() { _ = w.cache.Start(ctx) }() // ends with the program
	if !w.cache.WaitForCacheSync(ctx) {
		return ctx.Err()
	}
	var kind client.Object = &kustomizev1.Kustomization{}
	if w.shape.helm {
		kind = &helmv2.HelmRelease{}
	}
	_, err := w.cache.GetInformer(ctx, kind)
	return err
}

// controlPlanes are all of them, by name.
func (w *world) controlPlanes() map[string]*testenv.ControlPlane {
	all := map[string]*testenv.ControlPlane{"hub's": w.hubPlane}
	for i, plane := range w.planes {
		name := "target's"
		if len(w.planes) > 1 {
			name = fmt.Sprintf("%c target's", 'A'+i)
		}
		all[name] = plane
	}
	return all
}
