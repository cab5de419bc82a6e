package helm

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// detects has a HelmRelease look for drift at the target prod, which it deploys to.
func detects(mode helmv2.DriftDetectionMode, ignored ...string) func(*helmv2.HelmRelease) {
	return func(obj *helmv2.HelmRelease) {
		obj.Spec.KubeConfig = prod()
		obj.Spec.DriftDetection = &helmv2.DriftDetection{Mode: mode}
		if len(ignored) > 0 {
			obj.Spec.DriftDetection.Ignore = []meta.IgnoreRule{{Paths: ignored}}
		}
	}
}

// patch changes the ConfigMap of the release web as somebody else does.
func (e *env) patch(text string) {
	e.t.Helper()
	one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "web"}}
	e.Expect(e.hub.Patch(e.t.Context(), one, client.RawPatch(types.MergePatchType, []byte(text)), client.FieldOwner("somebody"))).To(Succeed())
}

// rests waits until the objects of the release web are remembered.
func (e *env) rests() *objects {
	e.t.Helper()
	var found *objects
	e.EventuallyWithOffset(1, func() bool {
		known := e.agent.memories.recall(client.ObjectKey{Namespace: e.namespace, Name: "web"})
		if known == nil || known.objects == nil {
			return false
		}
		e.agent.memories.mu.Lock()
		defer e.agent.memories.mu.Unlock()
		found = known.objects
		return !found.told
	}, within, "20ms").Should(BeTrue())
	return found
}

// Ports are told from each other by two fields, the first a number: servers and
// clients write the fields of managers in orders of their own.
const ports = `apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {ports: [{name: b, port: 443}, {name: a, port: 80}, {name: c, port: 80, protocol: UDP}]}
`

func TestDriftDetectionAtRestAsksItsTargetNothing(t *testing.T) {
	e := newEnv(t)
	e.options.FullCheck = time.Hour
	proxy := e.front()
	e.release("web", detects(helmv2.DriftDetectionEnabled, "/data/theirs"))
	e.start()
	e.push("web", appChart("1.0.0", files{"templates/ports.yaml": ports}))
	e.becomes("web", "True InstallSucceeded")
	e.Eventually(func() []string { return asked(proxy) }, "2m", "20ms").Should(ContainElements(
		"watch /api/v1/namespaces/"+e.namespace+"/secrets", "watch /api/v1/configmaps", "watch /api/v1/services"))
	e.request("1")
	proxy.Reset()
	e.request("2")
	e.request("3")
	e.Expect(asked(proxy)).To(BeEmpty())

	// A full check looks at all, and finds what metadata does not show.
	known := e.rests()
	e.agent.memories.mu.Lock()
	known.until = time.Time{}
	e.agent.memories.mu.Unlock()
	e.request("4")
	e.Expect(asked(proxy)).To(ContainElement("get /api/v1/namespaces/" + e.namespace + "/configmaps/web"))

	// Other rules are looked at with anew.
	e.edit("web", func(obj *helmv2.HelmRelease) { obj.Spec.DriftDetection.Ignore = nil })
	e.becomes("web", "True InstallSucceeded")
	proxy.Reset()
	e.request("5")
	e.Expect(asked(proxy)).To(BeEmpty())
}

func TestDriftIsPutBackWithoutBeingAsked(t *testing.T) {
	e := newEnv(t)
	e.front()
	e.release("web", detects(helmv2.DriftDetectionEnabled, "/data/theirs"))
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.rests()
	e.patch(`{"data":{"value":"by hand","theirs":"kept"}}`)
	e.published("DriftDetected Cluster state of release " + e.namespace + "/web.v1 has drifted from the desired state:\nConfigMap/" + e.namespace + "/web changed")
	e.Eventually(func() string { return e.value("web") }, within, "20ms").Should(Equal("default"))
	e.becomes("web", "True InstallSucceeded")

	// What others may change is looked at and left.
	e.rests()
	e.patch(`{"data":{"theirs":"changed"}}`)
	e.Eventually(func() string { return e.condition("web", "Drifted") }, within, "20ms").Should(HavePrefix("False NoDriftDetected: objects are"))
	one := &corev1.ConfigMap{}
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "web"}, one)).To(Succeed())
	e.Expect(one.Data).To(Equal(map[string]string{"value": "default", "theirs": "changed"}))

	e.rests()
	e.Expect(e.hub.Delete(t.Context(), one)).To(Succeed())
	e.published("DriftDetected Cluster state of release " + e.namespace + "/web.v1 has drifted from the desired state:\nConfigMap/" + e.namespace + "/web removed")
	e.Eventually(func() string { return e.value("web") }, within, "20ms").Should(Equal("default"))
	e.becomes("web", "True InstallSucceeded")

	// Without its labels nobody knows whose it is.
	e.rests()
	e.patch(`{"metadata":{"labels":null}}`)
	e.Eventually(func() map[string]string {
		e.Expect(e.hub.Get(t.Context(), client.ObjectKeyFromObject(one), one)).To(Succeed())
		return one.Labels
	}, within, "20ms").Should(HaveKeyWithValue("helm.toolkit.fluxcd.io/name", "web"))
}

func TestDriftIsToldWithoutBeingAsked(t *testing.T) {
	e := newEnv(t)
	proxy := e.front()
	e.release("web", detects(helmv2.DriftDetectionWarn))
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	e.rests()
	drifted := func() string { return e.condition("web", "Drifted") }
	e.patch(`{"data":{"value":"by hand"}}`)
	e.Eventually(drifted, within, "20ms").Should(HavePrefix("True DriftDetected: "))
	e.rests()
	proxy.Reset()
	e.request("1")
	e.Expect(asked(proxy)).To(BeEmpty(), "nothing has changed since")
	e.Expect(e.value("web")).To(Equal("by hand"))
	e.patch(`{"data":{"value":"default"}}`)
	e.Eventually(drifted, within, "20ms").Should(HavePrefix("False NoDriftDetected: "))

	e.rests()
	e.Expect(e.hub.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "web"}})).To(Succeed())
	e.Eventually(drifted, within, "20ms").Should(HaveSuffix("ConfigMap/NS/web removed"))
	e.rests()
	e.Expect(e.value("web")).To(BeEmpty())
}

