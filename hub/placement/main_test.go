package placement

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	kuberecord "k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared = testenv.Shared{CRDs: true}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// hub is a namespace on a real API server that is all the fleet there is, and
// the time there.
type hub struct {
	*WithT
	t *testing.T
	client.Client
	namespace  string
	clock      *clocktesting.FakeClock
	reconciler *Reconciler
	events     *kuberecord.FakeRecorder
}

func newHub(t *testing.T) *hub {
	t.Helper()
	g := NewWithT(t)
	config := shared.ControlPlane(t).Config()
	kinds := kinds(g)
	admin, err := client.New(config, client.Options{Scheme: kinds})
	g.Expect(err).NotTo(HaveOccurred())
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "placement-"}}
	g.Expect(admin.Create(t.Context(), namespace)).To(Succeed())
	h := &hub{
		WithT: g, t: t, Client: client.NewNamespacedClient(admin, namespace.Name), namespace: namespace.Name,
		clock:  clocktesting.NewFakeClock(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)),
		events: kuberecord.NewFakeRecorder(10_000),
	}
	h.reconciler = h.newReconciler()
	return h
}

func kinds(g *WithT) *runtime.Scheme {
	s := runtime.NewScheme()
	g.Expect(scheme.AddToScheme(s)).To(Succeed())
	g.Expect(fleetv1.AddToScheme(s)).To(Succeed())
	g.Expect(kustomizev1.AddToScheme(s)).To(Succeed())
	g.Expect(helmv2.AddToScheme(s)).To(Succeed())
	return s
}

// newReconciler is another leader.
func (h *hub) newReconciler() *Reconciler {
	r := &Reconciler{
		Client: h.Client, own: h.Client, Clock: h.clock, Namespace: h.namespace,
		MemberLease: 15 * time.Second, ReassignAfter: 30 * time.Second,
		Events: reconcile.NewRecorder(h.events, h.Scheme(), "placement", ""),
	}
	r.members.Duration, r.members.Namespace = r.MemberLease, r.Namespace
	return r
}

func (h *hub) reconcile() ctrl.Result {
	h.t.Helper()
	result, err := h.reconciler.Reconcile(h.t.Context(), ctrl.Request{})
	h.Expect(err).NotTo(HaveOccurred())
	return result
}

// look is the first half of a run.
func (h *hub) look(r *Reconciler) world {
	h.t.Helper()
	ps, members, _, err := r.lookAtAgents(h.t.Context(), h.clock.Now())
	h.Expect(err).NotTo(HaveOccurred())
	w, err := r.look(h.t.Context(), h.clock.Now(), ps, members)
	h.Expect(err).NotTo(HaveOccurred())
	return w
}

// renew writes the Lease of the agent, as the agent would now.
func (h *hub) renew(names ...string) {
	h.t.Helper()
	for _, name := range names {
		h.hold(name, new(name+"_process"))
	}
}

// hold writes the Lease of the agent; without a holder it is released.
func (h *hub) hold(name string, holder *string) {
	h.t.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "headwater-agent-" + name}}
	err := h.Get(h.t.Context(), client.ObjectKeyFromObject(lease), lease)
	h.Expect(client.IgnoreNotFound(err)).To(Succeed())
	lease.Labels = map[string]string{"fleet.headwater.dev/member": "true", "name": name}
	renewed := metav1.NewMicroTime(h.clock.Now())
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = holder, &renewed
	if err != nil {
		h.Expect(h.Create(h.t.Context(), lease)).To(Succeed())
		return
	}
	h.Expect(h.Update(h.t.Context(), lease)).To(Succeed())
}

// deploy makes clusters, each with a RemoteCluster and a Kustomization.
func (h *hub) deploy(names ...string) {
	h.t.Helper()
	for _, name := range names {
		kubeConfig := &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: name}}
		c := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name}}
		c.Spec.KubeConfig = kubeConfig
		h.Expect(h.Create(h.t.Context(), c)).To(Succeed())
		k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name}}
		k.Spec.Interval.Duration = time.Minute
		k.Spec.SourceRef.Kind, k.Spec.SourceRef.Name = "GitRepository", "fleet"
		k.Spec.KubeConfig = kubeConfig
		h.Expect(h.Create(h.t.Context(), k)).To(Succeed())
	}
}

// releaseTo makes a HelmRelease for a cluster.
func (h *hub) releaseTo(cluster, name string) *helmv2.HelmRelease {
	h.t.Helper()
	release := &helmv2.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: name}}
	release.Spec.Interval.Duration = time.Minute
	release.Spec.ChartRef = &helmv2.CrossNamespaceSourceReference{Kind: "OCIRepository", Name: name}
	release.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: cluster}}
	h.Expect(h.Create(h.t.Context(), release)).To(Succeed())
	return release
}

func (h *hub) cluster(name string) *fleetv1.RemoteCluster {
	h.t.Helper()
	var c fleetv1.RemoteCluster
	h.Expect(h.Get(h.t.Context(), client.ObjectKey{Namespace: h.namespace, Name: name}, &c)).To(Succeed())
	return &c
}

func (h *hub) kustomization(name string) *kustomizev1.Kustomization {
	h.t.Helper()
	var k kustomizev1.Kustomization
	h.Expect(h.Get(h.t.Context(), client.ObjectKey{Namespace: h.namespace, Name: name}, &k)).To(Succeed())
	return &k
}

// owners are the records as "agent epoch", by cluster. The labels have to say
// the same.
func (h *hub) owners() map[string]string {
	h.t.Helper()
	var clusters fleetv1.RemoteClusterList
	h.Expect(h.List(h.t.Context(), &clusters)).To(Succeed())
	owners := map[string]string{}
	for _, c := range clusters.Items {
		if len(c.Status.Assignments) == 0 {
			continue
		}
		h.Expect(c.Status.Assignments).To(HaveLen(1))
		record := c.Status.Assignments[0]
		owners[c.Name] = fmt.Sprintf("%s %d", record.Agent, record.Epoch)
		h.Expect(c.Status.Agent).To(Equal(record.Agent))
		h.Expect(h.kustomization(c.Name).Labels["fleet.headwater.dev/agent"]).To(Equal(record.Agent), "the label of "+c.Name)
	}
	return owners
}

// versions are the resourceVersions of all there is.
func (h *hub) versions() []string {
	h.t.Helper()
	var clusters fleetv1.RemoteClusterList
	var kustomizations kustomizev1.KustomizationList
	h.Expect(h.List(h.t.Context(), &clusters)).To(Succeed())
	h.Expect(h.List(h.t.Context(), &kustomizations)).To(Succeed())
	var versions []string
	for _, c := range clusters.Items {
		versions = append(versions, c.Name+" "+c.ResourceVersion)
	}
	for _, k := range kustomizations.Items {
		versions = append(versions, k.Name+" "+k.ResourceVersion)
	}
	return versions
}

// told are the events since the last call, in alphabetical order.
func (h *hub) told() []string {
	var texts []string
	for {
		select {
		case text := <-h.events.Events:
			texts = append(texts, text)
		default:
			slices.Sort(texts)
			return texts
		}
	}
}

func agentsOf(owners map[string]string) []string {
	agents := map[string]bool{}
	for _, owner := range owners {
		var name string
		_, _ = fmt.Sscanf(owner, "%s", &name)
		agents[name] = true
	}
	return slices.Sorted(maps.Keys(agents))
}
