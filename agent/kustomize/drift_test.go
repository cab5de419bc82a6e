package kustomize

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// asked counts what an agent asks of its targets.
type asked struct {
	client.Client
	all, applies *atomic.Int32
}

func (c *asked) Get(ctx context.Context, key client.ObjectKey, obj client.Object, options ...client.GetOption) error {
	c.all.Add(1)
	return c.Client.Get(ctx, key, obj, options...)
}

func (c *asked) Apply(ctx context.Context, obj runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	c.all.Add(1)
	return c.Client.Apply(ctx, obj, options...)
}

func (c *asked) Patch(ctx context.Context, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
	c.all.Add(1)
	if applies(patch, options) {
		c.applies.Add(1)
	}
	return c.Client.Patch(ctx, obj, patch, options...)
}

// change edits the object one of the target as somebody else.
func (e *env) change(manager string, edit func(obj *unstructured.Unstructured)) {
	e.t.Helper()
	obj := e.object("v1", "ConfigMap", "one")
	before := obj.DeepCopy()
	edit(obj)
	e.Expect(e.hub.Patch(e.t.Context(), obj, client.MergeFrom(before), client.FieldOwner(manager))).To(Succeed())
}

func setValue(value string) func(*unstructured.Unstructured) {
	return func(obj *unstructured.Unstructured) { obj.Object["data"] = map[string]any{"value": value} }
}

func (e *env) value() any {
	e.t.Helper()
	obj := e.object("v1", "ConfigMap", "one")
	if obj == nil {
		return nil
	}
	value, _, _ := unstructured.NestedString(obj.Object, "data", "value")
	return value
}

func TestNothingChangedAsksNothing(t *testing.T) {
	for _, mode := range []string{"watch", "poll"} {
		t.Run(mode, func(t *testing.T) {
			e := newEnv(t)
			e.drift = DriftOptions{Detection: mode, FullCheck: time.Hour}
			var all, applies atomic.Int32
			e.wrap = func(next client.Client) client.Client { return &asked{next, &all, &applies} }
			e.push("1", "one.yaml", configMap("one", "NS", "a"), "two.yaml", configMap("two", "NS", "a"))
			e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.Interval.Duration = time.Minute })
			e.start()
			e.becomes("web", "True")
			e.request("web", "first") // a view that began late is there now
			before, writes := all.Load(), e.get("web").ResourceVersion
			e.request("web", "second")
			e.Expect(all.Load()).To(Equal(before), "requests to the target")
			e.Expect(writes).NotTo(Equal(e.get("web").ResourceVersion))

			e.push("2", "one.yaml", configMap("one", "NS", "b"), "two.yaml", configMap("two", "NS", "a"))
			e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
			e.Expect(all.Load()).To(Equal(before+1), "one object has changed, and needs one request")
			e.Expect(e.value()).To(Equal("b"))
		})
	}
}

// Servers write the fields of managers in another order than clients: 80 before 443.
func TestAServiceOfSeveralPortsThatIsAsItWasAsksNothing(t *testing.T) {
	e := newEnv(t)
	e.drift = DriftOptions{FullCheck: time.Hour}
	var all, applies atomic.Int32
	e.wrap = func(next client.Client) client.Client { return &asked{next, &all, &applies} }
	e.push("1", "one.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: one, namespace: "+e.namespace+"}\nspec: {ports: [{name: tls, port: 443}, {name: plain, port: 80}]}\n")
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	e.request("web", "first")
	before := all.Load()
	e.request("web", "second")
	e.Expect(all.Load()).To(Equal(before), "requests to the target")
}

func TestDriftIsPutBackAtOnce(t *testing.T) {
	e := newEnv(t)
	e.drift = DriftOptions{FullCheck: time.Hour}
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	e.request("web", "first")

	e.change("somebody", setValue("by hand"))
	e.Eventually(e.value, "20s", "10ms").Should(Equal("a"))
	e.Expect(e.hub.Delete(t.Context(), e.object("v1", "ConfigMap", "one"))).To(Succeed())
	e.Eventually(e.value, "20s", "10ms").Should(Equal("a"))
}

