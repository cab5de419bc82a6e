package fleet

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const (
	// namespace of the source, and of the targets' account.
	namespace = "fleet"
	// objects of each target.
	objects = 4
	// parallel calls while the fleet is made.
	parallel = 8
	lifetime = 24 * time.Hour
)

// fleet is what is measured.
type fleet struct {
	Options
	out      io.Writer
	proxied  bool
	flags    []string
	dir      string
	hub      *testenv.ControlPlane
	planes   []*testenv.ControlPlane
	onHub    client.Client
	targets  []*target
	source   *testenv.Repository
	product  *stack.Stack
	agents   []*stack.Process
	watch    *watch
	commits  int
	made     int // Kustomizations for a moment
	revision string
	cleanup  []func()
}

// target is one kubeconfig Secret. Its name is that of its namespace in the hub
// and in the cluster, too.
type target struct {
	name  string
	plane *testenv.ControlPlane
	proxy *testenv.Proxy // nil without one
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func (t *target) named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: t.name, Name: name}
}

func (f *fleet) open(ctx context.Context) error {
	var err error
	if f.dir, err = os.MkdirTemp("", "headwater-bench-*"); err != nil {
		return err
	}
	f.after(func() { _ = os.RemoveAll(f.dir) })
	if err := f.startPlanes(ctx); err != nil {
		return err
	}
	git, err := testenv.StartGit(ctx)
	if err != nil {
		return err
	}
	f.after(git.Stop)
	if f.source, err = git.Repository(ctx, "fleet"); err != nil {
		return err
	}
	if err := f.commit(ctx); err != nil {
		return err
	}
	if err := f.startProduct(ctx); err != nil {
		return err
	}
	if err := f.declare(ctx); err != nil {
		return err
	}
	if f.watch, err = startWatch(ctx, f.hub); err != nil {
		return err
	}
	started := time.Now()
	if err := f.watch.await(ctx, f.revision, f.names()); err != nil {
		return fmt.Errorf("%w\n%s", err, f.product.Logs(10))
	}
	fmt.Fprintf(f.out, "%d targets on two API servers, %d agents; all Ready %.0f s after they were declared\n",
		len(f.targets), len(f.agents), time.Since(started).Seconds())
	return nil
}

func (f *fleet) after(clean func()) { f.cleanup = append(f.cleanup, clean) }

func (f *fleet) close() {
	for _, clean := range slices.Backward(f.cleanup) {
		clean()
	}
}

func (f *fleet) startPlanes(ctx context.Context) error {
	types, err := stack.Scheme()
	if err != nil {
		return err
	}
	for _, name := range []string{"hub", "north", "south"} {
		plane, err := testenv.Start(ctx, testenv.Options{Name: name})
		if err != nil {
			return err
		}
		f.after(plane.Stop)
		f.planes = append(f.planes, plane)
	}
	f.hub, f.planes = f.planes[0], f.planes[1:]
	f.onHub, err = f.hub.Client(types)
	return err
}

func (f *fleet) startProduct(ctx context.Context) error {
	bin := filepath.Join(f.Root, "bin")
	var err error
	f.product, err = stack.New(ctx, f.hub, stack.Options{
		Root: f.Root, Dir: f.dir, HubBinary: filepath.Join(bin, "hub"), AgentBinary: filepath.Join(bin, "agent"),
	})
	if err != nil {
		return err
	}
	f.after(f.product.Stop)
	if _, err := f.product.StartHub(ctx); err != nil {
		return err
	}
	for i := range f.Agents {
		agent, err := f.product.StartAgent(ctx, fmt.Sprintf("agent-%d", i), f.flags...)
		if err != nil {
			return err
		}
		f.agents = append(f.agents, agent)
	}
	return nil
}

// declare makes the source, and a Secret and a Kustomization for each target.
func (f *fleet) declare(ctx context.Context) error {
	repository := &sourcev1.GitRepository{ObjectMeta: named("fleet"), Spec: sourcev1.GitRepositorySpec{
		URL: f.source.URL, Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
	}}
	for _, o := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, repository} {
		if err := f.onHub.Create(ctx, o); err != nil {
			return err
		}
	}
	shared := map[*testenv.ControlPlane][]byte{}
	for _, plane := range f.planes {
		kubeconfig, err := plane.ServiceAccount(ctx, namespace, "headwater", rules())
		if err != nil {
			return err
		}
		shared[plane] = kubeconfig
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range f.Targets {
		t := &target{name: fmt.Sprintf("t%04d", i), plane: f.planes[i%len(f.planes)]}
		f.targets = append(f.targets, t)
		group.Go(func() error { return f.declareTarget(ctx, t, shared[t.plane]) })
	}
	err := group.Wait()
	for _, t := range f.targets {
		if t.proxy != nil {
			f.after(t.proxy.Stop)
		}
	}
	return err
}

func (f *fleet) declareTarget(ctx context.Context, t *target, kubeconfig []byte) error {
	if f.proxied {
		var err error
		if t.proxy, err = t.plane.Proxy(t.name); err != nil {
			return err
		}
		token, err := t.plane.Token(ctx, namespace, "headwater", lifetime)
		if err != nil {
			return err
		}
		if kubeconfig, err = t.proxy.Kubeconfig(token); err != nil {
			return err
		}
	}
	admin, err := t.plane.Client(nil)
	if err != nil {
		return err
	}
	if err := admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: t.name}}); err != nil {
		return err
	}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: t.name}},
		&corev1.Secret{ObjectMeta: t.named(t.name), Data: map[string][]byte{"value": kubeconfig}},
		&kustomizev1.Kustomization{ObjectMeta: t.named(t.name), Spec: kustomizev1.KustomizationSpec{
			Interval: metav1.Duration{Duration: time.Hour}, RetryInterval: &metav1.Duration{Duration: time.Second},
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Namespace: namespace, Name: "fleet"},
			Path:      "./apps", Prune: true, TargetNamespace: t.name,
			KubeConfig: &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: t.name}},
		}},
	} {
		if err := f.onHub.Create(ctx, o); err != nil {
			return fmt.Errorf("creating %s: %w", o.GetName(), err)
		}
	}
	return nil
}

func rules() []rbacv1.PolicyRule {
	all := []string{"get", "list", "watch", "create", "update", "patch", "delete"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: all},
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: all[:3]},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: all},
	}
}

// commit changes every object of every target.
func (f *fleet) commit(ctx context.Context) error {
	f.commits++
	text := ""
	for i := range objects {
		text += fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: object-%d\ndata:\n  commit: \"%d\"\n", i, f.commits)
	}
	made, err := f.source.Commit(ctx, fmt.Sprint(f.commits), map[string]string{"apps/all.yaml": text})
	f.revision = "main@sha1:" + made
	return err
}

// deliver commits, and tells the hub as a webhook would.
func (f *fleet) deliver(ctx context.Context) error {
	if err := f.commit(ctx); err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, f.revision)
	return f.onHub.Patch(ctx, &sourcev1.GitRepository{ObjectMeta: named("fleet")}, client.RawPatch(types.MergePatchType, []byte(patch)))
}

func (f *fleet) names() []string {
	var names []string
	for _, t := range f.targets {
		names = append(names, t.name)
	}
	return names
}

// resident reads the resident memory of a process, at its peak and now, in MiB.
func resident(pid int) (peak, now float64) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	read := func(field string) (kib float64) {
		_, rest, _ := strings.Cut(string(content), field)
		_, _ = fmt.Sscanf(rest, "%f kB", &kib) // zero when it is not there
		return kib / 1024
	}
	return read("VmHWM:"), read("VmRSS:")
}
