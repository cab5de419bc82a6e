package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// agentImage is told, because the hub's agents are processes here: there is no
// StatefulSet that has an image.
const agentImage = "--image=registry.example.com/headwater/agent:1"

// pulling is a tenant with a cluster that the hub does not reach: its agent runs
// with exactly what hub agent install has exported for it.
type pulling struct {
	*tenant
	// wire is the agent's way to the hub's API server.
	wire           *testenv.Proxy
	agentNamespace string
	hubFile        string
	targetFile     string
	secret         *corev1.Secret
	deployment     *appsv1.Deployment
}

func newPulling(t *testing.T, files map[string]string) *pulling {
	t.Helper()
	p := &pulling{tenant: newTenant(t, files)}
	p.agentNamespace = p.namespace + "-agent"
	p.Eventually(func() error {
		return shared.onHub.Get(t.Context(), client.ObjectKey{Namespace: stack.Namespace, Name: "headwater-artifacts"}, &corev1.ConfigMap{})
	}).Should(Succeed(), "the hub serves artifacts to agents outside")
	wire, err := shared.hub.Proxy(p.namespace + "/agent")
	p.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(wire.Stop)
	p.wire = wire
	p.hubFile, p.targetFile = p.admin(shared.hub), p.admin(shared.target)
	return p
}

// admin is a kubeconfig file for an administrator.
func (p *pulling) admin(plane *testenv.ControlPlane) string {
	p.t.Helper()
	content, err := plane.Kubeconfig()
	p.Expect(err).NotTo(HaveOccurred())
	return p.file(content)
}

func (p *pulling) file(content []byte) string {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), "kubeconfig")
	p.Expect(os.WriteFile(path, content, 0o600)).To(Succeed())
	return path
}

// hub runs a command of the hub's binary on the cluster edge.
func (p *pulling) hub(args ...string) (stdout, stderr string, err error) {
	p.t.Helper()
	args = append(args, "--hub-kubeconfig="+p.hubFile, "--cluster=edge", "--namespace="+p.namespace, "--agent-namespace="+p.agentNamespace)
	command := exec.CommandContext(p.t.Context(), filepath.Join("..", "bin", "hub"), args...)
	var out, log bytes.Buffer
	command.Stdout, command.Stderr = &out, &log
	err = command.Run()
	return out.String(), log.String(), err
}

// install exports the agent, applies what is exported to the cluster, and starts
// the agent as its Deployment says.
func (p *pulling) install() {
	p.t.Helper()
	manifests, progress, err := p.hub("agent", "install", "--export", "--hub-server="+p.wire.URL, agentImage)
	p.Expect(err).NotTo(HaveOccurred(), progress)
	p.Expect(progress).To(ContainSubstring("hub: RemoteCluster " + p.namespace + "/edge "))
	p.Expect(progress).NotTo(ContainSubstring("eyJ"), "no token in what is for the eye")
	p.secret, p.deployment = &corev1.Secret{}, &appsv1.Deployment{}
	for text := range strings.SplitSeq(strings.TrimPrefix(manifests, "---\n"), "---\n") {
		object := &unstructured.Unstructured{}
		p.Expect(yaml.Unmarshal([]byte(text), object)).To(Succeed())
		switch object.GetKind() {
		case "Secret":
			p.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, p.secret)).To(Succeed())
		case "Deployment":
			p.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, p.deployment)).To(Succeed())
		}
		p.Expect(shared.onTarget.Apply(p.t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("test"), client.ForceOwnership)).To(Succeed())
	}
}