// settled waits until no run is under way, and returns how many there were.
func (e *env) settled() (runs uint64) {
	e.t.Helper()
	e.Eventually(func() bool {
		before := runs
		runs = e.runs()
		return runs == before
	}, "20s", "500ms").Should(BeTrue(), "a run is counted after it has written")
	return runs
}

// What is applied only where it is not present is its program's from then on.
func TestWhatIsAppliedOnceIsLeftAlone(t *testing.T) {
	e := newEnv(t)
	e.drift = DriftOptions{FullCheck: time.Hour}
	e.push("1", "one.yaml", strings.Replace(configMap("one", "NS", "a"), "metadata:", "metadata:\n  annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}", 1))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	e.request("web", "first")
	before := e.settled()
	for _, value := range []string{"1", "2", "3"} {
		e.change("its program", setValue(value))
	}
	e.Consistently(e.runs, "1s", "50ms").Should(Equal(before))
	e.Expect(e.hub.Delete(t.Context(), e.object("v1", "ConfigMap", "one"))).To(Succeed())
	e.Eventually(e.value, "20s", "10ms").Should(Equal("a"))
}

// An object that others might merge into belongs to its manifest alone from the
// commit on that says so.
func TestAnObjectThatIsMergedNoMore(t *testing.T) {
	e := newEnv(t)
	e.drift = DriftOptions{FullCheck: time.Hour}
	e.push("1", "one.yaml", strings.Replace(configMap("one", "NS", "a"), "metadata:", "metadata:\n  annotations: {kustomize.toolkit.fluxcd.io/ssa: Merge}", 1))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	e.change("kubectl-edit", func(obj *unstructured.Unstructured) {
		e.Expect(unstructured.SetNestedField(obj.Object, "by hand", "data", "more")).To(Succeed())
	})
	e.request("web", "first")
	e.settled()
	e.Expect(e.object("v1", "ConfigMap", "one").Object["data"]).To(HaveKey("more"))
	e.push("2", "one.yaml", configMap("one", "NS", "b"))
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(e.object("v1", "ConfigMap", "one").Object["data"]).To(Equal(map[string]any{"value": "b"}))
}

// late is a target whose answers come when the view has seen long what was done.
type late struct {
	client.Client
	e *env
}

func (l *late) Patch(ctx context.Context, obj client.Object, patch client.Patch, options ...client.PatchOption) error {
	err := l.Client.Patch(ctx, obj, patch, options...)
	if err == nil && applies(patch, options) {
		l.e.Eventually(func() int {
			found := l.e.agent.memories.peek(client.ObjectKey{Namespace: l.e.namespace, Name: "web"})
			found.mu.Lock()
			defer found.mu.Unlock()
			return len(found.moved)
		}, "20s", "1ms").ShouldNot(BeZero())
	}
	return err
}

// runs is how often the Kustomization web was looked at.
func (e *env) runs() (runs uint64) { return e.runsOf("web") }

// atRest waits until nothing runs any more, whatever its name.
func (e *env) atRest() {
	e.t.Helper()
	runs := uint64(0)
	e.Eventually(func() bool {
		before := runs
		runs = e.runsOf("")
		return runs == before
	}, "20s", "500ms").Should(BeTrue())
}

// runsOf are those of the Kustomization of that name, or of all.
func (e *env) runsOf(name string) (runs uint64) {
	e.t.Helper()
	families, err := metrics.Registry.Gather()
	e.Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			if family.GetName() == "gotk_reconcile_duration_seconds" && labels["namespace"] == e.namespace && (name == "" || labels["name"] == name) {
				runs += metric.GetHistogram().GetSampleCount()
			}
		}
	}
	return runs
}

