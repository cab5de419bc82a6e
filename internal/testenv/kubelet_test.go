package testenv

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestNextStatus(t *testing.T) {
	const always, onFailure, never = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	type want struct {
		phase  corev1.PodPhase
		ready  corev1.ConditionStatus
		reason string
		again  time.Duration
	}
	for _, test := range []struct {
		name        string
		annotations map[string]string
		policy      corev1.RestartPolicy
		age         time.Duration
		want        want
	}{
		{"at once", nil, always, 0, want{"Running", "True", "", 0}},
		{"at once, and done", nil, never, 0, want{"Succeeded", "False", "PodCompleted", 0}},
		{
			"begin of the delay", map[string]string{"testenv.headwater.dev/ready-after": "2s"},
			always, 0, want{"Running", "False", "ContainersNotReady", 2 * time.Second},
		},
		{
			"end of the delay", map[string]string{"testenv.headwater.dev/ready-after": "2s"},
			always, 2*time.Second - 1, want{"Running", "False", "ContainersNotReady", 1},
		},
		{
			"after the delay", map[string]string{"testenv.headwater.dev/ready-after": "2s"},
			always, 2 * time.Second, want{"Running", "True", "", 0},
		},
		{
			"done after a delay", map[string]string{"testenv.headwater.dev/ready-after": "2s"},
			onFailure, 2 * time.Second, want{"Succeeded", "False", "PodCompleted", 0},
		},
		{
			"no duration", map[string]string{"testenv.headwater.dev/ready-after": "soon"},
			always, time.Hour, want{"Running", "False", "InvalidAnnotation", 0},
		},
		{
			"never ready", map[string]string{"testenv.headwater.dev/never-ready": "true"},
			always, 24 * time.Hour, want{"Running", "False", "ContainersNotReady", 0},
		},
		{
			"crashing", map[string]string{"testenv.headwater.dev/fail": "true"},
			always, 0, want{"Running", "False", "ContainersNotReady", 0},
		},
		{
			"failing after a delay", map[string]string{"testenv.headwater.dev/fail": "true", "testenv.headwater.dev/ready-after": "2s"},
			never, time.Second, want{"Running", "False", "ContainersNotReady", time.Second},
		},
		{
			"failed", map[string]string{"testenv.headwater.dev/fail": "true", "testenv.headwater.dev/ready-after": "2s"},
			never, 3 * time.Second, want{"Failed", "False", "PodFailed", 0},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{UID: "1", Annotations: test.annotations},
				Spec:       corev1.PodSpec{RestartPolicy: test.policy, Containers: []corev1.Container{{Name: "main"}}},
			}
			now := started.Add(test.age)
			status, again := nextStatus(pod, started, now)
			condition := readyCondition(status)
			g.Expect(want{status.Phase, condition.Status, condition.Reason, again}).To(Equal(test.want))

			pod.Status = *status
			status, _ = nextStatus(pod, started, now)
			g.Expect(status).To(BeNil(), "it has that status now")
		})
	}
}

func TestNextStatusKeepsTransitionTimes(t *testing.T) {
	g := NewWithT(t)
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"testenv.headwater.dev/ready-after": "5s"}}}
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	first, _ := nextStatus(pod, started, started)
	pod.Status = *first
	second, _ := nextStatus(pod, started, started.Add(7*time.Second))
	g.Expect(readyCondition(second).LastTransitionTime.Time).To(Equal(started.Add(7 * time.Second)))
	pod.Status = *second
	pod.Generation = 2
	third, _ := nextStatus(pod, started, started.Add(time.Hour))
	g.Expect(third.ObservedGeneration).To(BeEquivalentTo(2))
	g.Expect(readyCondition(third).LastTransitionTime.Time).To(Equal(started.Add(7 * time.Second)))
	g.Expect(third.StartTime.Time).To(Equal(started))
}

