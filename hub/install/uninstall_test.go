package install

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
)

// onHub is the RemoteCluster of the cluster edge.
func (w *world) onHub() *fleetv1.RemoteCluster {
	return &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "edge"}}
}

// TestUninstallFindsTheAgent: with which flags it was installed is kept nowhere but
// in the cluster.
func TestUninstallFindsTheAgent(t *testing.T) {
	w := newWorld(t)
	fences := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-fences"}}
	w.create(fences)
	w.Expect(w.install("--fence-namespace=" + fences.Name)).To(Succeed())
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "headwater-agent-" + w.agentNamespace}}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: fences.Name, Name: binding.Name}}
	w.Expect(w.exists(binding) && w.exists(role)).To(BeTrue())

	w.Expect(w.uninstall("--agent-namespace=headwater-system")).To(Succeed())
	w.Expect(w.said.String()).To(HavePrefix("edge: the agent is in namespace " + w.agentNamespace + ", its fence in " + fences.Name + "\n"))
	w.Expect(w.exists(&appsv1.Deployment{ObjectMeta: w.inAgentNamespace("headwater-agent")})).To(BeFalse())
	w.Expect(w.exists(binding) || w.exists(role)).To(BeFalse())
	w.Expect(w.exists(w.onHub())).To(BeFalse())
	w.Expect(w.uninstall("--agent-namespace=headwater-system")).To(Succeed(), "it may be run again")
}

func TestUninstallRefusesAClusterWithoutTheAgent(t *testing.T) {
	w := newWorld(t)
	w.Expect(w.install("--export", "--kubeconfig=")).To(Succeed()) // and applied elsewhere
	w.Expect(w.uninstall()).To(MatchError(And(
		ContainSubstring("no agent of "+w.namespace+"/edge is in this cluster"), ContainSubstring("--kubeconfig"), ContainSubstring("--hub-only"))))
	w.Expect(w.exists(w.onHub())).To(BeTrue())
	w.Expect(w.uninstall("--hub-only")).To(Succeed())
	w.Expect(w.exists(w.onHub())).To(BeFalse())
}

func TestUninstallGoesOnWhereItStopped(t *testing.T) {
	w := newWorld(t)
	w.Expect(w.install()).To(Succeed())
	for _, gone := range []func() error{
		func() error {
			return w.admin.Delete(t.Context(), &appsv1.Deployment{ObjectMeta: w.inAgentNamespace("headwater-agent")})
		},
		func() error { return w.admin.Delete(t.Context(), w.credentials()) },
		func() error {
			return w.admin.Delete(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "headwater-agent-" + w.agentNamespace}})
		},
	} {
		w.Expect(gone()).To(Succeed())
	}
	w.Expect(w.uninstall()).To(Succeed())
	w.Expect(w.exists(&corev1.ServiceAccount{ObjectMeta: w.inAgentNamespace("headwater-agent")})).To(BeFalse())
}
