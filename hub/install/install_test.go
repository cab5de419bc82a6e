package install

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/config"
	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared = testenv.Shared{CRDs: true}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// world is one API server that is the hub as well as the cluster edge.
type world struct {
	*WithT
	t     *testing.T
	admin client.Client
	// namespace of the RemoteClusters, and that of the agent in the cluster, which
	// is not there yet.
	namespace, agentNamespace string
	kubeconfig                string
	// said is the progress of the last command, manifests what it exported.
	said, manifests bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	g := NewWithT(t)
	plane := shared.ControlPlane(t)
	admin, err := plane.Client(kinds())
	g.Expect(err).NotTo(HaveOccurred())
	made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "team-"}}
	g.Expect(admin.Create(t.Context(), made)).To(Succeed())
	kubeconfig, err := plane.Kubeconfig()
	g.Expect(err).NotTo(HaveOccurred())
	path := filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(os.WriteFile(path, kubeconfig, 0o600)).To(Succeed())
	return &world{WithT: g, t: t, admin: admin, namespace: made.Name, agentNamespace: made.Name + "-agent", kubeconfig: path}
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, object := range objects {
		w.Expect(w.admin.Create(w.t.Context(), object)).To(Succeed())
	}
}

// install is hub agent install for the cluster edge, with more flags.
func (w *world) install(flags ...string) error {
	w.t.Helper()
	return w.run((*options).bindInstall, (*options).install, append([]string{
		"--kubeconfig=" + w.kubeconfig, "--artifact-addr=https://hub.example.com:9443", "--image=registry.example.com/agent:1",
	}, flags...))
}

// uninstall is hub agent uninstall for the cluster edge, with more flags.
func (w *world) uninstall(flags ...string) error {
	w.t.Helper()
	return w.run((*options).bindUninstall, (*options).uninstall, append([]string{"--kubeconfig=" + w.kubeconfig}, flags...))
}

func (w *world) run(bind func(*options, *pflag.FlagSet), do func(*options, context.Context) error, flags []string) error {
	w.t.Helper()
	w.said.Reset()
	w.manifests.Reset()
	o := &options{out: &w.said, manifests: &w.manifests}
	err := o.parse("hub agent", "", append([]string{
		"--hub-kubeconfig=" + w.kubeconfig, "--cluster=edge", "--namespace=" + w.namespace, "--agent-namespace=" + w.agentNamespace,
	}, flags...), func(flags *pflag.FlagSet) { bind(o, flags) })
	if err != nil {
		return err
	}
	return do(o, w.t.Context())
}

// kubectlApply is what one does with exported manifests.
func (w *world) kubectlApply(manifests string) {
	w.t.Helper()
	for text := range strings.SplitSeq(strings.TrimPrefix(manifests, "---\n"), "---\n") {
		object := &unstructured.Unstructured{}
		w.Expect(yaml.Unmarshal([]byte(text), object)).To(Succeed())
		w.Expect(w.admin.Apply(w.t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("kubectl"))).To(Succeed())
	}
}

// inAgentNamespace names something in the agent's namespace.
func (w *world) inAgentNamespace(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.agentNamespace, Name: name}
}

// exists says whether an object is there, and not on its way out.
func (w *world) exists(object client.Object) bool {
	w.t.Helper()
	err := w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(object), object)
	w.Expect(client.IgnoreNotFound(err)).NotTo(HaveOccurred())
	return err == nil && object.GetDeletionTimestamp() == nil
}

