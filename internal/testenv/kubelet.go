package testenv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

const (
	nodeName       = "testenv"
	kubeletWorkers = 4
)

// Kubelet plays a node and the scheduler: it makes one Node, binds every pod
// to it, and gives the pods the status that a real kubelet would, without
// running anything. What becomes of a pod is said by its annotations: see
// ReadyAfterAnnotation, FailAnnotation and NeverReadyAnnotation. A pod whose
// restart policy is not Always (a Job's) is not ready then, but done.
type Kubelet struct {
	kube   kubernetes.Interface
	pods   corev1listers.PodLister
	synced cache.InformerSynced
	queue  workqueue.TypedRateLimitingInterface[cache.ObjectName]
	now    func() time.Time

	factory informers.SharedInformerFactory
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	started map[types.UID]time.Time // when each pod was first looked at; the status has whole seconds alone
}

// StartKubelet starts one against an API server and returns when its node is
// ready. The context limits the start alone. There should be one to an API
// server.
func StartKubelet(ctx context.Context, config *rest.Config) (*Kubelet, error) {
	return startKubeletAt(ctx, config, time.Now)
}

// startKubeletAt starts one whose pods have the time that now says.
func startKubeletAt(ctx context.Context, config *rest.Config, now func() time.Time) (*Kubelet, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // a node that is slow by itself would be what is measured
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("starting the kubelet stand-in: %w", err)
	}
	if err := makeNode(ctx, kube); err != nil {
		return nil, fmt.Errorf("starting the kubelet stand-in: %w", err)
	}
	k := &Kubelet{
		kube:    kube,
		queue:   workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[cache.ObjectName]()),
		now:     now,
		factory: informers.NewSharedInformerFactory(kube, 0),
		started: map[types.UID]time.Time{},
	}
	if err := k.watchPods(); err != nil {
		return nil, fmt.Errorf("starting the kubelet stand-in: %w", err)
	}
	var running context.Context
	running, k.cancel = context.WithCancel(context.WithoutCancel(ctx))
	k.factory.StartWithContext(running)
	for range kubeletWorkers {
		k.workers.Go(func() { k.work(running) })
	}
	if !cache.WaitForCacheSync(ctx.Done(), k.synced) {
		k.Stop()
		return nil, fmt.Errorf("starting the kubelet stand-in: listing pods: %w", context.Cause(ctx))
	}
	return k, nil
}

// Stop ends it. The node and the pods stay as they are.
func (k *Kubelet) Stop() {
	k.cancel()
	k.queue.ShutDown()
	k.workers.Wait()
	k.factory.Shutdown()
}

func (k *Kubelet) watchPods() error {
	pods := k.factory.Core().V1().Pods()
	k.pods, k.synced = pods.Lister(), pods.Informer().HasSynced
	// An API server that is down is part of the tests: it is listed again.
	quiet := pods.Informer().SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})
	enqueue := func(object any) {
		if name, err := cache.DeletionHandlingObjectToName(object); err == nil {
			k.queue.Add(name)
		}
	}
	_, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, object any) { enqueue(object) },
		DeleteFunc: k.forget,
	})
	return errors.Join(quiet, err)
}

// makeNode makes a ready node without the taint that new ones get, for there is
// no controller here that would take it away.
func makeNode(ctx context.Context, kube kubernetes.Interface) error {
	nodes := kube.CoreV1().Nodes()
	node, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: nodeName, Labels: map[string]string{corev1.LabelHostname: nodeName, corev1.LabelOSStable: "linux"},
	}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		node, err = nodes.Get(ctx, nodeName, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("making the node: %w", err)
	}
	if len(node.Spec.Taints) > 0 {
		node.Spec.Taints = nil
		if node, err = nodes.Update(ctx, node, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("removing the node's taints: %w", err)
		}
	}
	plenty := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("1000"),
		corev1.ResourceMemory: resource.MustParse("1Ti"),
		corev1.ResourcePods:   resource.MustParse("100k"),
	}
	node.Status.Capacity, node.Status.Allocatable = plenty, plenty
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeIP}}
	node.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastTransitionTime: metav1.Now(),
	}}
	if _, err := nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("making the node ready: %w", err)
	}
	return nil
}

func (k *Kubelet) work(ctx context.Context) {
	for {
		name, shutdown := k.queue.Get()
		if shutdown {
			return
		}
		again, err := k.sync(ctx, name)
		if err != nil {
			k.queue.AddRateLimited(name)
		} else {
			k.queue.Forget(name)
		}
		if again > 0 {
			k.queue.AddAfter(name, again)
		}
		k.queue.Done(name)
	}
}

// sync does the next thing for a pod. The event that this makes leads to the
// one after it; a later look, if one is needed, is due after the given time.
func (k *Kubelet) sync(ctx context.Context, name cache.ObjectName) (time.Duration, error) {
	pod, err := k.pods.Pods(name.Namespace).Get(name.Name)
	if err != nil {
		return 0, nil // it is gone
	}
	status, again := (*corev1.PodStatus)(nil), time.Duration(0)
	switch {
	case pod.Spec.NodeName == "":
		if len(pod.Spec.SchedulingGates) == 0 && pod.DeletionTimestamp == nil {
			err = k.bind(ctx, pod)
		}
		return 0, outdated(err)
	case pod.Spec.NodeName != nodeName:
		return 0, nil
	case pod.DeletionTimestamp == nil:
		status, again = nextStatus(pod, k.startOf(pod), k.now())
	case len(pod.Finalizers) == 0:
		return 0, outdated(k.remove(ctx, pod))
	default: // those of Jobs go when the pod has ended
		status = lastStatus(pod, k.now())
	}
	if status != nil {
		pod = pod.DeepCopy()
		pod.Status = *status
		_, err = k.kube.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	}
	return again, outdated(err)
}

// outdated leaves out the errors that say that the pod has changed or gone: an
// event of that is on its way.
func outdated(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (k *Kubelet) bind(ctx context.Context, pod *corev1.Pod) error {
	return k.kube.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: nodeName},
	}, metav1.CreateOptions{})
}

// remove ends a pod's grace period: its containers have ended at once.
func (k *Kubelet) remove(ctx context.Context, pod *corev1.Pod) error {
	now := int64(0)
	return k.kube.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      &metav1.Preconditions{UID: &pod.UID},
	})
}

// startOf tells since when a pod has been on the node. Of a pod that an earlier
// Kubelet started, the status tells the second; the next one is taken, so that
// nothing happens too early.
func (k *Kubelet) startOf(pod *corev1.Pod) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	started, known := k.started[pod.UID]
	if !known {
		started = k.now()
		if pod.Status.StartTime != nil {
			started = pod.Status.StartTime.Add(time.Second)
		}
		k.started[pod.UID] = started
	}
	return started
}

func (k *Kubelet) forget(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	if pod, ok := object.(*corev1.Pod); ok {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.started, pod.UID)
	}
}
