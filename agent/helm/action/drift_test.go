package action

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// quoting is a server that repeats what it does not take.
type quoting struct{ client.Client }

func (quoting) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}

func (quoting) Apply(context.Context, runtime.ApplyConfiguration, ...client.ApplyOption) error {
	return apierrors.NewBadRequest("illegal base64 data: hunter2")
}

func TestDriftOfASecretQuotesNothing(t *testing.T) {
	g := NewWithT(t)
	secret := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"namespace": "a", "name": "b"},
	}}
	_, _, err := compare(t.Context(), quoting{}, secret)
	g.Expect(err).To(MatchError("Secret/a/b dry-run failed (BadRequest): the server's message is not shown, it may quote the data"))
}
