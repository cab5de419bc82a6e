package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// kubeconfigName is the Secret's, in every namespace.
const kubeconfigName = "target"

// productNamespace is what the files say; where every Kustomization has a
// namespace of its own, its spec.targetNamespace says another.
const productNamespace = "bench-product"

// makeSites makes the namespaces and credentials on the targets.
func (w *world) makeSites(ctx context.Context) error {
	for _, plane := range w.planes {
		if err := allowEverybody(ctx, plane); err != nil {
			return err
		}
	}
	w.sites = []*site{{hub: stack.Namespace, floor: "bench-floor", product: productNamespace}}
	if w.shape.own {
		w.sites = nil
		for i := range w.count() {
			w.sites = append(w.sites, &site{
				hub: fmt.Sprintf("team-%04d", i), floor: fmt.Sprintf("floor-%04d", i), product: fmt.Sprintf("product-%04d", i),
			})
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, at := range w.sites {
		group.Go(func() error { return at.open(ctx, w.planes[i%len(w.planes)]) })
	}
	return group.Wait()
}

// open makes the namespaces and a ServiceAccount, and warms the floor's client:
// its discovery is no part of an apply.
func (s *site) open(ctx context.Context, plane *testenv.ControlPlane) error {
	var err error
	if s.admin, err = plane.Client(nil); err != nil {
		return err
	}
	for _, name := range []string{s.floor, s.product} {
		if err := s.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	if s.kubeconfig, err = plane.ServiceAccount(ctx, s.product, "headwater", nil); err != nil {
		return err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(s.kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	if s.client, err = client.New(config, client.Options{}); err != nil {
		return err
	}
	for _, o := range objects(s.floor, 0, "v1") {
		if _, err := s.client.RESTMapper().RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version); err != nil {
			return err
		}
	}
	return nil
}

// allowEverybody grants the product's rules to all ServiceAccounts by one
// binding, so that authorization costs the same however many there are.
func allowEverybody(ctx context.Context, plane *testenv.ControlPlane) error {
	admin, err := plane.Client(nil)
	if err != nil {
		return err
	}
	name := metav1.ObjectMeta{Name: "bench"}
	for _, o := range []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: name, Rules: rules()},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: name,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:serviceaccounts"}},
		},
	} {
		if err := admin.Create(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func rules() []rbacv1.PolicyRule {
	all := []string{"get", "list", "watch", "create", "update", "patch", "delete"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts", "services", "secrets"}, Verbs: all},
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: all[:3]},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: all},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses"}, Verbs: all},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: all},
	}
}

// connect declares the sources and the targets, waits until the agent is
// connected to each, and prints what that cost.
func (w *world) connect(ctx context.Context) error {
	m, err := w.measure(ctx, func(ctx context.Context) error {
		if err := w.declare(ctx); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, stepLimit)
		defer cancel()
		return wait.PollUntilContextCancel(ctx, lookInterval, true, w.connected)
	})
	if err != nil {
		return err
	}
	fmt.Printf("%d kubeconfigs connected in %.1f s, %.3f CPU-s of agent each\n",
		len(w.sites), m.seconds, m.cpu["agent"]/float64(len(w.sites)))
	return w.startCache(ctx)
}

func (w *world) declare(ctx context.Context) error {
	if !w.shape.sources {
		if err := w.hub.Create(ctx, w.gitRepository("bench")); err != nil {
			return err
		}
	}
	if w.shape.helm {
		if err := w.hub.Create(ctx, w.helmChart()); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, at := range w.sites {
		group.Go(func() error {
			if at.hub != stack.Namespace {
				if err := w.hub.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: at.hub}}); err != nil {
					return err
				}
			}
			return w.hub.Create(ctx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: at.hub, Name: kubeconfigName, Labels: map[string]string{meta.ClusterLabel: "true"}},
				Data:       map[string][]byte{"value": at.kubeconfig},
			})
		})
	}
	return group.Wait()
}

func (w *world) connected(ctx context.Context) (bool, error) {
	var all fleetv1.RemoteClusterList
	if err := w.hub.List(ctx, &all); err != nil {
		return false, err
	}
	connected := 0
	for _, cluster := range all.Items {
		if cluster.Spec.KubeConfig != nil && apimeta.IsStatusConditionTrue(cluster.Status.Conditions, fleetv1.ConnectedCondition) {
			connected++
		}
	}
	return connected == len(w.sites), nil
}

// runs reads from the agent, or from a hub alone, how often objects of the kind
// have been reconciled.
func (w *world) runs(ctx context.Context, kind string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	request.Close = true
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	response, err := http.DefaultClient.Do(request.WithContext(ctx))
	if err != nil {
		return 0, fmt.Errorf("reading the metrics of runs: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	return countRuns(response.Body, kind), nil
}

// countRuns sums the runs of a kind in the metrics.
func countRuns(metrics io.Reader, kind string) float64 {
	sum := 0.0
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), fmt.Sprintf("headwater_reconcile_total{kind=%q", kind)) {
			_, value, _ := strings.Cut(lines.Text(), "} ")
			var count float64
			_, _ = fmt.Sscan(value, &count) // zero when it is no number
			sum += count
		}
	}
	return sum
}