// A view may see a change before the run that makes it has the answer. That is no
// drift; what somebody else does meanwhile is.
func TestARunIsNotWokenByItself(t *testing.T) {
	e := newEnv(t)
	e.drift = DriftOptions{FullCheck: time.Hour}
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	var target late
	e.wrap = func(next client.Client) client.Client {
		target = late{next, e}
		return &target
	}
	e.start()
	e.becomes("web", "True")
	e.request("web", "first")
	before := e.settled()
	e.push("2", "one.yaml", configMap("one", "NS", "b")+"immutable: false\n")
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Eventually(e.runs, "20s", "20ms").Should(Equal(before + 1))
	e.Consistently(e.runs, "1s", "50ms").Should(Equal(before + 1))

	end := e.agent.memories.hold(client.ObjectKey{Namespace: e.namespace, Name: "web"})
	e.change("somebody", setValue("by hand"))
	e.Consistently(e.value, "1s", "50ms").Should(Equal("by hand"), "as long as a run may be at it")
	end()
	e.Eventually(e.value, "20s", "10ms").Should(Equal("b"))
}

func TestPolledDriftIsPutBackOnRequest(t *testing.T) {
	e := newEnv(t)
	e.drift = DriftOptions{Detection: "poll", FullCheck: time.Hour}
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.Interval.Duration = time.Second })
	e.start()
	e.becomes("web", "True")
	e.change("somebody", setValue("by hand"))
	e.Eventually(e.value, "20s", "50ms").Should(Equal("a"))
}

func TestAFightIsSlowedDown(t *testing.T) {
	e := newEnv(t)
	e.drift = DriftOptions{FullCheck: time.Hour}
	var all, applies atomic.Int32
	e.wrap = func(next client.Client) client.Client { return &asked{next, &all, &applies} }
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")
	e.request("web", "first")
	for _, value := range []string{"x", "y"} {
		e.change("autoscaler", setValue(value))
		e.Eventually(e.value, "20s", "10ms").Should(Equal("a"))
	}
	before := applies.Load()
	e.change("autoscaler", setValue("z"))
	e.Expect(e.published("DriftContested")).To(ContainSubstring(
		"ConfigMap/NS/one is changed again and again by autoscaler: corrections are slowed down; take the fields out of the manifest or list them in spec.ignore"))
	e.request("web", "second")
	e.Expect(applies.Load()).To(Equal(before))
	e.Expect(e.value()).To(Equal("z"))
	// A change of what is wanted is not held up.
	e.push("2", "one.yaml", configMap("one", "NS", "b"))
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(e.value()).To(Equal("b"))
}

// A process that starts anew knows nothing and asks.
func TestWhatChangedWhileNobodyWatchedIsPutBack(t *testing.T) {
	e := newEnv(t)
	e.drift = DriftOptions{FullCheck: time.Hour}
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	stop := e.start()
	e.becomes("web", "True")
	stop()
	e.change("somebody", setValue("by hand"))
	e.start()
	e.Eventually(e.value, "20s", "50ms").Should(Equal("a"))
}

func TestOptionsThatMeanNothing(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		options DriftOptions
		want    string
	}{
		{DriftOptions{Detection: "guess"}, "--drift-detection=guess: want watch or poll"},
		{DriftOptions{EarlyKinds: []string{"Role"}}, `--custom-apply-stage-kinds: "Role": want group/Kind`},
		{DriftOptions{EarlyKinds: []string{"a/b/c"}}, `--custom-apply-stage-kinds: "a/b/c": want group/Kind`},
	} {
		_, err := c.options.kinds()
		g.Expect(err).To(MatchError(HavePrefix(c.want)))
	}
	kinds, err := (&DriftOptions{EarlyKinds: []string{"rbac.authorization.k8s.io/Role"}}).kinds()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kinds[0].String()).To(Equal("Role.rbac.authorization.k8s.io"))
}
