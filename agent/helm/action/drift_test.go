package action

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The server repeats what it does not take.
func TestDriftOfASecretQuotesNothing(t *testing.T) {
	g := NewWithT(t)
	target, err := shared.ControlPlane(t).Client(scheme.Scheme)
	g.Expect(err).NotTo(HaveOccurred())
	secret := func(data map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"namespace": "default", "name": "b"}, "data": data,
		}}
	}
	g.Expect(target.Create(t.Context(), secret(nil))).To(Succeed())
	wrong := secret(map[string]any{"a": []any{"hunter2"}})
	g.Expect(put(t.Context(), target, wrong.DeepCopy(), client.DryRunAll)).To(MatchError(ContainSubstring("hunter2")))
	_, _, err = compare(t.Context(), target, wrong)
	g.Expect(err).To(MatchError(And(HavePrefix("Secret/default/b dry-run failed ("),
		HaveSuffix("): the server's message is not shown, it may quote the data"))))
}
