package fleet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/metadata"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/yaml"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/shard"
)

// clusterAPICRD is Cluster API's own CRD of Clusters, serving the versions.
func clusterAPICRD(t *testing.T, served ...string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	g := NewWithT(t)
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/cluster-api").Output()
	g.Expect(err).NotTo(HaveOccurred())
	content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "core", "config", "crd", "bases", "cluster.x-k8s.io_clusters.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	crd := &apiextensionsv1.CustomResourceDefinition{}
	g.Expect(yaml.Unmarshal(content, crd)).To(Succeed())
	serve(crd, served...)
	return crd
}

func serve(crd *apiextensionsv1.CustomResourceDefinition, versions ...string) {
	for i := range crd.Spec.Versions {
		version := &crd.Spec.Versions[i]
		version.Served = strings.Contains(strings.Join(versions, " "), version.Name)
	}
}

func TestServedVersion(t *testing.T) {
	for served, want := range map[string]string{
		"v1beta1 v1beta2": "v1beta2", "v1beta2": "v1beta2", "v1beta1": "v1beta1", "v1alpha4": "", "": "",
	} {
		NewWithT(t).Expect(servedVersion(clusterAPICRD(t, strings.Fields(served)...))).To(Equal(want), served)
	}
}

// The two places that know where Cluster API puts a kubeconfig agree.
func TestDeclaredKeyIsThatOfItsRemoteCluster(t *testing.T) {
	cluster := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "any"}}
	cluster.Spec.ClusterRef = &fleetv1.ClusterReference{Name: "prod"}
	NewWithT(t).Expect(shard.KeysOf(cluster, "flux-system")).To(Equal([]shard.Key{declaredKey("apps", "prod")}))
}

// provision makes a Cluster in the given version, as a user of Cluster API does.
func (w *world) provision(version, name string, labels map[string]string) *unstructured.Unstructured {
	w.t.Helper()
	paused := map[string]any{"v1beta1": false, "v1beta2": true}[version]
	cluster := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"paused": paused}}}
	cluster.SetAPIVersion("cluster.x-k8s.io/" + version)
	cluster.SetKind("Cluster")
	cluster.SetNamespace(w.namespace)
	cluster.SetName(name)
	cluster.SetLabels(labels)
	w.Eventually(func() error { return w.admin.Create(w.t.Context(), cluster) }, "30s").Should(Succeed())
	return cluster
}

// becomesLabelled waits for the labels of a RemoteCluster.
func (w *world) becomesLabelled(name string, labels map[string]string) {
	w.t.Helper()
	w.Eventually(func() map[string]string { return w.clusters()[name].Labels }, "30s").Should(Equal(labels))
}

// Cluster API comes while the hub runs, changes its version and goes again.
func TestClustersOfClusterAPI(t *testing.T) {
	w := newWorld(t)
	types := runtime.NewScheme()
	w.Expect(apiextensionsv1.AddToScheme(types)).To(Succeed())
	crds, err := client.New(shared.ControlPlane(t).Config(), client.Options{Scheme: types})
	w.Expect(err).NotTo(HaveOccurred())
	k := w.uses("one", "prod-kubeconfig", "")
	w.start()
	w.Eventually(func() bool { return w.clusters()["prod-kubeconfig"].Name != "" }, "30s").Should(BeTrue(), "by reference, without Cluster API")
	w.Expect(w.admin.Delete(t.Context(), k)).To(Succeed())
	w.Eventually(func() int { return len(w.clusters()) }, "30s").Should(Equal(1), "the hub alone")

	crd := clusterAPICRD(t, "v1beta1")
	w.Expect(crds.Create(t.Context(), crd)).To(Succeed())
	prod := w.provision("v1beta1", "prod", map[string]string{"tier": "gold", "region": "eu", "kustomize.toolkit.fluxcd.io/name": "clusters"})
	managed := map[string]string{"fleet.headwater.dev/managed": "true"}
	w.becomesLabelled("prod", map[string]string{"fleet.headwater.dev/managed": "true", "tier": "gold", "region": "eu"})
	made := w.clusters()["prod"]
	w.Expect(made.Spec.ClusterRef).To(Equal(&fleetv1.ClusterReference{Kind: "Cluster", Name: "prod"}))
	w.Expect(made.Spec.KubeConfig).To(BeNil())

	// The version changes under way, and labels are kept in step all the same;
	// the user's own stay.
	w.Expect(crds.Get(t.Context(), client.ObjectKeyFromObject(crd), crd)).To(Succeed())
	serve(crd, "v1beta2")
	w.Expect(crds.Update(t.Context(), crd)).To(Succeed())
	w.provision("v1beta2", "other", nil)
	w.becomesLabelled("other", managed)
	made.Labels["mine"] = "yes"
	w.Expect(w.admin.Update(t.Context(), &made)).To(Succeed())
	prod.SetAPIVersion("cluster.x-k8s.io/v1beta2")
	w.Expect(w.admin.Get(t.Context(), client.ObjectKeyFromObject(prod), prod)).To(Succeed())
	prod.SetLabels(map[string]string{"tier": "silver"})
	w.Expect(w.admin.Update(t.Context(), prod)).To(Succeed())
	w.becomesLabelled("prod", map[string]string{"fleet.headwater.dev/managed": "true", "tier": "silver", "mine": "yes"})

	// A Cluster that goes while it is in use leaves its RemoteCluster to the
	// users, who hear from the agent that there is no kubeconfig.
	k = w.uses("one", "prod-kubeconfig", "")
	w.Expect(w.admin.Delete(t.Context(), prod)).To(Succeed())
	w.becomesLabelled("prod", map[string]string{"fleet.headwater.dev/managed": "true", "mine": "yes"})
	w.Expect(w.clusters()["prod"].UID).To(Equal(made.UID))
	w.Expect(w.clusters()).NotTo(HaveKey("prod-kubeconfig"), "one RemoteCluster for one target")
	w.Expect(w.admin.Delete(t.Context(), k)).To(Succeed())
	w.Eventually(func() bool { return w.clusters()["prod"].Name == "" }, "30s").Should(BeTrue())

	// With the CRD go all the others, and with a new CRD they come back.
	w.Expect(crds.Delete(t.Context(), crd)).To(Succeed())
	w.Eventually(func() bool { return w.clusters()["other"].Name == "" }, "60s").Should(BeTrue())
	w.Eventually(func() bool {
		return apierrors.IsNotFound(crds.Get(t.Context(), client.ObjectKeyFromObject(crd), crd))
	}, "30s").Should(BeTrue())
	crd = clusterAPICRD(t, "v1beta1", "v1beta2")
	w.Expect(crds.Create(t.Context(), crd)).To(Succeed())
	w.provision("v1beta2", "again", nil)
	w.becomesLabelled("again", managed)
	w.Expect(crds.Delete(t.Context(), crd)).To(Succeed())
}