// start runs the agent with the arguments of its Deployment, as its
// ServiceAccount.
func (p *pulling) start() *testenv.Process {
	p.t.Helper()
	pod := p.deployment.Spec.Template.Spec
	own, err := shared.target.ServiceAccount(p.t.Context(), p.agentNamespace, pod.ServiceAccountName, nil)
	p.Expect(err).NotTo(HaveOccurred())
	args := []string{
		"--target-kubeconfig=" + p.file(own), "--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0",
		"--member-lease-duration=6s", "--fence-duration=9s", "--request-timeout=3s", "--probe-interval=2s",
	}
	for _, arg := range pod.Containers[0].Args {
		if !strings.HasPrefix(arg, "--artifact-cache-dir") {
			args = append(args, strings.ReplaceAll(arg, "$(RUNTIME_NAMESPACE)", p.agentNamespace))
		}
	}
	dir := p.t.TempDir()
	agent, err := testenv.StartProcess(testenv.Command{
		Name: "agent of edge", Path: filepath.Join("..", "bin", "agent"), Log: filepath.Join(dir, "log"),
		Args: append(args, "--artifact-cache-dir="+filepath.Join(dir, "cache")),
	})
	p.Expect(err).NotTo(HaveOccurred())
	p.t.Cleanup(func() {
		agent.Kill()
		if p.t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			p.t.Logf("log of the agent:\n%s", log)
		}
	})
	return agent
}

// asAgent is a client of the hub with the agent's token.
func (p *pulling) asAgent() client.Client {
	p.t.Helper()
	kinds, err := stack.Scheme()
	p.Expect(err).NotTo(HaveOccurred())
	config := &rest.Config{
		Host: shared.hub.URL, BearerToken: string(p.secret.Data["token"]),
		TLSClientConfig: rest.TLSClientConfig{CAData: p.secret.Data["ca.crt"]},
	}
	agent, err := client.New(config, client.Options{Scheme: kinds})
	p.Expect(err).NotTo(HaveOccurred())
	return agent
}

// download asks for a source's artifact at the hub's TLS address.
func (p *pulling) download(src *sourcev1.GitRepository, token string) int {
	p.t.Helper()
	p.Eventually(func() *meta.Artifact {
		p.Expect(shared.onHub.Get(p.t.Context(), client.ObjectKeyFromObject(src), src)).To(Succeed())
		return src.Status.Artifact
	}).ShouldNot(BeNil())
	inside, err := url.Parse(src.Status.Artifact.URL)
	p.Expect(err).NotTo(HaveOccurred())
	roots := x509.NewCertPool()
	p.Expect(roots.AppendCertsFromPEM(p.secret.Data["artifacts-ca.crt"])).To(BeTrue())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, string(p.secret.Data["artifacts"])+inside.Path, nil)
	p.Expect(err).NotTo(HaveOccurred())
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := transport.RoundTrip(request)
	p.Expect(err).NotTo(HaveOccurred())
	p.Expect(response.Body.Close()).To(Succeed())
	return response.StatusCode
}

func TestAnAgentInsideOfItsClusterPulls(t *testing.T) {
	p := newPulling(t, map[string]string{"a.yaml": configMap("a", "1")})
	ks := p.kustomization("one", "edge")
	ks.Spec.Interval = metav1.Duration{Duration: 2 * time.Second}
	p.create(p.source(), ks)
	p.install()
	p.start()
	p.becomes(ks, HavePrefix("True ReconciliationSucceeded"))
	p.Expect(p.data("a")).To(HaveKeyWithValue("value", "1"))
	p.Expect(p.agentOf("edge")).To(Equal("pull." + p.namespace + ".edge"))
	p.commit(map[string]string{"a.yaml": configMap("a", "2")})
	p.Eventually(func() map[string]string { return p.data("a") }).Should(HaveKeyWithValue("value", "2"))

	// The fence lies in the cluster.
	var leases coordinationv1.LeaseList
	p.Expect(shared.onTarget.List(t.Context(), &leases, client.InNamespace("kube-system"))).To(Succeed())
	var holders []string
	for _, lease := range leases.Items {
		if lease.Spec.HolderIdentity != nil {
			holders = append(holders, *lease.Spec.HolderIdentity)
		}
	}
	p.Expect(holders).To(ContainElement(HavePrefix("pull." + p.namespace + ".edge_")))

	// The hub is away, and drift is put right all the same.
	p.wire.Drop()
	drift := &corev1.ConfigMap{ObjectMeta: p.meta("a")}
	p.Expect(shared.onTarget.Patch(t.Context(), drift, client.RawPatch(types.MergePatchType, []byte(`{"data":{"value":"by hand"}}`)))).To(Succeed())
	p.Eventually(func() map[string]string { return p.data("a") }).Should(HaveKeyWithValue("value", "2"))
	p.commit(map[string]string{"a.yaml": configMap("a", "3")})
	p.Consistently(func() map[string]string { return p.data("a") }, "3s").Should(HaveKeyWithValue("value", "2"))

	// The hub is back: one pass for the commit, and no storm.
	p.wire.Reset()
	p.Expect(p.wire.Heal()).To(Succeed())
	p.Eventually(func() map[string]string { return p.data("a") }).Should(HaveKeyWithValue("value", "3"))
	p.becomes(ks, And(HavePrefix("True "), Not(BeEmpty())))
	statuses := 0
	for _, record := range p.wire.Records() {
		if record.Mutating && strings.HasSuffix(record.Path, "/kustomizations/one/status") {
			statuses++
		}
	}
	p.Expect(statuses).To(BeNumerically("<=", 4))
}

