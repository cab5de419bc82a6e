package testenv

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

func TestServiceAccountMayDoWhatItsRulesSay(t *testing.T) {
	g := NewWithT(t)
	c := shared.ControlPlane(t)
	kubeconfig, err := c.ServiceAccount(t.Context(), "rules", "reader", []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}},
	})
	g.Expect(err).NotTo(HaveOccurred())
	kube := clientFor(t, kubeconfig)

	g.Expect(kube.List(t.Context(), &corev1.ConfigMapList{})).To(Succeed())
	g.Expect(kube.List(t.Context(), &corev1.SecretList{})).To(MatchError(ContainSubstring(
		`User "system:serviceaccount:rules:reader" cannot list resource "secrets"`)))

	again, err := c.ServiceAccount(t.Context(), "rules", "reader", nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(clientFor(t, again).List(t.Context(), &corev1.ConfigMapList{})).To(Succeed())
}

func TestUserKubeconfigHasNoRightsOfItsOwn(t *testing.T) {
	g := NewWithT(t)
	c := shared.ControlPlane(t)
	kubeconfig, err := c.UserKubeconfig("jane", "developers")
	g.Expect(err).NotTo(HaveOccurred())
	err = clientFor(t, kubeconfig).List(t.Context(), &corev1.SecretList{})
	g.Expect(err).To(MatchError(ContainSubstring(`User "jane" cannot list`)))

	kubeconfig, err = c.Kubeconfig()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(clientFor(t, kubeconfig).List(t.Context(), &corev1.SecretList{})).To(Succeed())
}

func TestKubeconfigsVerifyTheirOwnControlPlane(t *testing.T) {
	g := NewWithT(t)
	c := shared.ControlPlane(t)
	other, err := newAuthority("other")
	g.Expect(err).NotTo(HaveOccurred())
	config := c.Config()
	config.CAData = other.pem
	kube, err := client.New(config, client.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kube.List(t.Context(), &corev1.SecretList{})).To(MatchError(ContainSubstring("certificate signed by unknown authority")))
}

func TestControllersRun(t *testing.T) {
	g := NewWithT(t)
	kube := adminClient(t)
	namespace := newNamespace(t, "controllers")
	deployment := newDeployment(namespace, "web", nil)
	g.Expect(kube.Create(t.Context(), deployment)).To(Succeed())
	pods := func(g Gomega) int {
		var list corev1.PodList
		g.Expect(kube.List(t.Context(), &list, client.InNamespace(namespace))).To(Succeed())
		return len(list.Items)
	}
	g.Eventually(pods).WithTimeout(eventually).Should(Equal(1), "the deployment and replicaset controllers")

	g.Expect(kube.Delete(t.Context(), deployment, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	g.Eventually(pods).WithTimeout(eventually).Should(BeZero(), "the garbage collector")

	g.Expect(kube.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
	g.Eventually(func() error {
		return kube.Get(t.Context(), client.ObjectKey{Name: namespace}, &corev1.Namespace{})
	}).WithTimeout(eventually).Should(Satisfy(apierrors.IsNotFound), "the namespace controller")
}

func TestRestartKeepsDataAndPort(t *testing.T) {
	g := NewWithT(t)
	c := ForTest(t, Options{Name: "restarted"})
	kube, err := c.Client(nil)
	g.Expect(err).NotTo(HaveOccurred())
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kept"}}
	g.Expect(kube.Create(t.Context(), object)).To(Succeed())
	key, get := client.ObjectKeyFromObject(object), &corev1.ConfigMap{}

	c.Kill()
	g.Expect(kube.Get(t.Context(), key, get)).To(MatchError(ContainSubstring("connection refused")))
	_, err = net.Listen("tcp4", c.port.address())
	g.Expect(err).To(MatchError(ContainSubstring("address already in use")), "nobody else takes the port")
	g.Expect(c.Restart(t.Context())).To(Succeed())
	g.Expect(kube.Get(t.Context(), key, get)).To(Succeed())
	g.Expect(get.UID).To(Equal(object.UID))

	g.Expect(c.Pause()).To(Succeed())
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	g.Expect(kube.Get(short, key, get)).To(MatchError(context.DeadlineExceeded))
	g.Expect(c.Resume()).To(Succeed())
	g.Expect(kube.Get(t.Context(), key, get)).To(Succeed())

	parts := []*Process{c.etcd, c.api}
	c.Stop()
	c.Stop()
	g.Expect(c.dir.path).NotTo(BeAnExistingFile())
	for _, part := range parts {
		g.Expect(runs(part.PID())).To(BeFalse())
	}
}

func TestStartTellsWhyAPartDoesNotStart(t *testing.T) {
	g := NewWithT(t)
	c, err := newControlPlane(Options{Name: "broken"})
	g.Expect(err).NotTo(HaveOccurred())
	defer c.Stop()
	g.Expect(os.WriteFile(c.dir.file("etcd"), nil, 0o600)).To(Succeed(), "a file where the data should be")
	g.Expect(c.start(t.Context())).To(MatchError(And(
		ContainSubstring("etcd ended: exit status 1"), ContainSubstring("not a directory"))))
}

func TestStartWithoutABinary(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("HEADWATER_CONTROLPLANE", filepath.Join(t.TempDir(), "missing"))
	_, err := Start(t.Context(), Options{})
	g.Expect(err).To(MatchError(ContainSubstring("HEADWATER_CONTROLPLANE")))

	t.Setenv("HEADWATER_CONTROLPLANE", "")
	root := t.TempDir()
	g.Expect(os.MkdirAll(filepath.Join(root, "e2e", "controlplane"), 0o700)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(root, "e2e", "controlplane", "go.mod"), nil, 0o600)).To(Succeed())
	t.Chdir(root)
	_, err = Start(t.Context(), Options{})
	g.Expect(err).To(MatchError(ContainSubstring("run make controlplane")))
}

func TestServesEnvtest(t *testing.T) {
	g := NewWithT(t)
	environment := &envtest.Environment{BinaryAssetsDirectory: Assets(t)}
	config, err := environment.Start()
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(environment.Stop()).To(Succeed()) }()
	kube, err := client.New(config, client.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kube.List(t.Context(), &corev1.NamespaceList{})).To(Succeed())
}

// eventually is how long a wait for real processes may take on a busy machine.
const eventually = time.Minute

func adminClient(t *testing.T) client.Client {
	t.Helper()
	kube, err := shared.ControlPlane(t).Client(nil)
	if err != nil {
		t.Fatal(err)
	}
	return kube
}

func clientFor(t *testing.T, kubeconfig []byte) client.Client {
	t.Helper()
	kube, err := client.New(configFor(t, kubeconfig), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return kube
}

func configFor(t *testing.T, kubeconfig []byte) *rest.Config {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// newNamespace returns a new namespace in which pods can be made.
func newNamespace(t *testing.T, prefix string) string {
	t.Helper()
	kube := adminClient(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix + "-"}}
	if err := kube.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	NewWithT(t).Eventually(func() error {
		return kube.Get(t.Context(), client.ObjectKey{Namespace: namespace.Name, Name: "default"}, &corev1.ServiceAccount{})
	}).WithTimeout(eventually).Should(Succeed())
	return namespace.Name
}

func newDeployment(namespace, name string, annotations map[string]string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "none"}}},
			},
		},
	}
}