func TestUninstallLeavesANamespaceThatWasThere(t *testing.T) {
	for name, install := range map[string]func(w *world){
		"install": func(w *world) { w.Expect(w.install()).To(Succeed()) },
		"install twice": func(w *world) {
			w.Expect(w.install()).To(Succeed())
			w.Expect(w.install()).To(Succeed())
		},
		"export": func(w *world) {
			w.Expect(w.install("--export", "--kubeconfig=")).To(Succeed())
			w.kubectlApply(w.manifests.String())
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			platform := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.agentNamespace, Labels: map[string]string{"team": "platform"}}}
			w.create(platform, &corev1.ConfigMap{ObjectMeta: w.inAgentNamespace("others")})
			install(w)
			w.Expect(w.exists(&appsv1.Deployment{ObjectMeta: w.inAgentNamespace("headwater-agent")})).To(BeTrue())

			w.Expect(w.uninstall()).To(Succeed())
			w.Expect(w.exists(platform)).To(BeTrue())
			w.Expect(platform.Labels).To(HaveKeyWithValue("team", "platform"))
			w.Expect(platform.Labels).NotTo(HaveKey("app.kubernetes.io/managed-by"))
			w.Expect(w.exists(&appsv1.Deployment{ObjectMeta: w.inAgentNamespace("headwater-agent")})).To(BeFalse())
			w.Expect(w.said.String()).To(ContainSubstring("edge: Namespace " + w.agentNamespace + " left: install did not make it"))
		})
	}
}

func TestUninstallDeletesTheNamespaceThatInstallMade(t *testing.T) {
	w := newWorld(t)
	w.Expect(w.install()).To(Succeed())
	w.Expect(w.install()).To(Succeed(), "a second run does not forget it")
	made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.agentNamespace}}
	w.Expect(w.exists(made)).To(BeTrue())
	w.Expect(w.uninstall()).To(Succeed())
	w.Expect(w.exists(made)).To(BeFalse())
}

// credentials are those of the agent in its namespace.
func (w *world) credentials() *corev1.Secret {
	w.t.Helper()
	secret := &corev1.Secret{ObjectMeta: w.inAgentNamespace("headwater-hub")}
	w.Expect(w.exists(secret)).To(BeTrue())
	return secret
}

// TestTheAgentStartsAnewWithAnotherAccess: what it reads once, when it starts, is
// of no use to it otherwise.
func TestTheAgentStartsAnewWithAnotherAccess(t *testing.T) {
	w := newWorld(t)
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "system-"}}
	w.create(system)
	access := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: system.Name, Name: "headwater-artifacts"}}
	access.Data = map[string]string{"address": "https://hub.example.com:9443", "ca.crt": "one"}
	w.create(access)
	// The generation of the Pod template alone makes new Pods.
	installed := func(flags ...string) (template, token string) {
		w.Expect(w.install(append(flags, "--runtime-namespace="+system.Name, "--artifact-addr=")...)).To(Succeed())
		deployment := &appsv1.Deployment{ObjectMeta: w.inAgentNamespace("headwater-agent")}
		w.Expect(w.exists(deployment)).To(BeTrue())
		return deployment.Spec.Template.String(), string(w.credentials().Data["token"])
	}
	first, token := installed()
	again, renewed := installed("--token-lifetime=2h")
	w.Expect(renewed).NotTo(Equal(token))
	w.Expect(again).To(Equal(first), "a new token is taken over without a restart")
	w.Expect(first).NotTo(ContainSubstring(token))

	moved, _ := installed("--hub-server=https://hub.example.com:6443")
	w.Expect(moved).NotTo(Equal(first), "another address of the hub")
	access.Data["ca.crt"] = "two"
	w.Expect(w.admin.Update(t.Context(), access)).To(Succeed())
	rotated, _ := installed("--hub-server=https://hub.example.com:6443")
	w.Expect(rotated).NotTo(Equal(moved), "another authority of the artifacts")
}

func TestTheAgentOfAnotherRemoteClusterIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.Expect(w.install()).To(Succeed())
	before := w.credentials()

	refused := MatchError(And(
		ContainSubstring("the agent in namespace "+w.agentNamespace+" is that of remote cluster "+w.namespace+"/edge:"),
		ContainSubstring("--agent-namespace")))
	w.Expect(w.install("--cluster=edge-18")).To(refused)
	w.Expect(w.uninstall("--cluster=edge-18")).To(refused)
	w.Expect(w.uninstall("--cluster=edge-18", "--force")).To(refused)
	w.Expect(w.credentials().ResourceVersion).To(Equal(before.ResourceVersion))
	w.Expect(w.exists(&appsv1.Deployment{ObjectMeta: w.inAgentNamespace("headwater-agent")})).To(BeTrue())
	w.Expect(w.exists(&fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "edge-18"}})).To(BeFalse())

	w.Expect(w.install("--cluster=edge-18", "--agent-namespace="+w.agentNamespace+"-18")).To(Succeed())
	w.Expect(w.uninstall("--cluster=edge-18", "--agent-namespace="+w.agentNamespace+"-18")).To(Succeed())
	w.Expect(w.uninstall()).To(Succeed())
}

func TestTheAgentOfAnotherHubIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.Expect(w.install()).To(Succeed())
	others := w.credentials()
	others.Data["hub-uid"] = []byte("another hub's")
	w.Expect(w.admin.Update(t.Context(), others)).To(Succeed())

	refused := MatchError(ContainSubstring("is that of remote cluster " + w.namespace + "/edge of another hub:"))
	w.Expect(w.install()).To(refused)
	w.Expect(w.uninstall()).To(refused)
	w.Expect(w.credentials().ResourceVersion).To(Equal(others.ResourceVersion))

	// That hub is gone for good.
	w.Expect(w.admin.Delete(t.Context(), others)).To(Succeed())
	w.Expect(w.install()).To(Succeed())
}

func TestInstallTakesOverWhatTheHubMadeForTheCluster(t *testing.T) {
	w := newWorld(t)
	w.create(w.remoteCluster(fleetv1.RemoteClusterSpec{KubeConfig: secretReference("edge", "")}))
	w.Expect(w.install()).To(Succeed())
	taken := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "edge"}}
	w.Expect(w.exists(taken)).To(BeTrue())
	w.Expect(taken.Spec.Mode).To(Equal(fleetv1.PullMode))
	w.Expect(taken.Spec.KubeConfig).To(BeNil())
	w.Expect(taken.Labels).To(BeEmpty())
}

func TestInstallTakesNoOtherClustersRecord(t *testing.T) {
	for name, spec := range map[string]fleetv1.RemoteClusterSpec{
		"the hub's own":                {Mode: fleetv1.HubMode},
		"one of Cluster API":           {ClusterRef: &fleetv1.ClusterReference{Kind: "Cluster", Name: "edge"}},
		"that of another Secret":       {KubeConfig: secretReference("ed", "ge")},
		"that of another key in there": {KubeConfig: secretReference("edge", "admin")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			made := w.remoteCluster(spec)
			w.create(made)
			w.Expect(w.install()).To(MatchError(ContainSubstring("remote cluster " + w.namespace + "/edge is the record of ")))
			found := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "edge"}}
			w.Expect(w.exists(found)).To(BeTrue())
			w.Expect(found.Spec).To(Equal(made.Spec))
			w.Expect(found.Labels).To(Equal(made.Labels))
		})
	}
}

// remoteCluster is one of the name edge as the hub makes it.
func (w *world) remoteCluster(spec fleetv1.RemoteClusterSpec) *fleetv1.RemoteCluster {
	return &fleetv1.RemoteCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "edge", Labels: map[string]string{"fleet.headwater.dev/managed": "true"}},
		Spec:       spec,
	}
}

func secretReference(name, key string) *meta.KubeConfigReference {
	return &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: name, Key: key}}
}

func TestInstallGivesNobodyTheHubsOwnNamespace(t *testing.T) {
	w := newWorld(t)
	w.Expect(w.install("--runtime-namespace=" + w.namespace)).To(MatchError(And(
		ContainSubstring("--namespace "+w.namespace+" is where Headwater itself runs"),
		ContainSubstring("name another"))))
	account := metav1.ObjectMeta{Namespace: w.namespace, Name: "headwater-agent-edge"}
	w.Expect(w.exists(&corev1.ServiceAccount{ObjectMeta: account})).To(BeFalse())

	// One that is there already can be taken out.
	w.Expect(w.install()).To(Succeed())
	w.Expect(w.uninstall("--runtime-namespace=" + w.namespace)).To(Succeed())
	w.Expect(w.exists(&corev1.ServiceAccount{ObjectMeta: account})).To(BeFalse())
}

