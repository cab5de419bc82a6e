package placement

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	. "github.com/onsi/gomega"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// TestTheFinalizerComesWithTheLabel: the agent need not write it first. What is
// suspended, or going away, gets none.
func TestTheFinalizerComesWithTheLabel(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("fresh", "guarded", "suspended", "going")
	h.change("guarded", func(k *kustomizev1.Kustomization) { k.Finalizers = []string{"example.com/other"} })
	h.change("suspended", func(k *kustomizev1.Kustomization) { k.Spec.Suspend = true })
	h.change("going", func(k *kustomizev1.Kustomization) { k.Finalizers = []string{"example.com/other"} })
	h.Expect(h.Delete(t.Context(), h.kustomization("going"))).To(Succeed())
	before := h.kustomization("fresh").Generation
	h.reconcile()
	for name, finalizers := range map[string][]string{
		"fresh":     {"finalizers.fluxcd.io"},
		"guarded":   {"example.com/other", "finalizers.fluxcd.io"},
		"suspended": nil,
		"going":     {"example.com/other"},
	} {
		k := h.kustomization(name)
		h.Expect(k.Labels).To(HaveKeyWithValue("fleet.headwater.dev/agent", "agent-0"), name)
		h.Expect(k.Finalizers).To(Equal(finalizers), name)
	}
	h.Expect(h.kustomization("fresh").Generation).To(Equal(before), "nobody is asked to run again")
}

// TestTheFinalizerOfAHelmReleaseComesWithTheLabel: and it does not pass for a sign
// that an agent has acted, which would have the next owner of a new record wait.
func TestTheFinalizerOfAHelmReleaseComesWithTheLabel(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a")
	fresh, suspended := h.releaseTo("a", "fresh"), h.releaseTo("a", "suspended")
	suspended.Spec.Suspend = true
	h.Expect(h.Update(t.Context(), suspended)).To(Succeed())
	h.reconcile()
	h.Expect(h.Get(t.Context(), client.ObjectKeyFromObject(fresh), fresh)).To(Succeed())
	h.Expect(fresh.Labels).To(HaveKeyWithValue("fleet.headwater.dev/agent", "agent-0"))
	h.Expect(fresh.Finalizers).To(Equal([]string{"finalizers.fluxcd.io"}))
	h.Expect(h.Get(t.Context(), client.ObjectKeyFromObject(suspended), suspended)).To(Succeed())
	h.Expect(suspended.Labels).To(HaveKeyWithValue("fleet.headwater.dev/agent", "agent-0"))
	h.Expect(suspended.Finalizers).To(BeEmpty())

	renewed := func() string {
		cluster := h.cluster("a")
		h.Expect(h.Delete(t.Context(), cluster)).To(Succeed())
		cluster.ResourceVersion, cluster.UID = "", ""
		h.Expect(h.Create(t.Context(), cluster)).To(Succeed())
		h.reconciler = h.newReconciler()
		h.reconcile()
		return h.owners()["a"]
	}
	h.Expect(renewed()).To(Equal("agent-0 1"), "nobody has acted")

	// What an agent of any version leaves before its first action.
	fresh.Status.Conditions = []metav1.Condition{{
		Type: "Ready", Status: "Unknown", Reason: "Progressing", LastTransitionTime: metav1.NewTime(h.clock.Now()),
	}}
	h.Expect(h.Status().Update(t.Context(), fresh)).To(Succeed())
	h.Expect(renewed()).To(Equal("agent-0 2"), "another may still be at work")
}

// TestALabelIsWrittenOnce: a cache that does not show the label yet is not taken
// for a label that is missing.
func TestALabelIsWrittenOnce(t *testing.T) {
	h := newHub(t)
	h.renew("agent-0")
	h.deploy("a")
	w := h.look(h.reconciler)
	w.objects[0].agent = ""
	d := decide(w)
	overtaken, err := h.reconciler.write(t.Context(), w, d)
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(overtaken).To(BeFalse())
	h.Expect(h.kustomization("a").Labels).To(HaveKeyWithValue("fleet.headwater.dev/agent", "agent-0"))

	d.records = nil
	overtaken, err = h.reconciler.write(t.Context(), w, d)
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(overtaken).To(BeFalse(), "it tries nothing that is done")

	// Taken away by somebody, it is written again.
	h.change("a", func(k *kustomizev1.Kustomization) { delete(k.Labels, "fleet.headwater.dev/agent") })
	h.reconcile()
	h.Expect(h.kustomization("a").Labels).To(HaveKeyWithValue("fleet.headwater.dev/agent", "agent-0"))
}

// change updates a Kustomization as a user does.
func (h *hub) change(name string, edit func(*kustomizev1.Kustomization)) {
	h.t.Helper()
	k := h.kustomization(name)
	edit(k)
	h.Expect(h.Update(h.t.Context(), k, client.FieldOwner("user"))).To(Succeed())
}
