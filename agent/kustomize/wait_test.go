package kustomize

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/apply"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example.com/web}]}
`

func waits5m(obj *kustomizev1.Kustomization) {
	obj.Spec.Wait = true
	obj.Spec.Timeout = duration(5 * time.Minute)
}

func TestWaitForHealth(t *testing.T) {
	e := newEnv(t)
	e.push("1", "web.yaml", deployment, "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web", waits5m)
	e.start()
	e.becomes("web", "Unknown Progressing: waiting for: [Deployment/NS/web status: 'InProgress']")
	e.Expect(e.condition("web", "Healthy")).To(Equal("Unknown Progressing: Running health checks for revision main@sha1:1 with a timeout of 5m0s"))
	e.Expect(e.condition("web", "Reconciling")).To(HavePrefix("True Progressing"))
	status := e.get("web").Status
	e.Expect(status.LastAppliedRevision).To(BeEmpty(), "only what is healthy counts as applied")
	e.Expect(status.LastAttemptedRevision).To(Equal("main@sha1:1"))
	e.Expect(status.WaitingSince).NotTo(BeNil())
	e.Expect(status.Inventory.Entries).To(HaveLen(2))

	e.setReady("web")
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:1")
	e.Expect(e.condition("web", "Healthy")).To(Equal("True Succeeded: Health check passed"))
	e.Expect(e.get("web").Status.WaitingSince).To(BeNil())

	e.edit("web", func(obj *kustomizev1.Kustomization) { obj.Spec.Wait = false })
	e.Eventually(func() string { return e.condition("web", "Healthy") }, "20s").Should(BeEmpty())
}

func TestTheTimeoutSurvivesTheAgent(t *testing.T) {
	e := newEnv(t)
	clock := clocktesting.NewFakeClock(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	e.clock = clock
	e.push("1", "web.yaml", deployment)
	e.kustomization("web", waits5m)
	stop := e.start()
	e.becomes("web", "Unknown Progressing")
	stop()
	since := e.get("web").Status.WaitingSince
	e.Expect(since.UTC()).To(Equal(clock.Now()))

	clock.Step(3 * time.Minute)
	stop = e.start()
	e.Consistently(func() string { return e.ready("web") }, "2s", "200ms").Should(HavePrefix("Unknown Progressing"))
	e.Expect(e.get("web").Status.WaitingSince).To(Equal(since))
	stop()

	clock.Step(2 * time.Minute)
	e.start()
	e.becomes("web", "False HealthCheckFailed: health check failed after 5m0s: timeout waiting for: [Deployment/NS/web status: 'InProgress']")
	e.Expect(e.condition("web", "Healthy")).To(HavePrefix("False HealthCheckFailed"))
	e.Expect(e.get("web").Status.WaitingSince).To(Equal(since), "the same thing is not waited for anew")

	e.setReady("web")
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:1")
}

func TestANewRevisionEndsTheWait(t *testing.T) {
	e := newEnv(t)
	e.push("1", "web.yaml", deployment)
	e.kustomization("web", waits5m)
	e.start()
	e.becomes("web", "Unknown Progressing")
	e.push("2", "one.yaml", configMap("one", "NS", "a"))
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(e.object("apps/v1", "Deployment", "web")).To(BeNil())
}

// Of what it has applied an agent hears when it changes: a wait ends then, however
// rarely a crowd that waits may look.
func TestAWaitEndsWithTheChange(t *testing.T) {
	e := newEnv(t)
	e.push("1", "web.yaml", deployment)
	e.kustomization("web", waits5m)
	e.start()
	crowd := map[types.NamespacedName]waiting{}
	for i := range 100_000 {
		crowd[types.NamespacedName{Namespace: "crowd", Name: strconv.Itoa(i)}] = waiting{}
	}
	waits := &e.agent.waits
	waits.mu.Lock()
	maps.Copy(crowd, waits.of)
	waits.of = crowd
	waits.mu.Unlock()
	e.becomes("web", "Unknown Progressing: waiting for")
	e.setReady("web")
	e.becomes("web", "True")
}

// What is changed at the target, or in what the build reads, is not left for the end
// of a wait, nor forgotten at it.
func TestAWaitIsNoRest(t *testing.T) {
	e := newEnv(t)
	e.options.WatchConfigs = labels.SelectorFromSet(labels.Set{meta.WatchLabel: "Enabled"})
	vars := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "vars", Labels: map[string]string{meta.WatchLabel: "Enabled"}},
		Data:       map[string]string{"VALUE": "a"},
	}
	e.Expect(e.hub.Create(t.Context(), vars)).To(Succeed())
	e.push("1", "web.yaml", deployment, "one.yaml", configMap("one", "NS", "${VALUE}"))
	e.kustomization("web", waits5m, func(obj *kustomizev1.Kustomization) {
		obj.Spec.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "ConfigMap", Name: "vars"}}}
	})
	e.start()
	e.becomes("web", "Unknown Progressing: waiting for")
	e.Expect(e.value()).To(Equal("a"))

	e.change("kubectl-edit", setValue("x"))
	e.Eventually(e.value, "20s").Should(Equal("a"), "put back")
	e.becomes("web", "Unknown Progressing: waiting for")

	vars.Data["VALUE"] = "b"
	e.Expect(e.hub.Update(t.Context(), vars)).To(Succeed())
	e.Eventually(e.value, "20s").Should(Equal("b"), "built anew")
	e.becomes("web", "Unknown Progressing: waiting for")
	e.setReady("web")
	e.becomes("web", "True")
}

// A change that comes while a run looks is not lost with what that run remembers.
func TestAWaitIsSpoiledWhileItIsLookedAt(t *testing.T) {
	g := NewWithT(t)
	w := &waits{}
	obj := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "1", Generation: 1}}
	obj.Status.WaitingSince = &metav1.Time{Time: time.Unix(1, 0)}
	src := &meta.Artifact{Revision: "main@sha1:1", Digest: "sha256:1"}
	what := waiting{src: src, uid: obj.UID, generation: obj.Generation}
	w.keep(obj, what)
	_, waits := w.resume(obj, src)
	g.Expect(waits).To(BeTrue())
	w.spoil(client.ObjectKeyFromObject(obj))
	w.keep(obj, what)
	_, waits = w.resume(obj, src)
	g.Expect(waits).To(BeFalse())
	w.keep(obj, what)
	_, waits = w.resume(obj, src)
	g.Expect(waits).To(BeTrue(), "the run that went through all phases has seen the change")
}

// ahead is an API server whose memory has a Deployment that is ready.
type ahead struct {
	client.Client
	looks atomic.Int32
}

func (a *ahead) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if err := a.Client.Get(ctx, key, obj, opts...); err != nil || !slices.Contains(opts, apply.Cached) {
		return err
	}
	a.looks.Add(1)
	return unstructured.SetNestedMap(obj.(*unstructured.Unstructured).Object, readyStatus(obj.GetGeneration()), "status")
}

// A look may be at what the API server has in memory, which may be of another
// moment: the end of a wait is told from the truth.
func TestAWaitEndsByTheTruth(t *testing.T) {
	e := newEnv(t)
	server := &ahead{}
	e.wrap = func(next client.Client) client.Client {
		server.Client = next
		return server
	}
	e.push("1", "web.yaml", deployment)
	e.kustomization("web", waits5m)
	e.start()
	e.Eventually(server.looks.Load, "20s", "20ms").Should(BeNumerically(">=", 2), "and nobody fell for the first")
	e.Expect(e.ready("web")).To(HavePrefix("Unknown Progressing: waiting for: [Deployment/NS/web status: 'InProgress']"))
	e.setReady("web")
	e.becomes("web", "True")
}

func TestFailedObjectsEndTheWait(t *testing.T) {
	e := newEnv(t)
	e.push("1", "web.yaml", deployment)
	e.kustomization("web", waits5m)
	e.start()
	e.becomes("web", "Unknown Progressing")
	e.setStatus("web", map[string]any{"observedGeneration": int64(1), "conditions": []any{
		map[string]any{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
	}})
	e.becomes("web", "False HealthCheckFailed: health check failed: failed early due to stalled resources: [Deployment/NS/web status: 'Failed']")
}

func TestHealthChecksNameTheirObjects(t *testing.T) {
	e := newEnv(t)
	e.push("1", "web.yaml", deployment)
	e.kustomization("web", func(obj *kustomizev1.Kustomization) {
		obj.Spec.HealthChecks = []meta.NamespacedObjectKindReference{
			{Kind: "Deployment", Name: "web"},
			{APIVersion: "v1", Kind: "ConfigMap", Name: "made-by-somebody"},
		}
	})
	e.start()
	e.becomes("web", "Unknown Progressing: waiting for: [ConfigMap/NS/made-by-somebody status: 'NotFound', Deployment/NS/web status: 'InProgress']")
	e.setReady("web")
	e.becomes("web", "Unknown Progressing: waiting for: [ConfigMap/NS/made-by-somebody status: 'NotFound']")
	e.create(configMap("made-by-somebody", e.namespace, "x"))
	e.becomes("web", "True")
}

// broken is an API server that cannot read Deployments while it is down.
type broken struct {
	client.Client
	down atomic.Bool
}

func (b *broken) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if b.down.Load() && obj.GetObjectKind().GroupVersionKind().Kind == "Deployment" {
		return apierrors.NewInternalError(errors.New("etcd is away"))
	}
	return b.Client.Get(ctx, key, obj, opts...)
}

// A server that fails while health is waited for says nothing of it: the wait goes
// on, and nobody is warned.
func TestAWaitOutlastsAServerThatFails(t *testing.T) {
	e := newEnv(t)
	server := &broken{}
	e.wrap = func(next client.Client) client.Client {
		server.Client = next
		return server
	}
	e.push("1", "web.yaml", deployment)
	e.kustomization("web", waits5m)
	e.start()
	e.becomes("web", "Unknown Progressing: waiting for: [Deployment/NS/web status: 'InProgress']")
	server.down.Store(true)
	e.becomes("web", "Unknown Progressing: waiting for: [Deployment/NS/web status: 'Unknown': get failed (InternalError): Internal error occurred: etcd is away]")
	server.down.Store(false)
	e.setReady("web")
	e.becomes("web", "True")
	e.Expect(e.get("web").Status.History).To(HaveLen(1), "no run has failed")
}

// A Job that removes itself when it is done has run, also where spec.healthChecks
// names it.
func TestAListedJobMayRemoveItself(t *testing.T) {
	e := newEnv(t)
	e.push("1", "job.yaml", `
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: NS}
spec:
  ttlSecondsAfterFinished: 0
  template: {spec: {restartPolicy: Never, containers: [{name: migrate, image: example.com/migrate}]}}