func TestUninstallWaitsForWhatDeploysToTheCluster(t *testing.T) {
	w := newWorld(t)
	w.Expect(w.install()).To(Succeed())
	meant := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: w.namespace, Name: name} }
	apps := &kustomizev1.Kustomization{ObjectMeta: meant("apps")}
	apps.Spec.Interval.Duration = time.Minute
	apps.Spec.SourceRef.Kind, apps.Spec.SourceRef.Name = "GitRepository", "fleet"
	apps.Spec.KubeConfig = secretReference("edge", "")
	release := func(name, cluster string) *helmv2.HelmRelease {
		r := &helmv2.HelmRelease{ObjectMeta: meant(name)}
		r.Spec.Interval.Duration = time.Minute
		r.Spec.ChartRef = &helmv2.CrossNamespaceSourceReference{Kind: "OCIRepository", Name: "web"}
		r.Spec.KubeConfig = secretReference(cluster, "")
		return r
	}
	web := release("web", "edge")
	w.create(apps, web, release("elsewhere", "other"))

	w.Expect(w.uninstall()).To(MatchError(ContainSubstring("still deploy to the cluster: Kustomization apps, HelmRelease web: delete them first")))
	w.Expect(w.admin.Delete(t.Context(), apps)).To(Succeed())
	w.Expect(w.uninstall()).To(MatchError(ContainSubstring("still deploy to the cluster: HelmRelease web: delete them first")))
	w.Expect(w.exists(&appsv1.Deployment{ObjectMeta: w.inAgentNamespace("headwater-agent")})).To(BeTrue())
	w.Expect(w.uninstall("--force")).To(Succeed())
}

func TestTheImageIsThatOfTheHubsAgents(t *testing.T) {
	w := newWorld(t)
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "system-"}}
	w.create(system)
	flags := []string{"--runtime-namespace=" + system.Name, "--image="}

	w.Expect(w.install(flags...)).To(MatchError(And(
		ContainSubstring("stateful set "+system.Name+"/agent"), ContainSubstring("name it with --image"))))
	for _, made := range []client.Object{
		&fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "edge"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.agentNamespace}},
	} {
		w.Expect(w.exists(made)).To(BeFalse(), "nothing is made before the image is known")
	}

	var agents appsv1.StatefulSet
	w.Expect(yaml.Unmarshal(config.AgentWorkload(), &agents)).To(Succeed())
	agents.Namespace = system.Name
	agents.Spec.Template.Spec.Containers[0].Image = "registry.example.com/headwater/agent:2"
	w.create(&agents)
	w.Expect(w.install(flags...)).To(Succeed())
	deployment := &appsv1.Deployment{ObjectMeta: w.inAgentNamespace("headwater-agent")}
	w.Expect(w.exists(deployment)).To(BeTrue())
	w.Expect(deployment.Spec.Template.Spec.Containers[0].Image).To(Equal("registry.example.com/headwater/agent:2"))
}

// TestTheAgentKeepsItsFlags: install is run again for a new token, by somebody who
// need not know them.
func TestTheAgentKeepsItsFlags(t *testing.T) {
	w := newWorld(t)
	args := func() []string {
		deployment := &appsv1.Deployment{ObjectMeta: w.inAgentNamespace("headwater-agent")}
		w.Expect(w.exists(deployment)).To(BeTrue())
		return deployment.Spec.Template.Spec.Containers[0].Args
	}
	w.Expect(w.install()).To(Succeed())
	plain := args()

	given := []string{"--default-service-account=tenant", "--feature-gates=ExternalArtifact=true,AllowDNSLookups=true"}
	w.Expect(w.install("--agent-arg="+given[0], "--agent-arg="+given[1], "--agent-arg=--pull-secret=team/other")).To(Succeed())
	with := args()
	w.Expect(with).To(ContainElements(given))
	w.Expect(with[len(with)-2]).To(Equal("--pull-secret=$(RUNTIME_NAMESPACE)/headwater-hub"), "the last one counts")
	w.Expect(w.install()).To(Succeed())
	w.Expect(args()).To(Equal(with))

	w.Expect(w.install("--agent-arg=--log-level=debug")).To(Succeed())
	w.Expect(args()).To(ContainElement("--log-level=debug"))
	w.Expect(args()).NotTo(ContainElement(given[0]), "given anew")
	w.Expect(w.install("--agent-arg=")).To(Succeed())
	w.Expect(args()).To(Equal(plain))

	w.Expect(w.install("--agent-arg=log-level=debug")).To(MatchError(ContainSubstring("want a flag of the agent")))
	w.Expect(w.install("--export", "--kubeconfig=", "--agent-arg="+given[0])).To(Succeed())
	w.Expect(w.manifests.String()).To(ContainSubstring("- " + given[0] + "\n"))
}