func TestAnAgentInsideOfItsClusterReachesNothingElse(t *testing.T) {
	p := newPulling(t, map[string]string{"a.yaml": configMap("a", "1")})
	other := newTenant(t, map[string]string{"a.yaml": configMap("a", "other")})
	other.create(other.source())
	p.create(p.source(), &corev1.Secret{ObjectMeta: p.meta("mine")})
	p.install()
	token := string(p.secret.Data["token"])
	agent := p.asAgent()

	for what, err := range map[string]error{
		"Secrets of another namespace": agent.List(t.Context(), &corev1.SecretList{}, client.InNamespace(other.namespace)),
		"Secrets of all namespaces":    agent.List(t.Context(), &corev1.SecretList{}),
		"Kustomizations of the hub":    agent.List(t.Context(), &kustomizev1.KustomizationList{}, client.InNamespace(stack.Namespace)),
		"another's source":             agent.Get(t.Context(), client.ObjectKeyFromObject(other.source()), &sourcev1.GitRepository{}),
		"another RemoteCluster":        agent.Get(t.Context(), client.ObjectKey{Namespace: p.namespace, Name: "other"}, &fleetv1.RemoteCluster{}),
		"another's namespace":          agent.Get(t.Context(), client.ObjectKey{Name: other.namespace}, &corev1.Namespace{}),
		"the agents' Leases":           agent.List(t.Context(), &coordinationv1.LeaseList{}, client.InNamespace(stack.Namespace)),
		"a Secret of its own to write": agent.Create(t.Context(), &corev1.Secret{ObjectMeta: p.meta("made")}),
		"another account's token": agent.SubResource("token").Create(t.Context(),
			&corev1.ServiceAccount{ObjectMeta: p.meta("default")}, &authenticationv1.TokenRequest{}),
	} {
		p.Expect(err).To(Satisfy(apierrors.IsForbidden), what)
	}
	p.Expect(agent.Get(t.Context(), client.ObjectKey{Namespace: p.namespace, Name: "mine"}, &corev1.Secret{})).To(Succeed())

	p.Expect(p.download(p.source(), token)).To(Equal(200))
	p.Expect(p.download(other.source(), token)).To(Equal(403))
	p.Expect(p.download(p.source(), "")).To(Equal(401))
	p.Expect(p.download(p.source(), token+"x")).To(Equal(401))

	// A source of another namespace is denied until somebody grants it.
	p.start()
	ks := p.kustomization("cross", "edge")
	ks.Spec.SourceRef.Namespace = other.namespace
	p.create(ks)
	p.becomes(ks, And(HavePrefix("False AccessDenied: spec.sourceRef.namespace"), ContainSubstring(other.namespace+"/repo")))
	p.grantSources(other.namespace)
	p.becomes(ks, HavePrefix("True "))
	p.Expect(p.data("a")).To(HaveKeyWithValue("value", "other"))
	p.Expect(p.download(other.source(), token)).To(Equal(200))
}

