package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// patience is how long a test waits for what has to come. No test asserts that
// something takes long or short.
const patience = 90 * time.Second

// world is shared by all tests: a hub with two agents, one API server that
// stands for all targets, a Git server, and what stands for the Internet. Tests
// keep apart by namespaces.
type world struct {
	hub, target *testenv.ControlPlane
	git         *testenv.GitServer
	outside     *outside
	product     *stack.Stack
	agents      map[string]*stack.Process
	// admins of the hub and of the target
	onHub, onTarget client.Client
}

var shared world

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "headwater-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	defer shared.close()
	if err := shared.open(context.Background(), dir); err != nil { //nolint:forbidigo // there is no test yet
		return 0, err
	}
	code := m.Run()
	if code != 0 {
		fmt.Println(shared.product.Logs(30))
	}
	return code, nil
}

func (w *world) open(ctx context.Context, dir string) error {
	var err error
	if w.git, err = testenv.StartGit(ctx); err != nil {
		return err
	}
	if w.outside, err = openOutside(ctx, w.git); err != nil {
		return err
	}
	if w.hub, err = testenv.Start(ctx, testenv.Options{Name: "hub", ControllerManager: true, Kubelet: true}); err != nil {
		return err
	}
	if w.target, err = testenv.Start(ctx, testenv.Options{Name: "target", ControllerManager: true, Kubelet: true}); err != nil {
		return err
	}
	types, err := stack.Scheme()
	if err != nil {
		return err
	}
	if w.onHub, err = w.hub.Client(types); err != nil {
		return err
	}
	if w.onTarget, err = w.target.Client(types); err != nil {
		return err
	}
	return w.startProduct(ctx, dir)
}

// startProduct starts the hub and two agents, with the short times that DESIGN
// §4 names for tests.
func (w *world) startProduct(ctx context.Context, dir string) error {
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	w.product, err = stack.New(ctx, w.hub, stack.Options{
		Root: root, Dir: dir,
		HubBinary: filepath.Join(root, "bin", "hub"), AgentBinary: filepath.Join(root, "bin", "agent"),
	})
	if err != nil {
		return err
	}
	trusted := filepath.Join(dir, "outside.pem")
	if err := os.WriteFile(trusted, w.outside.CA, 0o600); err != nil {
		return err
	}
	hub := stack.Instance{Name: "hub", Env: []string{"SSL_CERT_FILE=" + trusted}}
	if _, err := w.product.StartHubAs(ctx, hub, "--reassign-after=3s", "--member-lease-duration=6s"); err != nil {
		return err
	}
	w.agents = map[string]*stack.Process{}
	for _, name := range []string{"agent-0", "agent-1"} {
		agent, err := w.product.StartAgent(ctx, name, "--member-lease-duration=6s",
			"--fence-duration=9s", "--request-timeout=3s", "--probe-interval=2s")
		if err != nil {
			return err
		}
		w.agents[name] = agent
	}
	return nil
}

func (w *world) close() {
	if w.product != nil {
		w.product.Stop()
	}
	for _, plane := range []*testenv.ControlPlane{w.target, w.hub} {
		if plane != nil {
			plane.Stop()
		}
	}
	if w.outside != nil {
		w.outside.close()
	}
	if w.git != nil {
		w.git.Stop()
	}
}

// tenant is what one test has: a namespace of one name on the hub and on the
// target, and a Git repository.
type tenant struct {
	*WithT
	t         *testing.T
	namespace string
	repo      *testenv.Repository
}

func newTenant(t *testing.T, files map[string]string) *tenant {
	t.Helper()
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(patience)
	g.SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "tenant-"}}
	g.Expect(shared.onHub.Create(t.Context(), made)).To(Succeed())
	mirror := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: made.Name}}
	g.Expect(shared.onTarget.Create(t.Context(), mirror)).To(Succeed())
	repo, err := shared.git.Repository(t.Context(), made.Name)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = repo.Commit(t.Context(), "first", files)
	g.Expect(err).NotTo(HaveOccurred())
	return &tenant{WithT: g, t: t, namespace: made.Name, repo: repo}
}

func (n *tenant) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: n.namespace, Name: name}
}

func (n *tenant) commit(files map[string]string) {
	n.t.Helper()
	_, err := n.repo.Commit(n.t.Context(), "change", files)
	n.Expect(err).NotTo(HaveOccurred())
}

// create makes objects on the hub.
func (n *tenant) create(objects ...client.Object) {
	n.t.Helper()
	for _, object := range objects {
		n.Expect(shared.onHub.Create(n.t.Context(), object)).To(Succeed())
	}
}

func (n *tenant) source() *sourcev1.GitRepository {
	return &sourcev1.GitRepository{
		ObjectMeta: n.meta("repo"),
		Spec: sourcev1.GitRepositorySpec{
			URL:       n.repo.URL,
			Interval:  metav1.Duration{Duration: time.Second},
			Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		},
	}
}