func TestWhoMayNotReadTheImageIsTold(t *testing.T) {
	w := newWorld(t)
	limited, err := shared.ControlPlane(t).ServiceAccount(t.Context(), w.namespace, "installer", []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces", "configmaps"}, Verbs: []string{"get"}},
	})
	w.Expect(err).NotTo(HaveOccurred())
	path := filepath.Join(t.TempDir(), "kubeconfig")
	w.Expect(os.WriteFile(path, limited, 0o600)).To(Succeed())
	w.Expect(w.install("--hub-kubeconfig="+path, "--image=")).To(MatchError(And(
		ContainSubstring("stateful set flux-system/agent"), ContainSubstring("forbidden"), ContainSubstring("name it with --image"))))
}

func TestHowTheHubIsReachedHasToFitTheAgent(t *testing.T) {
	w := newWorld(t)
	for field, change := range map[string]func(*clientcmdapi.Cluster){
		"proxy-url":       func(c *clientcmdapi.Cluster) { c.ProxyURL = "http://127.0.0.1:1" },
		"tls-server-name": func(c *clientcmdapi.Cluster) { c.TLSServerName = "hub.example.com" },
		"insecure-skip-tls-verify": func(c *clientcmdapi.Cluster) {
			c.InsecureSkipTLSVerify, c.CertificateAuthorityData = true, nil
		},
	} {
		kubeconfig, err := clientcmd.LoadFromFile(w.kubeconfig)
		w.Expect(err).NotTo(HaveOccurred())
		for _, cluster := range kubeconfig.Clusters {
			change(cluster)
		}
		path := filepath.Join(t.TempDir(), "kubeconfig")
		w.Expect(clientcmd.WriteToFile(*kubeconfig, path)).To(Succeed())
		w.Expect(w.install("--hub-kubeconfig=" + path)).To(MatchError(And(
			ContainSubstring("the hub's kubeconfig has "+field), ContainSubstring("--hub-server"))))
		w.Expect(w.said.String()).To(BeEmpty(), "nothing is made")
		if field == "insecure-skip-tls-verify" {
			w.Expect(w.install("--hub-kubeconfig="+path, "--hub-server=https://hub.example.com:6443")).To(Succeed())
		}
	}
}

