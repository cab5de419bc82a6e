package helm

import (
	"fmt"
	"math/rand"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// The charts of these cases are odd, each in its own way. They share an agent.
func TestOddCharts(t *testing.T) {
	e := newEnv(t)
	e.create("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: there, namespace: NS}\ndata: {value: looked up}")
	e.start()
	for name, run := range map[string]func(*env){
		"hooks of every kind":             hooksOfEveryKind,
		"a hook's Job fails":              jobFails,
		"a hook's Job hangs":              jobHangs,
		"a hook's Job is gone":            jobVanishes,
		"subcharts and a library":         subcharts,
		"lookup and capabilities":         lookup,
		"a record that is too large":      tooLarge,
		"the legacy way to wait":          legacy,
		"records that go and are damaged": lostRecords,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(e.in(t))
		})
	}
}

// hook is a ConfigMap that is a hook; no policy is Helm's default.
func hook(name, kinds, weight, policy string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-%s\n"+
		"  annotations: {helm.sh/hook: '%s', helm.sh/hook-weight: '%s'%s}\n"+
		"data: {revision: '{{ .Release.Revision }}'}\n", name, kinds, weight, policyOf(policy))
}

func policyOf(policy string) string {
	if policy == "" {
		return ""
	}
	return ", helm.sh/hook-delete-policy: " + policy
}

// order is at which revision of all objects a ConfigMap was written last; 0 when it
// is not there.
func (e *env) order(name string) int {
	e.t.Helper()
	var found corev1.ConfigMap
	err := e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: name}, &found)
	if apierrors.IsNotFound(err) {
		return 0
	}
	e.Expect(err).NotTo(HaveOccurred())
	order, err := strconv.Atoi(found.ResourceVersion)
	e.Expect(err).NotTo(HaveOccurred())
	return order
}

// expectOrder says that the ConfigMaps were written one after the other.
func (e *env) expectOrder(names ...string) {
	e.t.Helper()
	last := 0
	for _, name := range names {
		order := e.order(name)
		e.ExpectWithOffset(1, order).To(BeNumerically(">", last), name)
		last = order
	}
}

func hooksOfEveryKind(e *env) {
	hooks := files{
		"templates/h1.yaml": hook("late", "pre-install", "5", ""),
		"templates/h2.yaml": hook("early", "pre-install,pre-upgrade", "-5", ""),
		"templates/h3.yaml": hook("middle", "pre-install", "0", ""),
		"templates/h4.yaml": hook("after", "post-install", "0", "before-hook-creation"),
		"templates/h5.yaml": hook("passing", "pre-install", "9", "hook-succeeded"),
		"templates/h6.yaml": hook("upgraded", "post-upgrade", "0", ""),
		"templates/h7.yaml": hook("back", "pre-rollback", "0", "hook-failed"),
		"templates/h8.yaml": hook("again", "post-rollback", "0", ""),
		"templates/h9.yaml": hook("leaving", "pre-delete", "0", ""),
		"templates/ha.yaml": hook("left", "post-delete", "0", ""),
	}
	e.release("hooks", func(obj *helmv2.HelmRelease) {
		obj.Spec.Upgrade = &helmv2.Upgrade{Timeout: second(), Remediation: &helmv2.UpgradeRemediation{RemediateLastFailure: ptr.To(true)}}
	})
	e.push("hooks", appChart("1.0.0", hooks))
	e.becomes("hooks", "True InstallSucceeded")
	e.expectOrder("hooks-early", "hooks-middle", "hooks-late", "hooks", "hooks-after")
	e.Expect(e.order("hooks-passing")).To(BeZero(), "it is deleted once it has succeeded")
	e.Expect(e.order("hooks-upgraded")).To(BeZero())
	first := e.order("hooks-early")

	hooks["values.yaml"] = "value: new"
	e.push("hooks", appChart("1.1.0", hooks))
	e.becomes("hooks", "True UpgradeSucceeded")
	e.Expect(e.order("hooks-early")).To(BeNumerically(">", first), "it is made anew for each revision")
	e.expectOrder("hooks-late", "hooks-early", "hooks", "hooks-upgraded")

	hooks["templates/stuck.yaml"] = stuck
	e.push("hooks", appChart("1.2.0", hooks))
	e.becomes("hooks", "False RetriesExceeded")
	e.Expect(e.condition("hooks", "Remediated")).To(HavePrefix("True RollbackSucceeded"))
	e.expectOrder("hooks", "hooks-back", "hooks-again")

	obj := e.get("hooks")
	e.Expect(e.hub.Delete(e.t.Context(), obj)).To(Succeed())
	e.Eventually(func() error { return e.hub.Get(e.t.Context(), client.ObjectKeyFromObject(obj), obj) }, "2m", "50ms").ShouldNot(Succeed())
	e.Expect(e.order("hooks")).To(BeZero())
	e.expectOrder("hooks-again", "hooks-leaving", "hooks-left")
}

