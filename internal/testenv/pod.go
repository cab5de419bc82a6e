package testenv

import (
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations of a pod that say what the Kubelet makes of it. They may be
// changed while it runs. Of a Deployment they belong on the pod template.
const (
	// ReadyAfterAnnotation is a duration, such as "2s": the pod becomes ready,
	// or fails, or is done, that long after it was bound to the node. Without
	// it, at once.
	ReadyAfterAnnotation = "testenv.headwater.dev/ready-after"
	// FailAnnotation with "true" makes the containers crash instead of
	// becoming ready: CrashLoopBackOff, or, with the restart policy Never, a
	// pod that has failed.
	FailAnnotation = "testenv.headwater.dev/fail"
	// NeverReadyAnnotation with "true" leaves the pod running, not ready.
	NeverReadyAnnotation = "testenv.headwater.dev/never-ready"
)

// nodeIP is the address of the node; nothing is reached by it.
const nodeIP = "10.244.0.1"

// fate is what has become of the containers of a pod.
type fate int

const (
	running  fate = iota // but not ready
	ready                // and running
	done                 // ended well, not to be restarted
	failed               // ended badly, not to be restarted
	crashing             // ended badly, again and again
)

// nextStatus returns the status that a pod on the node should have, or nil when
// it has that, and when to look again if time alone will change it.
func nextStatus(pod *corev1.Pod, started, now time.Time) (*corev1.PodStatus, time.Duration) {
	if ended(pod) {
		return nil, 0
	}
	delay, problem := time.ParseDuration(pod.Annotations[ReadyAfterAnnotation])
	if pod.Annotations[ReadyAfterAnnotation] == "" {
		delay, problem = 0, nil
	}
	left := started.Add(delay).Sub(now)
	is := running
	switch {
	case problem != nil || pod.Annotations[NeverReadyAnnotation] == "true":
		left = 0
	case left <= 0:
		is = endOf(pod)
	}
	status := pod.Status.DeepCopy()
	fill(status, pod, is, metav1.NewTime(started))
	setConditions(status, is, metav1.NewTime(now), problem)
	if equality.Semantic.DeepEqual(status, &pod.Status) {
		status = nil
	}
	return status, max(0, left)
}

// lastStatus returns the status of a pod that is deleted and waits for others
// to let it go; nil when it has that.
func lastStatus(pod *corev1.Pod, now time.Time) *corev1.PodStatus {
	if ended(pod) {
		return nil
	}
	status := pod.Status.DeepCopy()
	fill(status, pod, failed, metav1.NewTime(now))
	setConditions(status, failed, metav1.NewTime(now), nil)
	return status
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// endOf tells what becomes of a pod when its time has come.
func endOf(pod *corev1.Pod) fate {
	fails := pod.Annotations[FailAnnotation] == "true"
	switch {
	case fails && pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
		return failed
	case fails:
		return crashing
	case pod.Spec.RestartPolicy != corev1.RestartPolicyAlways:
		return done
	}
	return ready
}

// fill sets all but the conditions.
func fill(status *corev1.PodStatus, pod *corev1.Pod, is fate, started metav1.Time) {
	status.ObservedGeneration = pod.Generation
	switch is {
	case done:
		status.Phase = corev1.PodSucceeded
	case failed:
		status.Phase = corev1.PodFailed
	default:
		status.Phase = corev1.PodRunning
	}
	if status.StartTime == nil {
		started = started.Rfc3339Copy()
		status.StartTime = &started
	}
	status.HostIP, status.HostIPs = nodeIP, []corev1.HostIP{{IP: nodeIP}}
	status.PodIP = podIP(pod)
	status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	status.ContainerStatuses = nil
	for _, container := range pod.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, containerStatus(container, is, *status.StartTime))
	}
}

// podIP gives a pod an address of its own, which nothing is reached by.
func podIP(pod *corev1.Pod) string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(pod.UID))
	sum := hash.Sum32()
	return fmt.Sprintf("10.%d.%d.%d", 128|byte(sum>>16), byte(sum>>8), byte(sum))
}

func containerStatus(container corev1.Container, is fate, started metav1.Time) corev1.ContainerStatus {
	up := is == running || is == ready
	status := corev1.ContainerStatus{
		Name: container.Name, Image: container.Image, ImageID: container.Image, Ready: is == ready, Started: &up,
	}
	crash := &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", StartedAt: started, FinishedAt: started}
	switch is {
	case running, ready:
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: started}
	case done:
		status.State.Terminated = &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: started, FinishedAt: started}
	case failed:
		status.State.Terminated = crash
	case crashing:
		status.State.Waiting = &corev1.ContainerStateWaiting{
			Reason: "CrashLoopBackOff", Message: "back-off restarting failed container " + container.Name,
		}
		status.LastTerminationState.Terminated = crash
		status.RestartCount = 1
	}
	return status
}

func setConditions(status *corev1.PodStatus, is fate, now metav1.Time, problem error) {
	readiness := corev1.PodCondition{Status: corev1.ConditionFalse, Reason: "ContainersNotReady"}
	switch {
	case problem != nil:
		readiness.Reason, readiness.Message = "InvalidAnnotation", fmt.Sprintf("%s: %v", ReadyAfterAnnotation, problem)
	case is == ready:
		readiness = corev1.PodCondition{Status: corev1.ConditionTrue}
	case is == done:
		readiness.Reason = "PodCompleted"
	case is == failed:
		readiness.Reason = "PodFailed"
	}
	up := corev1.PodCondition{Status: corev1.ConditionTrue}
	for _, condition := range []struct {
		kind corev1.PodConditionType
		corev1.PodCondition
	}{
		{corev1.PodScheduled, up}, {corev1.PodInitialized, up},
		{corev1.ContainersReady, readiness}, {corev1.PodReady, readiness},
	} {
		condition.Type = condition.kind
		setCondition(status, condition.PodCondition, now)
	}
}

func setCondition(status *corev1.PodStatus, want corev1.PodCondition, now metav1.Time) {
	want.LastTransitionTime = now.Rfc3339Copy()
	for i, have := range status.Conditions {
		if have.Type != want.Type {
			continue
		}
		if have.Status == want.Status {
			want.LastTransitionTime = have.LastTransitionTime
		}
		want.ObservedGeneration = have.ObservedGeneration
		status.Conditions[i] = want
		return
	}
	status.Conditions = append(status.Conditions, want)
}