// A CRD that serves none of our versions, for good or for a moment, may have Clusters
// all the same.
func TestClustersOfAnUnknownVersion(t *testing.T) {
	w := newWorld(t)
	config := shared.ControlPlane(t).Config()
	types := runtime.NewScheme()
	w.Expect(apiextensionsv1.AddToScheme(types)).To(Succeed())
	crds, err := client.New(config, client.Options{Scheme: types})
	w.Expect(err).NotTo(HaveOccurred())
	watch, err := metadata.NewForConfig(config)
	w.Expect(err).NotTo(HaveOccurred())
	c := &clusterAPI{crds: crds, fleet: w.admin, metadata: watch, news: make(chan event.GenericEvent, 100), life: t.Context()}
	crd := clusterAPICRD(t, "v1beta2")
	name := client.ObjectKeyFromObject(crd)
	// look has the CRD looked at; whether all Clusters are known is the answer.
	look := func() bool {
		_, err := c.Reconcile(t.Context(), ctrl.Request{NamespacedName: name})
		w.Expect(err).NotTo(HaveOccurred())
		_, known, err := c.list(w.namespace)
		w.Expect(err).NotTo(HaveOccurred())
		return known
	}
	change := func(versions ...string) {
		w.Expect(crds.Get(t.Context(), name, crd)).To(Succeed())
		serve(crd, versions...)
		w.Expect(crds.Update(t.Context(), crd)).To(Succeed())
	}
	w.Eventually(func() error { return crds.Create(t.Context(), crd.DeepCopy()) }, "60s").Should(Succeed(), "another test's may be on its way out")
	w.provision("v1beta2", "prod", nil)
	w.Eventually(look, "30s").Should(BeTrue())

	change("v1alpha4")
	w.Expect(look()).To(BeFalse())
	w.Expect(look()).To(BeFalse())
	change("v1beta2")
	w.Eventually(look, "30s").Should(BeTrue())
	clusters, _, err := c.list(w.namespace)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(clusters).To(HaveLen(1))

	change("v1alpha4")
	w.Expect(look()).To(BeFalse())
	w.Expect(crds.Delete(t.Context(), crd)).To(Succeed())
	w.Eventually(look, "60s").Should(BeTrue(), "no CRD, no Clusters")
}

func TestClusterRefOfAUser(t *testing.T) {
	w := newWorld(t)
	mine := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "mine"}}
	mine.Spec.ClusterRef = &fleetv1.ClusterReference{APIVersion: "cluster.x-k8s.io/v1beta2", Name: "prod"}
	w.Expect(w.admin.Create(t.Context(), mine)).To(Succeed())
	w.uses("one", "prod-kubeconfig", "")
	w.reconcile()
	w.Expect(w.clusters()).To(HaveLen(1), "it stands for the Cluster's kubeconfig, however that is named")

	bad := mine.DeepCopy()
	bad.ObjectMeta = metav1.ObjectMeta{Namespace: w.namespace, Name: "bad"}
	bad.Spec.ClusterRef.Kind = "MachinePool"
	w.Expect(w.admin.Create(t.Context(), bad)).To(MatchError(ContainSubstring("spec.clusterRef.kind")))
	bad.Spec.ClusterRef.Kind, bad.Spec.ClusterRef.APIVersion = "", "example.com/v1"
	w.Expect(w.admin.Create(t.Context(), bad)).To(MatchError(ContainSubstring("spec.clusterRef.apiVersion")))
}

// While it is not known which Clusters there are, none is taken to be gone.
func TestNothingIsRemovedBeforeAllIsKnown(t *testing.T) {
	g := NewWithT(t)
	made := fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{
		Namespace: "apps", Name: "prod", Labels: map[string]string{"fleet.headwater.dev/managed": "true"},
	}}
	made.Spec.ClusterRef = &fleetv1.ClusterReference{Name: "prod"}
	s := state{namespace: "apps", system: "flux-system", clusters: []fleetv1.RemoteCluster{made}, undecided: true}
	c, err := plan(s)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.remove).To(BeEmpty())
	s.undecided = false
	c, err = plan(s)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.remove).To(HaveLen(1))
}