// hookJob is a Job that is a hook.
func hookJob(policy string) string {
	return "apiVersion: batch/v1\nkind: Job\nmetadata: {name: {{ .Release.Name }}, annotations: {helm.sh/hook: pre-install" + policyOf(policy) + "}}\n" +
		"spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}\n"
}

// finishJob plays the cluster for the Job named job.
func (e *env) finishJob(succeeds bool) {
	e.t.Helper()
	ctx := e.t.Context()
	job := &batchv1.Job{}
	e.Eventually(func() error {
		return e.hub.Get(ctx, client.ObjectKey{Namespace: e.namespace, Name: "job"}, job)
	}, "2m", "20ms").Should(Succeed())
	now := metav1.NewTime(time.Now())
	job.Status.StartTime = &now
	condition := func(kind batchv1.JobConditionType) batchv1.JobCondition {
		return batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonBackoffLimitExceeded, LastTransitionTime: now, LastProbeTime: now}
	}
	if succeeds {
		job.Status.CompletionTime = &now
		job.Status.Conditions = []batchv1.JobCondition{condition(batchv1.JobSuccessCriteriaMet), condition(batchv1.JobComplete)}
	} else {
		job.Status.Conditions = []batchv1.JobCondition{condition(batchv1.JobFailureTarget), condition(batchv1.JobFailed)}
	}
	e.Expect(e.hub.Status().Update(ctx, job)).To(Succeed())
}

// once allows no second try.
func once(obj *helmv2.HelmRelease) {
	obj.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{}}
}

func jobFails(e *env) {
	e.release("job", once)
	e.push("job", appChart("1.0.0", files{"templates/job.yaml": hookJob("hook-failed")}))
	e.finishJob(false)
	e.becomes("job", "False RetriesExceeded: ")
	e.Expect(e.ready("job")).To(ContainSubstring("Helm install failed for release NS/job with chart app@1.0.0: failed pre-install: Job job failed: BackoffLimitExceeded"))
	e.Expect(e.records("job")).To(Equal([]string{"v1 failed"}))
	e.Expect(e.value("job")).To(BeEmpty(), "nothing is made after a hook that failed")
	job := &batchv1.Job{}
	e.Expect(apierrors.IsNotFound(e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "job"}, job))).To(BeTrue())

	e.push("job", appChart("1.1.0", files{"templates/job.yaml": strings.Replace(hookJob("hook-succeeded"), "pre-install", "pre-upgrade", 1)}))
	e.finishJob(true)
	e.becomes("job", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/job.v2")
	e.Expect(apierrors.IsNotFound(e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "job"}, job))).To(BeTrue())
}

func jobHangs(e *env) {
	e.release("hangs", once, func(obj *helmv2.HelmRelease) { obj.Spec.Install.Timeout = second() })
	e.push("hangs", appChart("1.0.0", files{"templates/job.yaml": hookJob("")}))
	e.becomes("hangs", "False RetriesExceeded: ")
	e.Expect(e.ready("hangs")).To(ContainSubstring("failed pre-install: timeout of 1s while waiting for: Job/NS/hangs"))
	e.Expect(e.records("hangs")).To(Equal([]string{"v1 failed"}))
	e.Expect(e.value("hangs")).To(BeEmpty())
}

