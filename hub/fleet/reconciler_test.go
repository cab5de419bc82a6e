package fleet

import (
	"os"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared = testenv.Shared{CRDs: true}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// world is a namespace on a real API server.
type world struct {
	*WithT
	t         *testing.T
	admin     client.Client
	namespace string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	g := NewWithT(t)
	access := shared.ControlPlane(t).Config()
	admin, err := client.New(access, client.Options{Scheme: kinds(g)})
	g.Expect(err).NotTo(HaveOccurred())
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "fleet-"}}
	g.Expect(admin.Create(t.Context(), namespace)).To(Succeed())
	return &world{WithT: g, t: t, admin: admin, namespace: namespace.Name}
}

func kinds(g *WithT) *runtime.Scheme {
	s := runtime.NewScheme()
	g.Expect(scheme.AddToScheme(s)).To(Succeed())
	g.Expect(fleetv1.AddToScheme(s)).To(Succeed())
	g.Expect(kustomizev1.AddToScheme(s)).To(Succeed())
	g.Expect(helmv2.AddToScheme(s)).To(Succeed())
	return s
}

// uses makes a Kustomization that deploys through the Secret.
func (w *world) uses(name, secret, key string) *kustomizev1.Kustomization {
	w.t.Helper()
	k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	k.Spec.Interval.Duration = 60e9
	k.Spec.SourceRef.Kind, k.Spec.SourceRef.Name = "GitRepository", "fleet"
	k.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: secret, Key: key}}
	w.Expect(w.admin.Create(w.t.Context(), k)).To(Succeed())
	return k
}

func (w *world) reconcile() {
	w.t.Helper()
	r := &Reconciler{Client: w.admin, Namespace: "flux-system"}
	_, err := r.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: w.namespace}})
	w.Expect(err).NotTo(HaveOccurred())
}

// clusters are the RemoteClusters of the namespace, by name.
func (w *world) clusters() map[string]fleetv1.RemoteCluster {
	w.t.Helper()
	var list fleetv1.RemoteClusterList
	w.Expect(w.admin.List(w.t.Context(), &list, client.InNamespace(w.namespace))).To(Succeed())
	clusters := map[string]fleetv1.RemoteCluster{}
	for _, cluster := range list.Items {
		clusters[cluster.Name] = cluster
	}
	return clusters
}

func TestClustersFollowReferences(t *testing.T) {
	w := newWorld(t)
	one, two := w.uses("one", "prod", ""), w.uses("two", "prod", "value")
	w.uses("three", "prod", "eu")
	w.uses("four", "Not A Name", "")
	w.reconcile()
	before := w.clusters()
	w.Expect(before).To(HaveLen(3))
	w.Expect(before["prod"].Labels).To(Equal(map[string]string{"fleet.headwater.dev/managed": "true"}))
	w.Expect(before["prod"].Spec.Mode).To(BeEquivalentTo("Push"))
	w.Expect(before["prod"].Spec.KubeConfig.SecretRef.Name).To(Equal("prod"))
	w.Expect(before["prod-eu"].Spec.KubeConfig.SecretRef.Key).To(Equal("eu"))

	w.reconcile()
	w.Expect(w.clusters()).To(Equal(before), "a second run writes nothing")

	w.Expect(w.admin.Delete(t.Context(), one)).To(Succeed())
	w.reconcile()
	w.Expect(w.clusters()).To(HaveKey("prod"))
	w.Expect(w.admin.Delete(t.Context(), two)).To(Succeed())
	w.reconcile()
	w.Expect(w.clusters()).NotTo(HaveKey("prod"))
	w.Expect(w.clusters()).To(HaveKey("prod-eu"))
}

func TestClustersFollowHelmReleases(t *testing.T) {
	w := newWorld(t)
	release := &helmv2.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "shop"}}
	release.Spec.Interval.Duration = 60e9
	release.Spec.ChartRef = &helmv2.CrossNamespaceSourceReference{Kind: "HelmChart", Name: "shop"}
	release.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}}
	w.Expect(w.admin.Create(t.Context(), release)).To(Succeed())
	w.reconcile()
	w.Expect(w.clusters()).To(HaveKey("prod"))
	w.Expect(w.admin.Delete(t.Context(), release)).To(Succeed())
	w.reconcile()
	w.Expect(w.clusters()).NotTo(HaveKey("prod"))
}