`)
	e.kustomization("web", func(obj *kustomizev1.Kustomization) {
		obj.Spec.HealthChecks = []meta.NamespacedObjectKindReference{{APIVersion: "batch/v1", Kind: "Job", Name: "migrate"}}
	})
	e.start()
	e.becomes("web", "Unknown Progressing: waiting for: [Job/NS/migrate status: 'InProgress']")
	// The next run waits until the Job is watched: what was never seen is made anew.
	e.request("web", "1")
	e.Expect(e.hub.Delete(e.t.Context(), e.object("batch/v1", "Job", "migrate"), client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	e.published("Health check passed")
	e.Consistently(func() any { return e.object("batch/v1", "Job", "migrate") }, "2s", "100ms").Should(BeNil(), "it does not run again at once")
}

// What health says is no longer than a condition may be, whatever it is of: the
// API server would refuse the status at each run.
func TestHealthySaysNoMoreThanAConditionMay(t *testing.T) {
	g := NewWithT(t)
	obj := &kustomizev1.Kustomization{}
	setHealthy(obj, metav1.ConditionFalse, meta.HealthCheckFailedReason, "token=hunter2 "+strings.Repeat("é", 20_000))
	message := apimeta.FindStatusCondition(obj.Status.Conditions, meta.HealthyCondition).Message
	g.Expect(message).To(And(HavePrefix("token=***** éé"), HaveSuffix("é...")))
	g.Expect(len(message)).To(BeNumerically("<=", 32768))
}

// Objects that are left alone are not waited for.
func TestSkippedObjectsAreNotAwaited(t *testing.T) {
	e := newEnv(t)
	e.push("1", "web.yaml", strings.Replace(deployment, "namespace: NS", "namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/reconcile: disabled}", 1))
	e.kustomization("web", waits5m)
	e.start()
	e.becomes("web", "True")
	e.Expect(e.inventory()).To(Equal([]string{"NS_web_apps_Deployment"}))
}

func TestManyWaitWithFewWorkers(t *testing.T) {
	e := newEnv(t)
	const many = 24 // more than there are workers
	pairs := []string{"other/one.yaml", configMap("one", "NS", "a")}
	for i := range many {
		name := fmt.Sprintf("web-%d", i)
		pairs = append(pairs, name+"/web.yaml", strings.Replace(deployment, "name: web,", "name: "+name+",", 1))
	}
	e.push("1", pairs...)
	for i := range many {
		e.kustomization(fmt.Sprintf("web-%d", i), waits5m, func(obj *kustomizev1.Kustomization) { obj.Spec.Path = obj.Name })
	}
	e.start()
	for i := range many {
		e.becomes(fmt.Sprintf("web-%d", i), "Unknown Progressing")
	}
	e.kustomization("other", func(obj *kustomizev1.Kustomization) { obj.Spec.Path = "other" })
	e.becomes("other", "True")
}

// setReady plays the Deployment's controller.
func (e *env) setReady(name string) {
	e.t.Helper()
	e.setStatus(name, readyStatus(e.object("apps/v1", "Deployment", name).GetGeneration()))
}

func readyStatus(generation int64) map[string]any {
	return map[string]any{
		"observedGeneration": generation,
		"replicas":           int64(1), "updatedReplicas": int64(1), "readyReplicas": int64(1), "availableReplicas": int64(1),
		"conditions": []any{
			map[string]any{"type": "Available", "status": "True"},
			map[string]any{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
		},
	}
}

func (e *env) setStatus(name string, status map[string]any) {
	e.t.Helper()
	obj := e.object("apps/v1", "Deployment", name)
	e.Expect(unstructured.SetNestedMap(obj.Object, status, "status")).To(Succeed())
	e.Expect(e.hub.Status().Update(e.t.Context(), obj)).To(Succeed())
}
