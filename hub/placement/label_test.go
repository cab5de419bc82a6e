package placement

import (
	"testing"

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