// TestTheAgentsTokenIsWorthItsOwnClusterAlone: an administrator of the cluster reads
// it there, and has no rights on the hub.
func TestTheAgentsTokenIsWorthItsOwnClusterAlone(t *testing.T) {
	w := newWorld(t)
	w.Expect(w.install()).To(Succeed())
	access := rest.AnonymousClientConfig(shared.ControlPlane(t).Config())
	access.BearerToken = string(w.credentials().Data["token"])
	agent, err := client.New(access, client.Options{Scheme: kinds()})
	w.Expect(err).NotTo(HaveOccurred())

	deploy := func(name, owner string) *kustomizev1.Kustomization {
		k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: name, Finalizers: []string{"example.com/keep"}, Labels: map[string]string{meta.AgentLabel: owner},
		}}
		k.Spec.Interval.Duration = time.Minute
		k.Spec.SourceRef.Kind, k.Spec.SourceRef.Name = "GitRepository", "fleet"
		k.Spec.KubeConfig = secretReference("edge", "")
		w.create(k)
		return k
	}
	own, others := deploy("own", "pull."+w.namespace+".edge"), deploy("others", "agent-0")
	release := &helmv2.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "web", Labels: own.Labels}}
	release.Spec.Interval.Duration = time.Minute
	release.Spec.ChartRef = &helmv2.CrossNamespaceSourceReference{Kind: "OCIRepository", Name: "web"}
	w.create(release)

	patch := func(obj client.Object, body string) error {
		return agent.Patch(t.Context(), obj.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, []byte(body)))
	}
	refused := MatchError(ContainSubstring("the agent headwater-agent-edge may change nothing but the finalizer and the status of "))
	toTheHub := `{"spec":{"kubeConfig":null,"serviceAccountName":"deployer"}}`
	// A policy takes a moment to be in force.
	w.Eventually(func() error { return patch(own, toTheHub) }, "30s", "200ms").Should(refused)
	w.Expect(patch(release, `{"spec":{"serviceAccountName":"deployer"}}`)).To(refused)
	for _, body := range []string{
		toTheHub,
		`{"metadata":{"labels":{"fleet.headwater.dev/pin":"agent-0"}}}`,
		`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`,
		`{"metadata":{"finalizers":null}}`,
		`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"a","uid":"b"}]}}`,
	} {
		w.Expect(patch(own, body)).To(refused, body)
	}

	const finalizers = `{"metadata":{"finalizers":["example.com/keep","finalizers.fluxcd.io"]}}`
	status := client.RawPatch(types.MergePatchType, []byte(`{"status":{"lastAttemptedRevision":"main@sha1:1"}}`))
	w.Expect(patch(own, finalizers)).To(Succeed())
	w.Expect(patch(own, `{"metadata":{"finalizers":["example.com/keep"]}}`)).To(Succeed())
	w.Expect(agent.Status().Patch(t.Context(), own, status)).To(Succeed())
	w.Expect(agent.Status().Patch(t.Context(), release, status)).To(Succeed())
	w.Expect(patch(release, `{"metadata":{"finalizers":["finalizers.fluxcd.io"]}}`)).To(Succeed())

	refused = MatchError(ContainSubstring("the agent headwater-agent-edge may not write to others, which is not of its cluster"))
	w.Expect(patch(others, finalizers)).To(refused)
	w.Expect(agent.Status().Patch(t.Context(), others, status)).To(refused, "what a status lists is pruned")
}

// TestWhatIsNotOfInstallIsLeft: in a namespace where a hub runs, its agents have a
// ServiceAccount and a Role of the same names.
func TestWhatIsNotOfInstallIsLeft(t *testing.T) {
	w := newWorld(t)
	leases := []rbacv1.PolicyRule{{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"update"}}}
	account := &corev1.ServiceAccount{ObjectMeta: w.inAgentNamespace("headwater-agent")}
	role := &rbacv1.Role{ObjectMeta: w.inAgentNamespace("headwater-agent"), Rules: leases}
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.agentNamespace}}, account, role)

	w.Expect(w.install()).To(MatchError(And(
		ContainSubstring("edge: ServiceAccount "+w.agentNamespace+"/headwater-agent is there and not of an install"),
		ContainSubstring("--agent-namespace"))))
	w.Expect(w.said.String()).To(BeEmpty(), "nothing is made")
	w.Expect(w.exists(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "headwater-agent-" + w.agentNamespace}})).To(BeFalse())

	// An older install took them over; the hub there was deployed again since.
	w.Expect(w.admin.Delete(t.Context(), account)).To(Succeed())
	w.Expect(w.admin.Delete(t.Context(), role)).To(Succeed())
	w.Expect(w.install()).To(Succeed())
	w.Expect(w.exists(role)).To(BeTrue())
	role.Labels, role.Rules = nil, leases
	w.Expect(w.admin.Update(t.Context(), role)).To(Succeed())
	w.Expect(w.uninstall()).To(Succeed())
	w.Expect(w.said.String()).To(ContainSubstring("edge: Role " + w.agentNamespace + "/headwater-agent left: install did not make it\n"))
	w.Expect(w.exists(role)).To(BeTrue())
	w.Expect(role.Rules).To(Equal(leases))
	w.Expect(w.exists(&appsv1.Deployment{ObjectMeta: w.inAgentNamespace("headwater-agent")})).To(BeFalse())
}