func (n *tenant) kustomization(name, cluster string) *kustomizev1.Kustomization {
	return &kustomizev1.Kustomization{
		ObjectMeta: n.meta(name),
		Spec: kustomizev1.KustomizationSpec{
			Interval:        metav1.Duration{Duration: time.Hour},
			RetryInterval:   &metav1.Duration{Duration: time.Second},
			SourceRef:       kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "repo"},
			Prune:           true,
			TargetNamespace: n.namespace,
			KubeConfig:      &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: cluster}},
		},
	}
}

// cluster makes a target: a kubeconfig Secret on the hub for an account on the
// target's API server, which is reached through a recording proxy.
func (n *tenant) cluster(name string) *testenv.Proxy {
	n.t.Helper()
	proxy, err := shared.target.Proxy(n.namespace + "/" + name)
	n.Expect(err).NotTo(HaveOccurred())
	n.t.Cleanup(proxy.Stop)
	n.create(&corev1.Secret{ObjectMeta: n.meta(name), Data: map[string][]byte{"value": n.kubeconfig(proxy, name)}})
	return proxy
}

func (n *tenant) kubeconfig(proxy *testenv.Proxy, account string) []byte {
	n.t.Helper()
	_, err := shared.target.ServiceAccount(n.t.Context(), n.namespace, account, []rbacv1.PolicyRule{{
		APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"},
	}})
	n.Expect(err).NotTo(HaveOccurred())
	token, err := shared.target.Token(n.t.Context(), n.namespace, account, time.Hour)
	n.Expect(err).NotTo(HaveOccurred())
	data, err := proxy.Kubeconfig(token)
	n.Expect(err).NotTo(HaveOccurred())
	return data
}

// ready shows an object's Ready condition as "status reason: message", with the
// generation that it is for taken into account.
func (n *tenant) ready(obj client.Object) string {
	n.t.Helper()
	n.Expect(shared.onHub.Get(n.t.Context(), client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	var conditions []metav1.Condition
	switch o := obj.(type) {
	case *sourcev1.GitRepository:
		conditions = o.Status.Conditions
	case *kustomizev1.Kustomization:
		conditions = o.Status.Conditions
	case *fleetv1.RemoteCluster:
		conditions = o.Status.Conditions
	}
	condition := apimeta.FindStatusCondition(conditions, "Ready")
	if condition == nil || condition.ObservedGeneration != obj.GetGeneration() {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", condition.Status, condition.Reason, condition.Message)
}

// becomes waits until the Ready condition matches.
func (n *tenant) becomes(obj client.Object, matcher OmegaMatcher) {
	n.t.Helper()
	n.Eventually(func() string { return n.ready(obj) }).Should(matcher)
}

// data reads a ConfigMap on the target; nil when there is none.
func (n *tenant) data(name string) map[string]string {
	var found corev1.ConfigMap
	if err := shared.onTarget.Get(n.t.Context(), client.ObjectKey{Namespace: n.namespace, Name: name}, &found); err != nil {
		return nil
	}
	return found.Data
}

// warnings are the messages of the Warning events on an object.
func (n *tenant) warnings(name string) []string {
	var events corev1.EventList
	n.Expect(shared.onHub.List(n.t.Context(), &events, client.InNamespace(n.namespace))).To(Succeed())
	var messages []string
	for _, event := range events.Items {
		if event.InvolvedObject.Name == name && event.Type == "Warning" {
			messages = append(messages, event.Reason+": "+event.Message)
		}
	}
	return messages
}

// agentOf is the agent that the record names for a target.
func (n *tenant) agentOf(cluster string) string {
	var record fleetv1.RemoteCluster
	if err := shared.onHub.Get(n.t.Context(), client.ObjectKey{Namespace: n.namespace, Name: cluster}, &record); err != nil {
		return ""
	}
	return record.Status.Agent
}

// owners are the agents that own targets, of this test or another: the tests
// share the agents, and what one of them is given depends on the others.
func (n *tenant) owners() map[string]bool {
	var all fleetv1.RemoteClusterList
	n.Expect(shared.onHub.List(n.t.Context(), &all)).To(Succeed())
	owners := map[string]bool{}
	for _, record := range all.Items {
		if record.Status.Agent != "" {
			owners[record.Status.Agent] = true
		}
	}
	return owners
}

// pin keeps a target where it is, whatever other tests make and remove.
func (n *tenant) pin(cluster string) string {
	n.t.Helper()
	owner := n.agentOf(cluster)
	n.move(cluster, owner)
	return owner
}

// move gives a target to an agent, and keeps it there.
func (n *tenant) move(cluster, agent string) {
	n.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, meta.PinLabel, agent)
	record := &fleetv1.RemoteCluster{ObjectMeta: n.meta(cluster)}
	n.Expect(shared.onHub.Patch(n.t.Context(), record, client.RawPatch(types.MergePatchType, []byte(patch)))).To(Succeed())
}

// configMap is a manifest.
func configMap(name, value string) string {
	return strings.Join([]string{"apiVersion: v1", "kind: ConfigMap", "metadata: {name: " + name + "}", "data: {value: \"" + value + "\"}", ""}, "\n")
}