func TestAnObjectThatIsExemptFromDriftDetection(t *testing.T) {
	e := newEnv(t)
	e.front()
	e.release("web", detects(helmv2.DriftDetectionEnabled))
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	before := e.rests()
	e.patch(`{"metadata":{"annotations":{"helm.toolkit.fluxcd.io/driftDetection":"disabled"}},"data":{"value":"by hand"}}`)
	e.Eventually(e.rests, within, "20ms").ShouldNot(BeIdenticalTo(before))
	e.Expect(e.value("web")).To(Equal("by hand"))
	e.Expect(e.condition("web", "Drifted")).To(HavePrefix("False NoDriftDetected: objects are"))

	e.patch(`{"metadata":{"annotations":{"helm.toolkit.fluxcd.io/driftDetection":null}}}`)
	e.Eventually(func() string { return e.value("web") }, within, "20ms").Should(Equal("default"))
}

// Somebody who changes an object each time that it was put right and is at rest is
// answered later each time.
func TestAFightOverAnObjectOfAReleaseIsSlowedDown(t *testing.T) {
	e := newEnv(t)
	e.options.Retries = reconcile.Pace{MinRetryDelay: 10 * time.Millisecond, MaxRetryDelay: time.Hour}
	e.front()
	e.release("web", detects(helmv2.DriftDetectionEnabled))
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	for round := range 3 {
		e.rests()
		e.patch(`{"data":{"value":"theirs"}}`)
		e.Eventually(func() string { return e.value("web") }, within, "20ms").Should(Equal("default"))
		e.becomes("web", "True InstallSucceeded")
		e.rests()
		e.agent.memories.mu.Lock()
		times := e.agent.memories.drift[client.ObjectKey{Namespace: e.namespace, Name: "web"}].times
		e.agent.memories.mu.Unlock()
		e.Expect(times).To(BeNumerically(">", round))
	}
}

func TestPausesBeforeLooksForDrift(t *testing.T) {
	g := NewWithT(t)
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	m := newMemories(clock, reconcile.Pace{MinRetryDelay: time.Second, MaxRetryDelay: 5 * time.Second})
	name := types.NamespacedName{Namespace: "fleet", Name: "web"}
	for _, want := range []time.Duration{1, 2, 4, 5, 5} {
		g.Expect(m.pauseLocked(name, time.Minute)).To(Equal(want * time.Second))
		clock.Step(30 * time.Second)
	}
	clock.Step(time.Minute)
	g.Expect(m.pauseLocked(name, time.Minute)).To(Equal(time.Second))
	m.forget(name)
	g.Expect(m.drift).To(BeEmpty())
}

// Where objects may not be watched, or are not to be, each run looks at all.
func TestDriftWhereObjectsAreNotWatched(t *testing.T) {
	rest := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets", "namespaces"}, Verbs: []string{"*"}},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"*"}},
	}
	for name, c := range map[string]struct {
		verbs []string
		poll  bool
	}{
		"no rights to list":  {[]string{"get", "create", "patch"}, false},
		"no rights to watch": {[]string{"get", "create", "patch", "list"}, false},
		"poll":               {[]string{"*"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.options.Poll = c.poll
			e.prod(append(rest, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: c.verbs})...)
			e.release("web", detects(helmv2.DriftDetectionEnabled))
			e.start()
			e.push("web", appChart("1.0.0", nil))
			e.becomes("web", "True InstallSucceeded")
			e.request("1")
			e.patch(`{"data":{"value":"by hand"}}`)
			e.request("2")
			e.Eventually(func() string { return e.value("web") }, within, "20ms").Should(Equal("default"))
		})
	}
}

// A Job that removes itself would run without end if it was made anew at once.
func TestAJobThatRemovesItselfIsMadeAnewByTheNextRun(t *testing.T) {
	job := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: {{ .Release.Name }}}\nspec: {ttlSecondsAfterFinished: 1, template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}\n"
	e := newEnv(t)
	e.front()
	e.release("web", detects(helmv2.DriftDetectionEnabled), func(obj *helmv2.HelmRelease) {
		obj.Spec.Install = &helmv2.Install{DisableWait: true}
	})
	e.start()
	e.push("web", appChart("1.0.0", files{"templates/job.yaml": job}))
	e.becomes("web", "True InstallSucceeded")
	known := e.rests()
	key := client.ObjectKey{Namespace: e.namespace, Name: "web"}
	made := &batchv1.Job{}
	e.Expect(e.hub.Get(t.Context(), key, made)).To(Succeed())
	kind := batchv1.SchemeGroupVersion.WithKind("Job").GroupKind()
	e.Eventually(func() bool { seen, _ := known.view.Look(kind, key); return seen.Present }, within, "20ms").Should(BeTrue())
	e.Expect(e.hub.Delete(t.Context(), made, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	e.Eventually(func() bool { seen, _ := known.view.Look(kind, key); return seen.Present }, within, "20ms").Should(BeFalse())
	e.agent.memories.objectChanged(key, kind, key)
	e.Expect(e.rests()).To(BeIdenticalTo(known), "nobody was woken")
	e.request("1")
	e.Eventually(func() error { return e.hub.Get(t.Context(), key, &batchv1.Job{}) }, within, "20ms").Should(Succeed())
}