func TestClustersFollowLabelledSecrets(t *testing.T) {
	w := newWorld(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "edge", Labels: map[string]string{
		"fleet.headwater.dev/cluster": "true", "region": "eu", "tier": "gold",
	}}}
	w.Expect(w.admin.Create(t.Context(), secret)).To(Succeed())
	w.reconcile()
	edge := w.clusters()["edge"]
	w.Expect(edge.Labels).To(Equal(map[string]string{"fleet.headwater.dev/managed": "true", "region": "eu", "tier": "gold"}))

	// The user's own label stays; those of the Secret are kept in step.
	edge.Labels["mine"] = "yes"
	w.Expect(w.admin.Update(t.Context(), &edge)).To(Succeed())
	secret.Labels["region"] = "us"
	delete(secret.Labels, "tier")
	w.Expect(w.admin.Update(t.Context(), secret)).To(Succeed())
	w.reconcile()
	edge = w.clusters()["edge"]
	w.Expect(edge.Labels).To(Equal(map[string]string{"fleet.headwater.dev/managed": "true", "region": "us", "mine": "yes"}))
	w.reconcile()
	w.Expect(w.clusters()["edge"]).To(Equal(edge), "a second run writes nothing")

	// In use, it outlives the label; its labels do not.
	k := w.uses("one", "edge", "")
	secret.Labels = nil
	w.Expect(w.admin.Update(t.Context(), secret)).To(Succeed())
	w.reconcile()
	w.Expect(w.clusters()["edge"].Labels).To(Equal(map[string]string{"fleet.headwater.dev/managed": "true", "mine": "yes"}))
	w.Expect(w.clusters()["edge"].UID).To(Equal(edge.UID))
	w.Expect(w.admin.Delete(t.Context(), k)).To(Succeed())
	w.reconcile()
	w.Expect(w.clusters()).To(BeEmpty())
}

func TestClusterOfAUserIsNotTouched(t *testing.T) {
	w := newWorld(t)
	mine := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "mine"}}
	mine.Spec.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}}
	w.Expect(w.admin.Create(t.Context(), mine)).To(Succeed())
	k := w.uses("one", "prod", "")
	w.reconcile()
	w.Expect(w.clusters()).To(HaveLen(1))
	w.Expect(w.clusters()["mine"].ResourceVersion).To(Equal(mine.ResourceVersion))
	w.Expect(w.admin.Delete(t.Context(), k)).To(Succeed())
	w.reconcile()
	w.Expect(w.clusters()).To(HaveKey("mine"))
}

// start runs the controllers for the namespace, as the hub does.
func (w *world) start() {
	w.t.Helper()
	mgr, err := ctrl.NewManager(shared.ControlPlane(w.t).Config(), manager.Options{
		Scheme:     kinds(w.WithT),
		Metrics:    server.Options{BindAddress: "0"},
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{w.namespace: {}}},
		Controller: config.Controller{SkipNameValidation: new(true)},
		Logger:     ctrl.Log,
	})
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect((&Reconciler{Namespace: w.namespace}).AddToManager(mgr)).To(Succeed())
	go func() { _ = mgr.Start(w.t.Context()) }()
}

func TestControllerFollowsTheCluster(t *testing.T) {
	w := newWorld(t)
	w.start()

	exists := func(name string) func() error {
		return func() error {
			return w.admin.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &fleetv1.RemoteCluster{})
		}
	}
	w.Eventually(exists("hub"), "30s").Should(Succeed(), "the hub itself, although nothing refers to it")
	k := w.uses("one", "prod", "")
	w.Eventually(exists("prod"), "30s").Should(Succeed())

	hub := w.clusters()["hub"]
	w.Expect(hub.Spec.Mode).To(BeEquivalentTo("Hub"))
	w.Expect(w.admin.Delete(t.Context(), &hub)).To(Succeed())
	w.Eventually(exists("hub"), "30s").Should(Succeed(), "made again")

	w.Expect(w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k)).To(Succeed())
	k.Spec.KubeConfig.SecretRef.Name = "other"
	w.Expect(w.admin.Update(t.Context(), k)).To(Succeed())
	w.Eventually(exists("other"), "30s").Should(Succeed())
	w.Eventually(exists("prod"), "30s").Should(Satisfy(apierrors.IsNotFound))

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "edge"}}
	w.Expect(w.admin.Create(t.Context(), secret)).To(Succeed())
	secret.Labels = map[string]string{"fleet.headwater.dev/cluster": "true"}
	w.Expect(w.admin.Update(t.Context(), secret)).To(Succeed())
	w.Eventually(exists("edge"), "30s").Should(Succeed())
	w.Expect(w.admin.Delete(t.Context(), secret)).To(Succeed())
	w.Eventually(exists("edge"), "30s").Should(Satisfy(apierrors.IsNotFound))
}