// grantSources lets the agent read the sources of a namespace.
func (p *pulling) grantSources(namespace string) {
	p.t.Helper()
	name := metav1.ObjectMeta{Namespace: namespace, Name: "shared-sources"}
	p.create(
		&rbacv1.Role{ObjectMeta: name, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"source.toolkit.fluxcd.io"}, Resources: []string{"gitrepositories"}, Verbs: []string{"get"},
		}}},
		&rbacv1.RoleBinding{
			ObjectMeta: name,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name.Name},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: p.namespace, Name: "headwater-agent-edge"}},
		})
}

func TestUninstallLeavesNothing(t *testing.T) {
	p := newPulling(t, map[string]string{"a.yaml": configMap("a", "1")})
	ks := p.kustomization("one", "edge")
	p.create(p.source(), ks)
	out, _, err := p.hub("agent", "install", "--kubeconfig="+p.targetFile, "--hub-server="+p.wire.URL, agentImage)
	p.Expect(err).NotTo(HaveOccurred())
	p.Expect(out).To(ContainSubstring("edge: Deployment " + p.agentNamespace + "/headwater-agent made"))
	p.install()
	agent := p.start()
	p.becomes(ks, HavePrefix("True "))

	// A second run changes the token alone.
	out, _, err = p.hub("agent", "install", "--kubeconfig="+p.targetFile, "--hub-server="+p.wire.URL, agentImage)
	p.Expect(err).NotTo(HaveOccurred())
	p.Expect(out).To(ContainSubstring("hub: RemoteCluster " + p.namespace + "/edge unchanged"))
	p.Expect(strings.Count(out, " made\n")).To(BeZero(), out)

	_, why, err := p.hub("agent", "uninstall", "--kubeconfig="+p.targetFile)
	p.Expect(err).To(HaveOccurred())
	p.Expect(why).To(ContainSubstring("still deploy to the cluster: Kustomization one: delete them first"))
	p.Expect(shared.onHub.Delete(t.Context(), ks)).To(Succeed())
	p.Eventually(func() bool {
		return apierrors.IsNotFound(shared.onHub.Get(t.Context(), client.ObjectKeyFromObject(ks), ks))
	}).Should(BeTrue())
	p.Expect(p.data("a")).To(BeNil())
	agent.Kill()
	out, why, err = p.hub("agent", "uninstall", "--kubeconfig="+p.targetFile)
	p.Expect(err).NotTo(HaveOccurred(), why)
	p.Expect(out).To(ContainSubstring("hub: RemoteCluster " + p.namespace + "/edge deleted"))

	own := types.NamespacedName{Namespace: p.namespace, Name: "headwater-agent-edge"}
	binding := types.NamespacedName{Name: "headwater-agent-" + p.agentNamespace}
	inSystem := types.NamespacedName{Namespace: "kube-system", Name: binding.Name}
	for _, left := range []struct {
		in   client.Client
		name types.NamespacedName
		kind client.Object
	}{
		{shared.onHub, types.NamespacedName{Namespace: p.namespace, Name: "edge"}, &fleetv1.RemoteCluster{}},
		{shared.onHub, own, &corev1.ServiceAccount{}}, {shared.onHub, own, &rbacv1.Role{}}, {shared.onHub, own, &rbacv1.RoleBinding{}},
		{shared.onHub, types.NamespacedName{Namespace: p.namespace, Name: "headwater-agent-pull." + p.namespace + ".edge"}, &coordinationv1.Lease{}},
		{shared.onTarget, types.NamespacedName{Name: p.agentNamespace}, &corev1.Namespace{}},
		{shared.onTarget, binding, &rbacv1.ClusterRoleBinding{}},
		{shared.onTarget, inSystem, &rbacv1.Role{}}, {shared.onTarget, inSystem, &rbacv1.RoleBinding{}},
	} {
		p.Eventually(func() bool {
			return apierrors.IsNotFound(left.in.Get(t.Context(), left.name, left.kind))
		}).Should(BeTrue(), "%T %s", left.kind, left.name)
	}
	var leases coordinationv1.LeaseList
	p.Expect(shared.onTarget.List(t.Context(), &leases, client.InNamespace("kube-system"))).To(Succeed())
	for _, lease := range leases.Items {
		p.Expect(lease.Spec.HolderIdentity).NotTo(HaveValue(HavePrefix("pull."+p.namespace)), lease.Name)
	}
	_, why, err = p.hub("agent", "uninstall", "--kubeconfig="+p.targetFile)
	p.Expect(err).NotTo(HaveOccurred(), why)
}

