package e2e

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

// other is the agent of the two that this one is not.
func other(agent string) string {
	return map[string]string{"agent-0": "agent-1", "agent-1": "agent-0"}[agent]
}

// A tenant who edits the routing label, knowingly or not, delays his object by a
// moment: it goes back, an event says so, and nobody but the owner writes.
func TestWhoeverEditsTheRoutingLabelChangesNothing(t *testing.T) {
	n := newTenant(t, map[string]string{"a.yaml": configMap("a", "0")})
	wire := n.cluster("prod")
	ks := n.kustomization("apps", "prod")
	n.create(n.source(), ks)
	n.becomes(ks, HavePrefix("True "))
	owner := n.pin("prod")

	current := func() *kustomizev1.Kustomization {
		found := &kustomizev1.Kustomization{ObjectMeta: n.meta("apps")}
		n.Expect(shared.onHub.Get(t.Context(), client.ObjectKeyFromObject(found), found)).To(Succeed())
		return found
	}
	update := func(change func(*kustomizev1.Kustomization)) error {
		made := current()
		change(made)
		return shared.onHub.Update(t.Context(), made)
	}
	for i, tc := range []struct {
		name string
		edit func() error
		said string
	}{
		// It takes the version from the server, and all else from the file.
		{"kubectl replace", func() error {
			file := n.kustomization("apps", "prod")
			file.ResourceVersion = current().ResourceVersion
			return shared.onHub.Update(t.Context(), file)
		}, "was removed"},
		// It reads what is there, and sets labels and spec.
		{"flux create", func() error {
			return update(func(k *kustomizev1.Kustomization) {
				k.Labels, k.Spec = nil, n.kustomization("apps", "prod").Spec
			})
		}, "was removed"},
		{"to an agent that is none", func() error {
			return update(func(k *kustomizev1.Kustomization) { k.Labels = map[string]string{meta.AgentLabel: "mallory"} })
		}, "was changed from " + owner + " to mallory"},
		{"to the other agent", func() error {
			return update(func(k *kustomizev1.Kustomization) { k.Labels = map[string]string{meta.AgentLabel: other(owner)} })
		}, "was changed from " + owner + " to " + other(owner)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewWithT(t)
			g.Eventually(tc.edit, patience).Should(Succeed(), "somebody may have written in between")
			value := fmt.Sprint(i + 1)
			n.commit(map[string]string{"a.yaml": configMap("a", value)})
			g.Eventually(func() string { return current().Labels[meta.AgentLabel] }, patience).Should(Equal(owner))
			g.Eventually(func() []string { return n.warnings("apps") }, patience).Should(ContainElement(And(
				HavePrefix("RoutingCorrected: "), ContainSubstring(tc.said), ContainSubstring("put back to "+owner), ContainSubstring(meta.PinLabel))))
			g.Eventually(func() map[string]string { return n.data("a") }, patience).Should(HaveKeyWithValue("value", value))
			g.Expect(n.agentOf("prod")).To(Equal(owner))
		})
	}
	for _, record := range wire.Records() {
		if record.Resource == "configmaps" && record.Mutating {
			n.Expect(record.PID).To(Equal(shared.agents[owner].PID()), "nobody but %s has written: %s %s", owner, record.Verb, record.Path)
		}
	}
}

// A Lease in a tenant's namespace makes nobody an agent, whatever it says of
// itself: not for clusters that select its labels, nor for those that are pinned
// to it.
func TestALeaseInATenantsNamespaceMakesNobodyAnAgent(t *testing.T) {
	n := newTenant(t, nil)
	soon := metav1.NewMicroTime(time.Now().Add(time.Hour))
	var forged []client.Object
	for _, agent := range []string{"mallory", "agent-0", "pull.elsewhere.prod"} {
		lease := &coordinationv1.Lease{ObjectMeta: n.meta("headwater-agent-" + agent)}
		lease.Labels = map[string]string{"fleet.headwater.dev/member": "true", "zone": n.namespace}
		lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: new(agent + "_x"), LeaseDurationSeconds: new(int32(3600)), RenewTime: &soon}
		forged = append(forged, lease)
	}
	n.create(forged...)
	n.cluster("chosen")
	n.cluster("pinned")
	for _, name := range []string{"chosen", "pinned"} {
		cluster := &fleetv1.RemoteCluster{ObjectMeta: n.meta(name)}
		cluster.Spec.KubeConfig = n.kustomization(name, name).Spec.KubeConfig
		if name == "chosen" {
			cluster.Spec.AgentSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"zone": n.namespace}}
		} else {
			cluster.Labels = map[string]string{meta.PinLabel: "mallory"}
		}
		n.create(cluster)
	}
	for _, lease := range forged {
		n.Eventually(func() []string { return n.warnings(lease.GetName()) }).Should(
			ContainElement(HavePrefix("NotAnAgent: a Lease in this namespace makes nobody an agent")))
	}
	assigned := func(name string) string {
		var found fleetv1.RemoteCluster
		n.Expect(shared.onHub.Get(t.Context(), types.NamespacedName{Namespace: n.namespace, Name: name}, &found)).To(Succeed())
		c := apimeta.FindStatusCondition(found.Status.Conditions, fleetv1.AssignedCondition)
		if c == nil {
			return ""
		}
		return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
	}
	n.Eventually(func() string { return assigned("chosen") }).Should(Equal("False NoAgent: no live agent matches spec.agentSelector zone=" + n.namespace))
	n.Eventually(func() string { return assigned("pinned") }).Should(And(
		MatchRegexp("^True Assigned: owned by agent-[01]; "), ContainSubstring("the pin to mallory has no effect")))
	n.Expect(n.agentOf("chosen")).To(BeEmpty())
}