// The kubelet's own writes, recorded in front of the API server, tell when the
// pod is said to be ready. The kubelet looks every 100 ms, and its clock stands.
func TestReadyComesAfterTheDelayNotBefore(t *testing.T) {
	g := NewWithT(t)
	begin := time.Now()
	clock := clocktesting.NewFakePassiveClock(begin)
	p := startKubelet(t, clock.Now)
	namespace := newNamespace(t, "delayed")
	written := func() (what []string) {
		for _, record := range p.Records() {
			if record.Namespace == namespace && record.Mutating && record.Status > 0 && record.Status < 300 {
				what = append(what, record.Subresource)
			}
		}
		return what
	}
	deployment := newDeployment(namespace, "web", map[string]string{"testenv.headwater.dev/ready-after": "100ms"})
	g.Expect(adminClient(t).Create(t.Context(), deployment)).To(Succeed())
	g.Eventually(written).Should(Equal([]string{"binding", "status"}), "it runs")
	clock.SetTime(begin.Add(99 * time.Millisecond))
	g.Consistently(written, "500ms").Should(HaveLen(2), "and is not ready")

	clock.SetTime(begin.Add(100 * time.Millisecond))
	g.Eventually(isAvailable(t, deployment)).Should(Equal(corev1.ConditionTrue))
	g.Expect(written()).To(Equal([]string{"binding", "status", "status"}))
}

func TestKubeletRunsWorkloads(t *testing.T) {
	g := NewWithT(t)
	kube := adminClient(t)
	startKubelet(t, time.Now)
	namespace := newNamespace(t, "workloads")
	web := newDeployment(namespace, "web", nil)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: corev1.ServiceSpec{
			Selector: web.Spec.Selector.MatchLabels,
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	stateful := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](2), Selector: newDeployment("", "db", nil).Spec.Selector, Template: newDeployment("", "db", nil).Spec.Template,
		},
	}
	daemon := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "log"},
		Spec:       appsv1.DaemonSetSpec{Selector: newDeployment("", "log", nil).Spec.Selector, Template: newDeployment("", "log", nil).Spec.Template},
	}
	good, bad := newJob(namespace, "good", nil), newJob(namespace, "bad", map[string]string{"testenv.headwater.dev/fail": "true"})
	for _, object := range []client.Object{web, service, stateful, daemon, good, bad} {
		g.Expect(kube.Create(t.Context(), object)).To(Succeed())
	}

	g.Eventually(isAvailable(t, web)).WithTimeout(eventually).Should(Equal(corev1.ConditionTrue))
	g.Eventually(func(g Gomega) {
		for _, object := range []client.Object{stateful, daemon, good, bad} {
			g.Expect(kube.Get(t.Context(), client.ObjectKeyFromObject(object), object)).To(Succeed())
		}
		g.Expect(stateful.Status.ReadyReplicas).To(BeEquivalentTo(2))
		g.Expect(daemon.Status.NumberReady).To(BeEquivalentTo(1))
		g.Expect(good.Status.Succeeded).To(BeEquivalentTo(1))
		g.Expect(bad.Status.Failed).To(BeEquivalentTo(1))
		var slices discoveryv1.EndpointSliceList
		g.Expect(kube.List(t.Context(), &slices, client.InNamespace(namespace))).To(Succeed())
		g.Expect(slices.Items).To(ConsistOf(HaveField("Endpoints", HaveLen(1))))
	}).WithTimeout(eventually).Should(Succeed())

	g.Expect(kube.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
	g.Eventually(func() error {
		return kube.Get(t.Context(), client.ObjectKey{Name: namespace}, &corev1.Namespace{})
	}).WithTimeout(eventually).Should(Satisfy(apierrors.IsNotFound), "pods and their finalizers go")
}