func jobVanishes(e *env) {
	e.release("vanishes", once)
	e.push("vanishes", appChart("1.0.0", files{"templates/job.yaml": hookJob("")}))
	job := &batchv1.Job{}
	e.Eventually(func() error {
		return e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "vanishes"}, job)
	}, "2m", "20ms").Should(Succeed())
	e.Expect(e.hub.Delete(e.t.Context(), job, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	e.becomes("vanishes", "True InstallSucceeded")
}

func subcharts(e *env) {
	chart := appChart("1.0.0", files{
		"Chart.yaml": "apiVersion: v2\nname: app\nversion: 1.0.0\n" +
			"dependencies: [{name: sub, version: '*', condition: sub.enabled}, {name: lib, version: '*'}]\n",
		"values.yaml":                  "sub: {enabled: false, value: from above}",
		"templates/one.yaml":           "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {value: {{ include \"lib.value\" . }}}\n",
		"charts/sub/Chart.yaml":        "apiVersion: v2\nname: sub\nversion: 0.1.0\n",
		"charts/sub/values.yaml":       "value: own\n",
		"charts/sub/templates/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-sub}\ndata: {value: {{ .Values.value | quote }}}\n",
		"charts/lib/Chart.yaml":        "apiVersion: v2\nname: lib\nversion: 0.1.0\ntype: library\n",
		"charts/lib/templates/_h.tpl":  `{{ define "lib.value" }}of {{ .Release.Name }}{{ end }}`,
	})
	e.release("subs")
	e.push("subs", chart)
	e.becomes("subs", "True InstallSucceeded")
	e.Expect(e.value("subs")).To(Equal("of subs"))
	e.Expect(e.value("subs-sub")).To(BeEmpty())
	e.edit("subs", func(obj *helmv2.HelmRelease) { obj.Spec.Values = values("sub: {enabled: true}") })
	e.becomes("subs", "True UpgradeSucceeded")
	e.Expect(e.value("subs-sub")).To(Equal("from above"))
	e.Expect(e.get("subs").Status.Inventory.Entries).To(HaveLen(2))
}

func lookup(e *env) {
	e.release("looks")
	e.push("looks", appChart("1.0.0", files{"templates/one.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n" +
		"data:\n  value: '{{ (lookup \"v1\" \"ConfigMap\" .Release.Namespace \"there\").data.value }}, " +
		"{{ .Capabilities.APIVersions.Has \"apps/v1/Deployment\" }}, {{ .Capabilities.APIVersions.Has \"no/v1\" }}, {{ .Capabilities.KubeVersion.Major }}, " +
		"{{ len (lookup \"v1\" \"ConfigMap\" .Release.Namespace \"none\") }}'\n"}))
	e.becomes("looks", "True InstallSucceeded")
	e.Expect(e.value("looks")).To(Equal("looked up, true, false, 1, 0"))
}

func tooLarge(e *env) {
	e.release("large", func(obj *helmv2.HelmRelease) {
		obj.Spec.Upgrade = &helmv2.Upgrade{Remediation: &helmv2.UpgradeRemediation{}}
	})
	e.push("large", appChart("1.0.0", nil))
	e.becomes("large", "True InstallSucceeded")
	noise := make([]byte, 900<<10)
	_, _ = rand.New(rand.NewSource(1)).Read(noise) //nolint:gosec // it only must not shrink
	e.push("large", appChart("1.1.0", files{"files/noise": string(noise), "values.yaml": "value: new"}))
	e.becomes("large", "False UpgradeFailed: ")
	// It is tried again, and what was released says so all the while.
	e.Expect(e.condition("large", "Released")).To(ContainSubstring("the record of the release is too large for a Secret, which may have 1 MiB"))
	e.Expect(e.records("large")).To(Equal([]string{"v1 deployed"}))
	e.Expect(e.history("large")).To(ContainElement("v1 deployed by install"))
	e.Expect(e.get("large").Status.UpgradeFailures).To(BeZero(), "there is nothing to undo")
	e.Expect(e.value("large")).To(Equal("default"), "nothing is changed that could not be recorded")
	e.push("large", appChart("1.2.0", files{"values.yaml": "value: newer"}))
	e.becomes("large", "True UpgradeSucceeded: Helm upgrade succeeded for release NS/large.v2")
	e.Expect(e.value("large")).To(Equal("newer"))
}

func legacy(e *env) {
	waits := func(obj *helmv2.HelmRelease) {
		obj.Spec.WaitStrategy = &helmv2.WaitStrategy{Name: helmv2.WaitStrategyLegacy}
	}
	e.release("old", once, waits)
	e.release("older", once, waits, func(obj *helmv2.HelmRelease) { obj.Spec.Timeout = second() })
	chart := files{"templates/pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: {{ .Release.Name }}}\nspec: {containers: [{name: a, image: a}]}\n"}
	e.push("old", appChart("1.0.0", chart))
	e.push("older", appChart("1.0.0", chart))
	pod := &corev1.Pod{}
	e.Eventually(func() error {
		return e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "old"}, pod)
	}, "2m", "20ms").Should(Succeed())
	e.Expect(e.records("old")).To(Equal([]string{"v1 pending-install"}))
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	e.Expect(e.hub.Status().Update(e.t.Context(), pod)).To(Succeed())
	e.becomes("old", "True InstallSucceeded")
	e.becomes("older", "False RetriesExceeded: ")
	e.Expect(e.ready("older")).To(ContainSubstring("Helm install failed for release NS/older with chart app@1.0.0: "))
}

