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
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const logLines = 12

// world is what is measured: a hub, a target, and the product between them.
type world struct {
	options
	dir                   string
	hubPlane, targetPlane *testenv.ControlPlane
	hub                   client.Client // as administrator
	cache                 cache.Cache   // of the hub's Kustomizations
	target                client.Client // as administrator, to verify
	client                client.Client // with the product's credentials, for the floor
	product               *stack.Stack
	repository            *testenv.Repository
	revision              string // the last commit
	pids                  map[string]int
	cleanup               []func()
}

// steps are run in this order; each leaves what the next needs.
func (w *world) steps() []step {
	return []step{
		{"install", w.applyAll("v1"), w.install, w.verify("v1", w.kustomizations)},
		{"nothing changed", w.applyAll("v1"), w.nothing, w.verify("v1", w.kustomizations)},
		{"upgrade", w.applyAll("v2"), w.upgrade, w.verify("v2", w.kustomizations)},
		{"delete", w.deleteAll, w.remove, w.verify("v2", 0)},
	}
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
	if w.targetPlane, err = w.startControlPlane(ctx, "target"); err != nil {
		return err
	}
	if err := w.makeClients(ctx); err != nil {
		return err
	}
	if err := w.makeRepository(ctx); err != nil {
		return err
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

// makeClients makes the namespaces and credentials on the target as well.
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
	if w.target, err = w.targetPlane.Client(nil); err != nil {
		return err
	}
	for _, name := range []string{floorNamespace, productNamespace} {
		if err := w.target.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	kubeconfig, err := w.targetPlane.ServiceAccount(ctx, stack.Namespace, "headwater", rules())
	if err != nil {
		return err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	if w.client, err = client.New(config, client.Options{}); err != nil {
		return err
	}
	return w.hub.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: stack.Namespace}})
}

func rules() []rbacv1.PolicyRule {
	all := []string{"get", "list", "watch", "create", "update", "patch", "delete"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts", "services"}, Verbs: all},
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: all[:3]},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: all},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses"}, Verbs: all},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: all},
	}
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
	w.pids = map[string]int{"hub": hub.PID(), "agent": agent.PID(), "bench itself": os.Getpid()}
	for name, control := range map[string]*testenv.ControlPlane{"hub's": w.hubPlane, "target's": w.targetPlane} {
		found, err := controlPlanePIDs(name, control)
		if err != nil {
			return err
		}
		maps.Copy(w.pids, found)
	}
	if err := w.declare(ctx); err != nil {
		return err
	}
	return w.startCache(ctx)
}

// startCache starts the watch, now that the CRDs are there.
func (w *world) startCache(ctx context.Context) error {
	go func() { _ = w.cache.Start(ctx) }() // ends with the program
	if !w.cache.WaitForCacheSync(ctx) {
		return ctx.Err()
	}
	_, err := w.cache.GetInformer(ctx, &kustomizev1.Kustomization{})
	return err
}

// declare makes the source and the target's credentials on the hub.
func (w *world) declare(ctx context.Context) error {
	kubeconfig, err := w.targetPlane.ServiceAccount(ctx, stack.Namespace, "headwater", nil)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{ObjectMeta: named("target"), Data: map[string][]byte{"value": kubeconfig}}
	source := &sourcev1.GitRepository{
		ObjectMeta: named("bench"),
		Spec: sourcev1.GitRepositorySpec{
			URL:       w.repository.URL,
			Interval:  metav1.Duration{Duration: time.Hour},
			Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		},
	}
	for _, object := range []client.Object{secret, source} {
		if err := w.hub.Create(ctx, object); err != nil {
			return fmt.Errorf("creating %s: %w", object.GetName(), err)
		}
	}
	return nil
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: stack.Namespace, Name: name}
}