func TestInstallSaysWhatIsWrong(t *testing.T) {
	p := newPulling(t, map[string]string{"a.yaml": configMap("a", "1")})
	p.create(&corev1.Secret{ObjectMeta: p.meta("taken")})
	p.create(&fleetv1.RemoteCluster{ObjectMeta: p.meta("pushed"), Spec: fleetv1.RemoteClusterSpec{
		KubeConfig: &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "taken"}},
	}})
	garbage := p.file([]byte("no kubeconfig"))
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no such file":          {[]string{"--kubeconfig=/nosuch"}, "--kubeconfig: stat /nosuch"},
		"no kubeconfig":         {[]string{"--kubeconfig=" + garbage}, "is no kubeconfig that can be used"},
		"neither":               {nil, "--kubeconfig is missing: give the kubeconfig of the cluster, or --export"},
		"both":                  {[]string{"--export", "--kubeconfig=" + p.targetFile}, "give one of them"},
		"no such namespace":     {[]string{"--export", "--namespace=nosuch"}, "--namespace nosuch: the hub has no such namespace: create it"},
		"no name":               {[]string{"--export", "--cluster="}, `--cluster ""`},
		"a long name":           {[]string{"--export", "--cluster=" + strings.Repeat("x", 60)}, "longer than 57 characters together"},
		"a short token":         {[]string{"--export", "--token-lifetime=1m"}, "--token-lifetime 1m0s: no API server grants less than 10m0s"},
		"a cluster of the hub":  {[]string{"--export", "--cluster=pushed"}, "is of mode Push: delete it first, or choose another name (--cluster)"},
		"Headwater's own":       {[]string{"--export", "--namespace=flux-system"}, "--namespace flux-system is where Headwater itself runs"},
		"an image of nobody":    {[]string{"--export", "--image="}, "stateful set flux-system/agent (or name it with --image)"},
		"no artifacts outside":  {[]string{"--export", "--runtime-namespace=default"}, "start it with --artifact-tls-addr and --artifact-tls-adv-addr"},
		"an argument too many":  {[]string{"--export", "stray"}, `unexpected argument "stray"`},
		"a hub that is no file": {[]string{"--export", "--hub-kubeconfig=/nosuch"}, "--hub-kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			args := append([]string{"agent", "install", agentImage, "--cluster=edge", "--hub-kubeconfig=" + p.hubFile, "--namespace=" + p.namespace}, tc.args...)
			output, err := exec.CommandContext(t.Context(), filepath.Join("..", "bin", "hub"), args...).CombinedOutput()
			g.Expect(err).To(HaveOccurred())
			g.Expect(string(output)).To(ContainSubstring(tc.want))
		})
	}
	output, err := exec.CommandContext(t.Context(), filepath.Join("..", "bin", "hub"), "agent", "install", "--help").CombinedOutput()
	p.Expect(err).NotTo(HaveOccurred())
	p.Expect(string(output)).To(ContainSubstring("--token-lifetime"))
}
