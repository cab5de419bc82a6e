package placement

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// as is a client with the token of a ServiceAccount that may edit
// Kustomizations everywhere.
func (h *hub) as(namespace, name string) client.Client {
	h.t.Helper()
	admin, err := client.New(shared.ControlPlane(h.t).Config(), client.Options{Scheme: h.Scheme()})
	h.Expect(err).NotTo(HaveOccurred())
	create := func(obj client.Object) {
		if err := admin.Create(h.t.Context(), obj); !apierrors.IsAlreadyExists(err) {
			h.Expect(err).NotTo(HaveOccurred())
		}
	}
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	create(account)
	create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "test-" + namespace + "-" + name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	})
	request := &authenticationv1.TokenRequest{}
	h.Expect(admin.SubResource("token").Create(h.t.Context(), account, request)).To(Succeed())
	config := rest.AnonymousClientConfig(shared.ControlPlane(h.t).Config())
	config.BearerToken = request.Status.Token
	c, err := client.New(config, client.Options{Scheme: h.Scheme()})
	h.Expect(err).NotTo(HaveOccurred())
	return c
}

// applyPolicy applies the objects of a manifest, and takes them away in the end.
func (h *hub) applyPolicy(file string) {
	h.t.Helper()
	content, err := os.ReadFile(file)
	h.Expect(err).NotTo(HaveOccurred())
	admin, err := client.New(shared.ControlPlane(h.t).Config(), client.Options{})
	h.Expect(err).NotTo(HaveOccurred())
	for document := range strings.SplitSeq(string(content), "\n---\n") {
		obj := &unstructured.Unstructured{}
		h.Expect(yaml.Unmarshal([]byte(document), &obj.Object)).To(Succeed())
		h.Expect(admin.Create(h.t.Context(), obj)).To(Succeed())
		h.t.Cleanup(func() { _ = admin.Delete(context.WithoutCancel(h.t.Context()), obj) })
	}
}

// TestPolicyKeepsTenantsFromRouting installs config/policy: only the hub sets
// the routing label, and not the agents, which act on what tenants have written. What strips it passes, and placement mends it.
func TestPolicyKeepsTenantsFromRouting(t *testing.T) {
	h := newHub(t)
	h.deploy("routed")
	h.applyPolicy(filepath.Join("..", "..", "config", "policy", "routing.yaml"))
	hubAccount, agent := h.as("flux-system", "headwater-hub"), h.as("flux-system", "headwater-agent")
	tenant, impostor := h.as("team-a", "tenant"), h.as("team-a", "headwater-hub")

	label := func(by client.Client, value string) error {
		k := h.kustomization("routed")
		before := k.DeepCopy()
		k.Labels = map[string]string{"fleet.headwater.dev/agent": value}
		if value == "" {
			k.Labels = nil
		}
		return by.Patch(t.Context(), k, client.MergeFrom(before))
	}
	refused := MatchError(ContainSubstring("the label fleet.headwater.dev/agent is written by placement alone: remove mallory, and use the label fleet.headwater.dev/pin"))
	// A policy takes a moment to be in force.
	h.Eventually(func() error {
		h.Expect(label(tenant, "")).To(Succeed())
		return label(tenant, "mallory")
	}, "30s", "200ms").Should(refused)
	h.Expect(label(impostor, "mallory")).To(refused, "the name alone is not enough")
	h.Expect(label(hubAccount, "agent-0")).To(Succeed())
	h.Expect(label(tenant, "mallory")).To(refused)
	h.Expect(label(agent, "mallory")).To(refused)

	other := h.kustomization("routed")
	other.Spec.Path, other.Spec.Interval.Duration = "./elsewhere", time.Hour
	h.Expect(tenant.Update(t.Context(), other)).To(Succeed(), "any other change passes, with the label as it is")
	h.Expect(label(tenant, "")).To(Succeed(), "as kubectl replace does")

	fresh := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, Name: "fresh"}}
	fresh.Spec = h.kustomization("routed").Spec
	fresh.Labels = map[string]string{"fleet.headwater.dev/agent": "mallory"}
	h.Expect(tenant.Create(t.Context(), fresh)).To(refused)
	fresh.Labels = nil
	h.Expect(tenant.Create(t.Context(), fresh)).To(Succeed())
}
