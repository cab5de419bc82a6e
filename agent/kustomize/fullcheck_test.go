package kustomize

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// meddling is a policy that changes a field of ours while somebody else writes the object,
// which the server counts as nobody's change.
const meddling = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: NS}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [configmaps]}]
  matchConditions: [{name: label, expression: "object.metadata.?labels[?'by'].orValue('') != oldObject.metadata.?labels[?'by'].orValue('')"}]
  mutations:
  - patchType: JSONPatch
    jsonPatch: {expression: "[JSONPatch{op: 'add', path: '/data', value: {'value': 'meddled'}}]"}
`

// What a fingerprint cannot see (decision 4) is found by the full check, put back, and
// counted.
func TestTheFullCheckFindsWhatTheFingerprintDoesNot(t *testing.T) {
	e := newEnv(t)
	clock := clocktesting.NewFakeClock(time.Now())
	e.clock, e.drift = clock, DriftOptions{FullCheck: time.Hour}
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	e.request("web", "first")
	by := func(who string) func(*unstructured.Unstructured) {
		return func(obj *unstructured.Unstructured) { obj.SetLabels(merged(obj.GetLabels(), "by", who)) }
	}
	probe := parsed(e, configMap("probe", "NS", "a"))
	e.Expect(e.hub.Create(t.Context(), probe)).To(Succeed())
	e.policy(meddling, rewritingBinding, func() bool {
		next := probe.DeepCopy()
		by("probe")(next)
		e.Expect(e.hub.Update(t.Context(), next, client.DryRunAll)).To(Succeed())
		value, _, _ := unstructured.NestedString(next.Object, "data", "value")
		return value == "meddled"
	})
	e.change("somebody", by("me"))
	e.Expect(e.value()).To(Equal("meddled"))
	e.settled()
	e.request("web", "second")
	e.Expect(e.value()).To(Equal("meddled"), "its metadata says that it is as it was")

	e.fullCheck(clock)
}

// missing lets one test at a time look at the metric, which all agents of the process share.
var missing sync.Mutex

// fullCheck waits for the time of one, which puts the value back and counts that.
func (e *env) fullCheck(clock *clocktesting.FakeClock) {
	e.t.Helper()
	missing.Lock()
	defer missing.Unlock()
	before := testutil.ToFloat64(missed)
	clock.Step(3 * time.Hour)
	e.request("web", "third")
	e.Eventually(e.value, within, "50ms").Should(Equal("a"))
	e.Expect(testutil.ToFloat64(missed) - before).To(BeEquivalentTo(1))
}

// inTheSecond has somebody apply the ConfigMap under the agent's own name in the same second
// in which the agent first does.
type inTheSecond struct {
	client.Client
	once *sync.Once
}

func (c inTheSecond) Patch(ctx context.Context, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
	if !applies(patch, options) {
		return c.Client.Patch(ctx, obj, patch, options...)
	}
	apply := c.Client.Patch
	c.once.Do(func() { apply = c.both })
	return apply(ctx, obj, patch, options...)
}

// both applies the agent's and somebody's, again until the server tells one time for both.
func (c inTheSecond) both(ctx context.Context, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
	wanted, err := patch.Data(obj)
	if err != nil {
		return err
	}
	changed := &unstructured.Unstructured{}
	if err := json.Unmarshal(wanted, changed); err != nil {
		return err
	}
	setValue("theirs")(changed)
	theirs, err := json.Marshal(changed)
	if err != nil {
		return err
	}
	for {
		other := changed.DeepCopy()
		if err := errors.Join(
			c.Client.Patch(ctx, obj, patch, options...),
			c.Client.Patch(ctx, other, client.RawPatch(types.ApplyPatchType, theirs), options...),
		); err != nil {
			return err
		}
		if equality.Semantic.DeepEqual(obj.GetManagedFields(), other.GetManagedFields()) {
			return nil
		}
	}
}

func TestTheFullCheckFindsWhatIsAppliedUnderOurNameInTheSameSecond(t *testing.T) {
	e := newEnv(t)
	clock := clocktesting.NewFakeClock(time.Now())
	e.clock, e.drift = clock, DriftOptions{FullCheck: time.Hour}
	once := &sync.Once{}
	e.wrap = func(next client.Client) client.Client { return inTheSecond{next, once} }
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	e.request("web", "first")
	e.settled()
	e.request("web", "second")
	e.Expect(e.value()).To(Equal("theirs"), "its metadata says that it is ours")
	e.fullCheck(clock)
}

// merged is the labels with one more.
func merged(labels map[string]string, key, value string) map[string]string {
	all := map[string]string{key: value}
	for k, v := range labels {
		if k != key {
			all[k] = v
		}
	}
	return all
}
