package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// parse reads one object from YAML.
func parse(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return obj
}

func TestJudge(t *testing.T) {
	deployment := func(available string) string {
		return `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, generation: 1}
spec: {replicas: 1}
status:
  observedGeneration: 1
  replicas: 1
  updatedReplicas: 1
  readyReplicas: ` + available + `
  availableReplicas: ` + available + `
  conditions:
  - {type: Available, status: "True"}
  - {type: Progressing, status: "True", reason: NewReplicaSetAvailable}
`
	}
	stuck := `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, generation: 1}
spec: {replicas: 1}
status:
  observedGeneration: 1
  conditions:
  - {type: Progressing, status: "False", reason: ProgressDeadlineExceeded}
`
	gone := Check{Ref: RefTo(object("batch/v1 Job shop/migrate"))}
	vanished := gone
	vanished.MayVanish = true

	for _, c := range []struct {
		name            string
		live            string
		check           Check
		waiting, failed string
	}{
		{name: "ready", live: deployment("1"), waiting: "[]", failed: "[]"},
		{name: "in progress", live: deployment("0"), waiting: "[Deployment/shop/web status: 'InProgress']", failed: "[]"},
		{name: "past its deadline", live: stuck, waiting: "[]", failed: "[Deployment/shop/web status: 'Failed']"},
		{name: "no status at all", live: "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}}", waiting: "[]", failed: "[]"},
		{name: "not there", check: gone, waiting: "[Job/shop/migrate status: 'NotFound']", failed: "[]"},
		{name: "removed itself", check: vanished, waiting: "[]", failed: "[]"},
		{
			name:    "being deleted",
			live:    `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop, deletionTimestamp: "2026-01-01T00:00:00Z"}}`,
			waiting: "[ConfigMap/shop/a status: 'Terminating']", failed: "[]",
		},
		{
			name:    "not what kstatus can read",
			live:    `{apiVersion: example.com/v1, kind: Store, metadata: {name: a, namespace: shop}, status: {conditions: 7}}`,
			waiting: "[Store/shop/a status: 'Unknown']", failed: "[]",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			observed := Observed{Check: c.check}
			if c.live != "" {
				observed.Live = parse(t, c.live)
				observed.Check.Ref = RefTo(observed.Live)
			}
			health := Judge([]Observed{observed})
			g.Expect(Describe(health.Waiting)).To(Equal(c.waiting))
			g.Expect(Describe(health.Failed)).To(Equal(c.failed))
		})
	}
}

func TestDescribeIsSortedAndShort(t *testing.T) {
	g := NewWithT(t)
	var observed []Observed
	for i := 14; i > 0; i-- {
		observed = append(observed, Observed{Check: Check{Ref: RefTo(object(fmt.Sprintf("v1 Pod shop/p%02d", i)))}})
	}
	text := Describe(Judge(observed).Waiting)
	g.Expect(text).To(HavePrefix("[Pod/shop/p01 status: 'NotFound', Pod/shop/p02 status:"))
	g.Expect(text).To(HaveSuffix("Pod/shop/p10 status: 'NotFound', and 4 more]"))
}

// A server that fails for a moment tells nothing of an object; one that answers
// does.
func TestLookPassesOverAServerThatFails(t *testing.T) {
	c := newCluster(t)
	c.must(configMap, account)
	web := schema.GroupResource{Resource: "serviceaccounts"}
	checks := []Check{
		{Ref: RefTo(object("v1 ConfigMap " + c.namespace + "/settings"))},
		{Ref: RefTo(object("v1 ServiceAccount " + c.namespace + "/web"))},
	}
	for _, test := range []struct {
		name string
		err  error
		why  string // empty where the error stands
	}{
		{"down", apierrors.NewServiceUnavailable("it\nstarts"), "get failed (ServiceUnavailable): it starts"},
		{"broken", apierrors.NewInternalError(errors.New("etcd is away")), "get failed (InternalError): Internal error occurred: etcd is away"},
		{"cut off", io.ErrUnexpectedEOF, "get failed: unexpected EOF"},
		{"talkative", errors.New(strings.Repeat("x", 5000)), "get failed: x"},
		{"refused", apierrors.NewForbidden(web, "web", errors.New("no")), ""},
		{"another agent's", reconcile.ErrNotOwner, ""},
		{"with an outcome", reconcile.Fail("TargetUnreachable", errors.New("away")), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			c.Client = intercepted(t, interceptor.Funcs{
				Get: func(ctx context.Context, next client.WithWatch, key client.ObjectKey, obj client.Object, options ...client.GetOption) error {
					if obj.GetObjectKind().GroupVersionKind().Kind == "ServiceAccount" {
						return test.err
					}
					return next.Get(ctx, key, obj, options...)
				},
			})
			health, err := c.Look(t.Context(), checks)
			if test.why == "" {
				g.Expect(err).To(MatchError(test.err))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(health.Failed).To(BeEmpty())
			text := Describe(health.Waiting)
			g.Expect(text).To(HavePrefix("[ServiceAccount/" + c.namespace + "/web status: 'Unknown': " + test.why))
			g.Expect(len(text)).To(BeNumerically("<", 500))
		})
	}
}
