package action

import (
	"fmt"
	"io"
	"time"

	"helm.sh/helm/v3/pkg/kube"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/validation"

	"github.com/headwater-dev/headwater/agent/apply"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

var _ kube.InterfaceLogs = &kubeClient{}

// kubeClient is Helm's client with waits that end with the action.
type kubeClient struct {
	*kube.Client
	session *Session
	applier *apply.Applier
	// legacy waits for readiness as Helm does itself.
	legacy bool
}

func newKubeClient(s *Session, by *getter) *kubeClient {
	helm := kube.New(by)
	helm.Factory = factory{helm.Factory}
	helm.Namespace = s.Target.Namespace
	helm.Log = s.log.printf
	strategy := s.Object.Spec.WaitStrategy
	return &kubeClient{
		Client:  helm,
		session: s,
		applier: &apply.Applier{Client: s.client, Mapper: by.mapper, Owner: OwnerOf(s.Object)},
		legacy:  strategy != nil && strategy.Name == helmv2.WaitStrategyLegacy,
	}
}

// OwnerOf is the HelmRelease as its objects know it.
func OwnerOf(obj *helmv2.HelmRelease) apply.Owner {
	return apply.Owner{
		FieldManager: FieldManager,
		Group:        helmv2.GroupVersion.Group,
		Namespace:    obj.Namespace,
		Name:         obj.Name,
	}
}

// factory makes Helm's clients, without its check of manifests by the server's
// OpenAPI document: where the server checks fields itself, as all that are
// supported do, Helm reads the whole document and then checks nothing.
type factory struct{ kube.Factory }

// Validator implements kube.Factory.
func (factory) Validator(string) (validation.Schema, error) { return validation.NullSchema{}, nil }

// IsReachable is not asked: the target's connection is watched by its owner.
func (k *kubeClient) IsReachable() error { return k.session.ctx.Err() }

// survive makes an error of a panic. Helm calls its client in goroutines of its
// own, where a panic would end the agent for all its clusters.
func survive(err *error) {
	if crash := recover(); crash != nil {
		*err = fmt.Errorf("helm crashed: %v", crash)
	}
}

// Build reads the objects of a stream of manifests.
func (k *kubeClient) Build(from io.Reader, validate bool) (read kube.ResourceList, err error) {
	defer survive(&err)
	return k.Client.Build(from, validate)
}

// Create makes the objects. Helm reads what came of it even of a failure.
func (k *kubeClient) Create(resources kube.ResourceList) (made *kube.Result, err error) {
	made = &kube.Result{}
	defer survive(&err)
	return k.Client.Create(resources)
}

// Update brings the objects from one state to the other.
func (k *kubeClient) Update(original, target kube.ResourceList, force bool) (made *kube.Result, err error) {
	made = &kube.Result{}
	defer survive(&err)
	return k.Client.Update(original, target, force)
}

// UpdateThreeWayMerge does the same with objects that somebody else has made.
func (k *kubeClient) UpdateThreeWayMerge(original, target kube.ResourceList, force bool) (made *kube.Result, err error) {
	made = &kube.Result{}
	defer survive(&err)
	return k.Client.UpdateThreeWayMerge(original, target, force)
}

// Delete deletes the objects.
func (k *kubeClient) Delete(resources kube.ResourceList) (made *kube.Result, errs []error) {
	var crash error
	made = &kube.Result{}
	defer func() {
		if crash != nil {
			errs = append(errs, crash)
		}
	}()
	defer survive(&crash)
	return k.Client.Delete(resources)
}

// Wait waits until the objects other than Jobs are ready.
func (k *kubeClient) Wait(resources kube.ResourceList, timeout time.Duration) error {
	return k.ready(resources, timeout, false)
}

// WaitWithJobs waits until the objects are ready and Jobs are complete.
func (k *kubeClient) WaitWithJobs(resources kube.ResourceList, timeout time.Duration) error {
	return k.ready(resources, timeout, true)
}

func (k *kubeClient) ready(resources kube.ResourceList, timeout time.Duration, jobs bool) (err error) {
	defer survive(&err)
	defer k.session.access.Yield()()
	if !k.legacy {
		return k.poll(timeout, k.healthOf(resources, jobs))
	}
	look, err := k.readinessOf(resources, jobs)
	if err != nil {
		return err
	}
	return k.poll(timeout, look)
}

// WatchUntilReady waits until the Jobs and Pods of a hook have run.
func (k *kubeClient) WatchUntilReady(resources kube.ResourceList, timeout time.Duration) (err error) {
	defer survive(&err)
	defer k.session.access.Yield()()
	return k.poll(timeout, k.runsOf(resources))
}

// WaitForDelete waits until the objects are gone.
func (k *kubeClient) WaitForDelete(resources kube.ResourceList, timeout time.Duration) (err error) {
	defer survive(&err)
	defer k.session.access.Yield()()
	return k.poll(timeout, k.goneOf(resources))
}

// GetPodList finds none: Helm asks for the Pods of hooks whose logs a chart wants
// told, for which there is nobody here, and its own client is not ready for it.
func (k *kubeClient) GetPodList(string, metav1.ListOptions) (*corev1.PodList, error) {
	return &corev1.PodList{}, nil
}

// OutputContainerLogsForPodList tells none.
func (k *kubeClient) OutputContainerLogsForPodList(*corev1.PodList, string, func(namespace, pod, container string) io.Writer) error {
	return nil
}
