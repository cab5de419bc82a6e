package remote

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/shard"
)

// A ServiceAccount of the hub may apply ConfigMaps to one namespace of the
// target, and no more: it reads no kube-system, takes no Leases.
func TestATargetByWorkloadIdentityWithOneRole(t *testing.T) {
	f := newFleet(t)
	account := metav1.ObjectMeta{Namespace: f.namespace, Name: "deployer"}
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "prod"}, Data: map[string]string{
		"provider": "generic", "address": shared.ControlPlane(t).URL, "serviceAccountName": "deployer",
		"audiences": "- https://kubernetes.default.svc", "ca.crt": string(shared.ControlPlane(t).Config().CAData),
	}}
	for _, object := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: account}, settings,
		&rbacv1.Role{ObjectMeta: account, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}}}},
		&rbacv1.RoleBinding{
			ObjectMeta: account, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "deployer"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: f.namespace, Name: "deployer"}},
		},
	} {
		f.Expect(f.hub.Create(t.Context(), object)).To(Succeed())
	}
	ref := &meta.KubeConfigReference{ConfigMapRef: &meta.LocalObjectReference{Name: "prod"}}
	name := client.ObjectKey{Namespace: f.namespace, Name: "prod"}
	record := &fleetv1.RemoteCluster{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "prod"}, Spec: fleetv1.RemoteClusterSpec{KubeConfig: ref}}
	f.Expect(f.hub.Create(t.Context(), record)).To(Succeed())
	own(t, f.hub, name, "agent-a", 1)

	target := f.open(shard.KeyFor(f.namespace, "any", ref))
	defer target.Close()
	_, err := target.Fence(t.Context())
	f.Expect(err).NotTo(HaveOccurred())
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "made"}}
	f.Expect(target.Client.Create(t.Context(), made)).To(Succeed())
	f.Eventually(func() string {
		f.Expect(f.hub.Get(t.Context(), name, record)).To(Succeed())
		condition := apimeta.FindStatusCondition(record.Status.Conditions, "Fenced")
		if condition == nil {
			return ""
		}
		return condition.Reason + ": " + condition.Message
	}, "10s").Should(And(HavePrefix("LeaseInHub: fenced by Lease "), ContainSubstring("without the hub nothing is written to the target")))
}

func TestSettingsOfWorkloadIdentity(t *testing.T) {
	good := map[string]string{"provider": "generic", "address": "https://prod:6443", "serviceAccountName": "x"}
	for name, tc := range map[string]struct {
		key, value string
		account    string
		want       string
	}{
		"good":                {},
		"no address":          {key: "address", want: "data key address is"},
		"plain HTTP":          {key: "address", value: "http://prod", want: "data key address is"},
		"no account":          {key: "serviceAccountName", want: "data key serviceAccountName is missing"},
		"the default account": {key: "serviceAccountName", account: "x"},
		"audiences by line":   {key: "audiences", value: "https://prod:6443\n"},
		"audiences as YAML":   {key: "audiences", value: "- https://prod:6443"},
		"bad audiences":       {key: "audiences", value: "- {a: b}", want: "data key audiences"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			data := map[string]string{}
			for k, v := range good {
				data[k] = v
			}
			if tc.key != "" {
				data[tc.key] = tc.value
			}
			got, err := (&Clusters{DefaultAccount: tc.account}).parseWorkload(data)
			if tc.want != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got.account).To(Equal("x"))
			g.Expect(got.audiences).To(Equal([]string{"https://prod:6443"}))
		})
	}
}