func lostRecords(e *env) {
	e.release("lost")
	e.push("lost", appChart("1.0.0", nil))
	e.becomes("lost", "True InstallSucceeded")
	e.push("lost", appChart("1.1.0", nil))
	e.becomes("lost", "True UpgradeSucceeded")
	secret := func() *corev1.Secret {
		found := &corev1.Secret{}
		e.Expect(e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "sh.helm.release.v1.lost.v2"}, found)).To(Succeed())
		return found
	}

	// Damaged: nothing is done until it can be read again.
	damaged := secret()
	whole := damaged.Data["release"]
	damaged.Data["release"] = []byte("H4sIAAAAnonsense")
	e.Expect(e.hub.Update(e.t.Context(), damaged)).To(Succeed())
	e.becomes("lost", "False StateError: the record of the release lost in Secret NS/sh.helm.release.v1.lost.v2 cannot be read: restore the Secret, or delete it")
	e.Expect(e.value("lost")).To(Equal("default"))
	restored := secret()
	restored.Data["release"] = whole
	e.Expect(e.hub.Update(e.t.Context(), restored)).To(Succeed())
	e.requestOf("lost", "1")
	e.becomes("lost", "True ")
	e.Expect(e.records("lost")).To(Equal([]string{"v2 deployed", "v1 superseded"}))

	// Deleted, all of them: the release is there again, and its objects stay.
	before := e.order("lost")
	e.Expect(e.hub.DeleteAllOf(e.t.Context(), &corev1.Secret{}, client.InNamespace(e.namespace), client.MatchingLabels{"owner": "helm", "name": "lost"})).To(Succeed())
	e.becomes("lost", "True InstallSucceeded: Helm install succeeded for release NS/lost.v1 with chart app@1.1.0")
	e.Expect(e.records("lost")).To(Equal([]string{"v1 deployed"}))
	e.Expect(e.order("lost")).To(BeNumerically(">=", before))
	e.Expect(e.get("lost").Status.Failures).To(BeZero())
}

// What spec.chart.metadata does not say any more goes, and what others have put on
// the HelmChart stays.
func TestTheMetadataOfTheHelmChart(t *testing.T) {
	e := newEnv(t)
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Chart.ObjectMeta = &helmv2.HelmChartTemplateObjectMeta{
			Labels: map[string]string{"team": "a", "tier": "b"}, Annotations: map[string]string{"note": "c"},
		}
	})
	e.start()
	e.push("web", appChart("1.0.0", nil))
	e.becomes("web", "True InstallSucceeded")
	chart := &sourcev1.HelmChart{}
	key := client.ObjectKey{Namespace: e.namespace, Name: e.namespace + "-web"}
	e.Expect(e.hub.Get(t.Context(), key, chart)).To(Succeed())
	e.Expect(chart.Labels).To(HaveKeyWithValue("team", "a"))
	e.Expect(e.hub.Patch(t.Context(), chart, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"theirs":"d"}}}`)))).To(Succeed())

	e.edit("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Chart.ObjectMeta = &helmv2.HelmChartTemplateObjectMeta{Labels: map[string]string{"tier": "b"}}
	})
	e.Eventually(func() map[string]string {
		e.Expect(e.hub.Get(t.Context(), key, chart)).To(Succeed())
		return chart.Labels
	}, "2m", "50ms").Should(Not(HaveKey("team")))
	e.Expect(chart.Labels).To(And(HaveKeyWithValue("tier", "b"), HaveKeyWithValue("theirs", "d")))
	e.Expect(chart.Annotations).NotTo(HaveKey("note"))
}