func TestKubeletObeysAnnotations(t *testing.T) {
	g := NewWithT(t)
	kube := adminClient(t)
	startKubelet(t, time.Now)
	namespace := newNamespace(t, "annotated")
	hung := newPod(namespace, "hung", map[string]string{"testenv.headwater.dev/never-ready": "true"})
	crash := newPod(namespace, "crash", map[string]string{"testenv.headwater.dev/fail": "true"})
	gated := newPod(namespace, "gated", nil)
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
	for _, pod := range []*corev1.Pod{gated, hung, crash} {
		g.Expect(kube.Create(t.Context(), pod)).To(Succeed())
	}
	get := func(g Gomega, pod *corev1.Pod) *corev1.Pod {
		g.Expect(kube.Get(t.Context(), client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		return pod
	}
	g.Eventually(func(g Gomega) {
		g.Expect(get(g, hung).Status.Phase).To(Equal(corev1.PodRunning))
		g.Expect(get(g, crash).Status.ContainerStatuses).To(ConsistOf(HaveField("State.Waiting.Reason", "CrashLoopBackOff")))
	}).WithTimeout(eventually).Should(Succeed())
	g.Expect(readyCondition(&hung.Status).Status).To(Equal(corev1.ConditionFalse))
	g.Expect(get(g, gated).Spec.NodeName).To(BeEmpty())

	old := hung.DeepCopy()
	hung.Annotations = nil
	g.Expect(kube.Patch(t.Context(), hung, client.MergeFrom(old))).To(Succeed())
	g.Eventually(func(g Gomega) {
		g.Expect(readyCondition(&get(g, hung).Status).Status).To(Equal(corev1.ConditionTrue))
	}).WithTimeout(eventually).Should(Succeed())

	g.Expect(kube.Delete(t.Context(), hung)).To(Succeed())
	g.Eventually(func() error {
		return kube.Get(t.Context(), client.ObjectKeyFromObject(hung), &corev1.Pod{})
	}).WithTimeout(10*time.Second).Should(Satisfy(apierrors.IsNotFound), "its grace period is 30 s")
}

func TestOptionKubeletMakesANode(t *testing.T) {
	g := NewWithT(t)
	c := ForTest(t, Options{Kubelet: true})
	kube, err := c.Client(nil)
	g.Expect(err).NotTo(HaveOccurred())
	node := &corev1.Node{}
	g.Expect(kube.Get(t.Context(), client.ObjectKey{Name: "testenv"}, node)).To(Succeed())
	g.Expect(node.Spec.Taints).To(BeEmpty())
	pod := newPod("default", "web", nil)
	g.Expect(kube.Create(t.Context(), pod)).To(Succeed())
	isReady := func(g Gomega) corev1.ConditionStatus {
		g.Expect(kube.Get(t.Context(), client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		return readyCondition(&pod.Status).Status
	}
	g.Eventually(isReady).WithTimeout(eventually).Should(Equal(corev1.ConditionTrue))

	g.Expect(c.Restart(t.Context())).To(Succeed())
	pod = newPod("default", "after-restart", nil)
	g.Expect(kube.Create(t.Context(), pod)).To(Succeed())
	g.Eventually(isReady).WithTimeout(eventually).Should(Equal(corev1.ConditionTrue), "it watches again")
}

// startKubelet runs one for the shared control plane during a test, with that clock,
// through a proxy that records what it does.
func startKubelet(t *testing.T, now func() time.Time) *Proxy {
	t.Helper()
	c := shared.ControlPlane(t)
	_, err := c.ServiceAccount(t.Context(), "kube-system", "kubelet", []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"*"}, Verbs: []string{"*"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.Token(t.Context(), "kube-system", "kubelet", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Proxy("kubelet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	kubeconfig, err := p.Kubeconfig(token)
	if err != nil {
		t.Fatal(err)
	}
	k, err := startKubeletAt(t.Context(), configFor(t, kubeconfig), now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	return p
}

// isAvailable returns a function that tells whether a Deployment is available,
// as its controller says.
func isAvailable(t *testing.T, deployment *appsv1.Deployment) func(Gomega) corev1.ConditionStatus {
	kube := adminClient(t)
	return func(g Gomega) corev1.ConditionStatus {
		g.Expect(kube.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment)).To(Succeed())
		for _, condition := range deployment.Status.Conditions {
			if condition.Type == appsv1.DeploymentAvailable {
				return condition.Status
			}
		}
		return corev1.ConditionUnknown
	}
}

func readyCondition(status *corev1.PodStatus) corev1.PodCondition {
	for _, condition := range status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition
		}
	}
	return corev1.PodCondition{}
}

func newPod(namespace, name string, annotations map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "none"}}},
	}
}

func newJob(namespace, name string, annotations map[string]string) *batchv1.Job {
	pod := newPod("", "", annotations)
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr.To[int32](0),
			Template:     corev1.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec},
		},
	}
}
