package apply

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// edits are how somebody else may change a Deployment: what a client of that
// name sends. Each is right for any state of the object.
var edits = map[string]func(c *cluster, random *rand.Rand, live *unstructured.Unstructured) error{
	"merge": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.MergePatchType, fmt.Sprintf(`{"spec":{"replicas":%d}}`, r.IntN(3)), "somebody")
	},
	"the same value": func(c *cluster, _ *rand.Rand, live *unstructured.Unstructured) error {
		replicas, _, _ := unstructured.NestedInt64(live.Object, "spec", "replicas")
		return c.patch(live, types.MergePatchType, fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas), "somebody")
	},
	"JSON patch": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.JSONPatchType, fmt.Sprintf(`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"x:%d"}]`, r.IntN(3)), "somebody")
	},
	"a field of its own": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.MergePatchType, fmt.Sprintf(`{"spec":{"minReadySeconds":%d}}`, r.IntN(3)), "somebody")
	},
	"a foreign label": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.MergePatchType, fmt.Sprintf(`{"metadata":{"labels":{"foreign":"%d"}}}`, r.IntN(3)), "somebody")
	},
	"a removed label": func(c *cluster, _ *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.MergePatchType, `{"metadata":{"labels":{"tier":null}}}`, "somebody")
	},
	"an owner label": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.MergePatchType, fmt.Sprintf(`{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":"n%d"}}}`, r.IntN(3)), "somebody")
	},
	"a removed list": func(c *cluster, _ *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.JSONPatchType, `[{"op":"remove","path":"/spec/template/spec/containers/0/args"}]`, "somebody")
	},
	"replace": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		_ = unstructured.SetNestedField(live.Object, int64(r.IntN(3)), "spec", "replicas")
		return c.admin.Update(c.t.Context(), live, client.FieldOwner("somebody"))
	},
	"scale": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.admin.SubResource("scale").Patch(c.t.Context(), live,
			client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, r.IntN(3))), client.FieldOwner("somebody"))
	},
	"status": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.admin.Status().Patch(c.t.Context(), live,
			client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"status":{"observedGeneration":%d}}`, r.IntN(3)+1)), client.FieldOwner("somebody"))
	},
	"a foreign apply": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.ApplyPatchType, fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":%d}}`, r.IntN(3)), "somebody", client.ForceOwnership)
	},
	"kubectl edit": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.MergePatchType, fmt.Sprintf(`{"spec":{"paused":%t}}`, r.IntN(2) == 0), "kubectl-edit")
	},
	"kubectl label": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.MergePatchType, fmt.Sprintf(`{"metadata":{"labels":{"by-hand":"%d"}}}`, r.IntN(3)), "kubectl-label")
	},
	"kubectl annotate, spared": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.MergePatchType, fmt.Sprintf(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"%d"}}}`, r.IntN(3)), "kubectl-annotate")
	},
	"kubectl apply": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.ApplyPatchType, fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","spec":{"minReadySeconds":%d}}`, r.IntN(3)), "kubectl", client.ForceOwnership)
	},
	"kubectl's last-applied": func(c *cluster, _ *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.MergePatchType, `{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"}}}`, "somebody")
	},
	"an update under our own name": func(c *cluster, r *rand.Rand, live *unstructured.Unstructured) error {
		return c.patch(live, types.MergePatchType, fmt.Sprintf(`{"spec":{"revisionHistoryLimit":%d}}`, r.IntN(3)), "kustomize-controller")
	},
	"removal": func(c *cluster, _ *rand.Rand, live *unstructured.Unstructured) error {
		return c.admin.Delete(c.t.Context(), live)
	},
}

const oracleDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {tier: front}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "x:0", args: [a, b]}]}
`

// The fingerprint says of thousands of edits, in every order, what Flux's
// clean-up followed by a dry-run says.
func TestFingerprintAgreesWithTheServer(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // chooses cases
	c := newCluster(t)
	c.Owner.Overrides = nil
	c.Memory = &Memory{}
	c.Memory.Begin("here")
	names := sortedNames(edits)
	sinceFix, disagreed, edited := []string{}, map[string]int{}, map[string]int{}
	c.must(oracleDeployment)
	for range 1500 {
		name := names[random.IntN(len(names))]
		obj := c.objects(oracleDeployment)
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(obj[0].GroupVersionKind())
		c.g.Expect(c.admin.Get(t.Context(), client.ObjectKeyFromObject(obj[0]), live)).To(Succeed())
		if err := edits[name](c, random, live); apierrors.IsInvalid(err) && name == "a removed list" {
			continue // it is gone already
		} else if err != nil {
			c.g.Expect(err).NotTo(HaveOccurred(), name)
		}
		edited[name]++
		sinceFix = append(sinceFix, name)
		drifted := c.drifted(obj[0])
		c.Full = true
		plan := c.plan(obj)
		c.Full = false
		differs := plan.Changes[0].Action != Unchanged
		if drifted != differs {
			c.g.Expect(drifted).To(BeTrue(), "the server sees what the fingerprint does not, after %v", sinceFix)
			disagreed[name]++
		}
		if drifted {
			done, err := c.Apply(t.Context(), plan)
			c.g.Expect(err).NotTo(HaveOccurred(), "%v", sinceFix)
			c.g.Expect(done).To(HaveLen(1))
			c.g.Expect(c.drifted(obj[0])).To(BeFalse(), "after it was put back: %v", sinceFix)
			sinceFix = nil
		}
	}
	t.Logf("seen by the fingerprint alone: %v", disagreed)
	c.g.Expect(edited).To(HaveLen(len(edits)), "each was tried")
	for _, name := range []string{"status", "a foreign label", "the same value", "kubectl annotate, spared"} {
		c.g.Expect(disagreed).NotTo(HaveKey(name), "a fleet at rest is quiet")
	}
}

// plan is the plan for objects as a caller makes it.
func (c *cluster) plan(objects []*unstructured.Unstructured) *Plan {
	c.t.Helper()
	c.g.Expect(c.Prepare(objects)).To(Succeed())
	c.Owner.Label(objects)
	plan, err := c.Plan(c.t.Context(), objects)
	c.g.Expect(err).NotTo(HaveOccurred())
	return plan
}

// drifted compares the live object with what is remembered.
func (c *cluster) drifted(obj *unstructured.Unstructured) bool {
	c.t.Helper()
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(obj.GroupVersionKind())
	if err := c.admin.Get(c.t.Context(), client.ObjectKeyFromObject(obj), meta); client.IgnoreNotFound(err) != nil || err != nil {
		return true
	}
	reduced, _ := c.Owner.Fingerprint(meta)
	before, ok := c.Memory.recall(RefTo(obj))
	c.g.Expect(ok).To(BeTrue())
	return reduced != before.print
}

func (c *cluster) patch(live *unstructured.Unstructured, kind types.PatchType, body, manager string, options ...client.PatchOption) error {
	return c.admin.Patch(c.t.Context(), live.DeepCopy(), client.RawPatch(kind, []byte(body)), append(options, client.FieldOwner(manager))...)
}

func sortedNames[V any](of map[string]V) []string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// What a manifest may ask of us for a single object.
func TestWhatObjectsAskFor(t *testing.T) {
	configMap := func(annotation, value string) string {
		return "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, annotations: {" + annotation + "}}, data: {color: " + value + "}}"
	}
	const group = "kustomize.toolkit.fluxcd.io/"
	for _, test := range []struct {
		name, ask string
		want      map[string]any
	}{
		{"override", group + "ssa: Override", map[string]any{"color": "blue"}},
		{"merge keeps what kubectl adds", group + "ssa: Merge", map[string]any{"color": "blue", "size": "xl"}},
		{"only created", group + "ssa: IfNotPresent", map[string]any{"color": "green", "size": "xl"}},
		{"left alone", group + "ssa: Ignore", map[string]any{"color": "green", "size": "xl"}},
		{"not reconciled", group + "reconcile: disabled", map[string]any{"color": "green", "size": "xl"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			c.Memory = &Memory{}
			c.must(configMap("", "red"))
			live := c.read("v1 ConfigMap " + c.namespace + "/settings")
			c.g.Expect(c.patch(live, types.MergePatchType, `{"data":{"size":"xl","color":"green"}}`, "kubectl-edit")).To(Succeed())
			c.must(configMap(test.ask, "blue"))
			c.g.Expect(c.read("v1 ConfigMap " + c.namespace + "/settings").Object["data"]).To(Equal(test.want))
		})
	}
}

func TestForceMakesImmutableObjectsAnew(t *testing.T) {
	secret := func(ask, value string) string {
		return "{apiVersion: v1, kind: Secret, metadata: {name: token, annotations: {" + ask + "}}, immutable: true, stringData: {value: " + value + "}}"
	}
	c := newCluster(t)
	c.must(secret("", "a"))
	before := c.read("v1 Secret " + c.namespace + "/token").GetUID()
	_, err := c.run(c.objects(secret("", "b")))
	c.g.Expect(err).To(MatchError(HavePrefix("Secret/" + c.namespace + "/token dry-run failed (Invalid): data FieldValueForbidden")))
	c.g.Expect(c.must(secret("kustomize.toolkit.fluxcd.io/force: enabled", "b"))).To(Equal([]string{"Secret/token created"}))
	made := c.read("v1 Secret " + c.namespace + "/token")
	c.g.Expect(made.GetUID()).NotTo(Equal(before))
	c.g.Expect(made.Object["data"]).To(Equal(map[string]any{"value": "Yg=="}))

	c.Force = true
	c.g.Expect(c.must(secret("", "c"))).To(Equal([]string{"Secret/token created"}))
}

func TestOtherManagersAreOverridden(t *testing.T) {
	c := newCluster(t)
	c.Owner.Overrides = []string{"rogue"}
	c.must(configMap)
	live := c.read("v1 ConfigMap " + c.namespace + "/settings")
	c.g.Expect(c.patch(live, types.MergePatchType, `{"data":{"size":"xl"}}`, "rogue")).To(Succeed())
	c.g.Expect(c.must(configMap)).To(Equal([]string{"ConfigMap/settings configured"}))
	c.g.Expect(c.read("v1 ConfigMap " + c.namespace + "/settings").Object["data"]).To(Equal(map[string]any{"color": "red"}))
}

// A version that the server has lost stays in the list of what we own, and
// would be dropped from it.
func TestEntriesOfALostVersionAreKept(t *testing.T) {
	g := NewWithT(t)
	c := newCluster(t)
	desired := c.objects(configMap)[0]
	entries := []metav1.ManagedFieldsEntry{
		{Manager: "kustomize-controller", Operation: "Apply", APIVersion: "v1alpha1"},
		{Manager: "somebody", Operation: "Apply", APIVersion: "v1alpha1"},
	}
	moved, changed := c.moveVersions(entries, desired, false)
	g.Expect(changed).To(BeTrue())
	g.Expect(moved[0].APIVersion).To(Equal("v1"))
	g.Expect(moved[1].APIVersion).To(Equal("v1alpha1"))
	g.Expect(entries[0].APIVersion).To(Equal("v1alpha1"), "the argument stays")
	entries[0].APIVersion = "v1"
	_, changed = c.moveVersions(entries, desired, false)
	g.Expect(changed).To(BeFalse())
	moved, _ = c.moveVersions(entries, desired, true)
	g.Expect(moved[1].APIVersion).To(Equal("v1"), "where nobody can apply it any more")
}

func TestKindsThatComeEarly(t *testing.T) {
	g := NewWithT(t)
	objects := []*unstructured.Unstructured{object("v1 ConfigMap a/b"), object("rbac.authorization.k8s.io/v1 Role a/b")}
	g.Expect(Stages(objects)).To(HaveLen(1))
	stages := Stages(objects, objects[1].GroupVersionKind().GroupKind())
	g.Expect(stages).To(HaveLen(2))
	g.Expect(stages[0][0].GetKind()).To(Equal("Role"))
}

// Corrections: two at once, then ever later, and free again after a quiet time.
func TestCorrectionsAreLimited(t *testing.T) {
	g := NewWithT(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := known{}
	var waits []time.Duration
	for range 6 {
		wait := k.next(now)
		waits = append(waits, wait)
		now = now.Add(wait)
		k = k.correct(now, time.Minute)
	}
	g.Expect(waits).To(Equal([]time.Duration{0, 0, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute}))
	now = now.Add(10 * time.Minute)
	k = k.correct(now, time.Minute)
	g.Expect(k.next(now)).To(BeZero())
}
