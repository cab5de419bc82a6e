package install

import (
	"bytes"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/config"
)

// policy is that of this version, and its binding.
func (w *world) policy() (objects []*unstructured.Unstructured) {
	w.t.Helper()
	for text := range bytes.SplitSeq(config.AgentPolicy(), []byte("\n---\n")) {
		object := &unstructured.Unstructured{}
		w.Expect(yaml.Unmarshal(text, object)).To(Succeed())
		objects = append(objects, object)
	}
	return objects
}

// removePolicy removes the policy of all tests.
func (w *world) removePolicy() {
	w.t.Helper()
	for _, object := range w.policy() {
		w.Expect(client.IgnoreNotFound(w.admin.Delete(w.t.Context(), object))).To(Succeed())
	}
}

// rules are how many the policy has.
func (w *world) rules() int {
	w.t.Helper()
	policy := w.policy()[0]
	w.Expect(w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(policy), policy)).To(Succeed())
	rules, _, err := unstructured.NestedSlice(policy.Object, "spec", "validations")
	w.Expect(err).NotTo(HaveOccurred())
	return len(rules)
}

// has makes the policy as hub agent install of another version has left it.
func (w *world) has(version string, rules ...string) {
	w.t.Helper()
	var validations []any
	for _, rule := range rules {
		validations = append(validations, map[string]any{"expression": rule})
	}
	for _, object := range w.policy() {
		object.SetAnnotations(map[string]string{"example.com/by": "platform"})
		if version != "" {
			object.SetAnnotations(map[string]string{"fleet.headwater.dev/policy-version": version})
		}
		if object.GetKind() == "ValidatingAdmissionPolicy" {
			w.Expect(unstructured.SetNestedSlice(object.Object, validations, "spec", "validations")).To(Succeed())
		}
		w.create(object)
	}
}

func TestAnOlderPolicyIsBroughtUpToDate(t *testing.T) {
	w := newWorld(t)
	w.removePolicy()
	w.has("", "true")
	w.Expect(w.install()).To(Succeed())
	w.Expect(w.rules()).To(Equal(2))
	for _, object := range w.policy() {
		what := fmt.Sprintf("hub: %s headwater-agents ", object.GetKind())
		w.Expect(w.said.String()).To(ContainSubstring(what + "brought up to date\n"))
		w.Expect(w.admin.Get(t.Context(), client.ObjectKeyFromObject(object), object)).To(Succeed())
		w.Expect(object.GetAnnotations()).To(HaveKeyWithValue("example.com/by", "platform"))
	}

	w.Expect(w.install()).To(Succeed())
	w.Expect(w.said.String()).To(ContainSubstring("hub: ValidatingAdmissionPolicy headwater-agents unchanged\n"))
}

func TestANewerPolicyIsLeft(t *testing.T) {
	w := newWorld(t)
	w.removePolicy()
	w.has("1000", "true", "1 == 1", "2 == 2")
	defer w.removePolicy()
	w.Expect(w.install()).To(Succeed())
	w.Expect(w.rules()).To(Equal(3))
	w.Expect(w.said.String()).To(ContainSubstring("hub: ValidatingAdmissionPolicy headwater-agents left as it is: it is of a newer version (1000)\n"))
}
