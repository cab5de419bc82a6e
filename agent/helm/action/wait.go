package action

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/kube"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/apply"
)

const (
	// The objects are looked at again after a tenth of the time that they have
	// been waited for, within these bounds.
	minPoll, maxPoll = 200 * time.Millisecond, 5 * time.Second
	pollShare        = 10
	// helmPatience is how long Helm's own wait looks again at what cannot be
	// looked at: thirty times, each two seconds.
	helmPatience = 60 * time.Second
)

// look is one look at what is waited for: what is missing yet, in words, or
// nothing. An error ends the wait.
type look func(context.Context) (missing string, err error)

// poll looks until nothing is missing. The error of a wait that ran out of time
// says what was.
func (k *kubeClient) poll(timeout time.Duration, at look) error {
	ctx, cancel := context.WithTimeout(k.session.ctx, timeout)
	defer cancel()
	began, missing := time.Now(), ""
	for {
		now, err := at(ctx)
		switch {
		case k.session.ctx.Err() != nil:
			return fmt.Errorf("the wait was ended: %w", context.Cause(k.session.ctx))
		case ctx.Err() != nil && missing != "":
			return fmt.Errorf("timeout of %s while waiting for: %s", timeout, missing)
		case err != nil && !transient(err):
			return err
		case err != nil:
			now = err.Error()
		case now == "":
			return nil
		}
		missing = now
		timer := time.NewTimer(max(minPoll, min(time.Since(began)/pollShare, maxPoll)))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// errNever is a wait for what will not come by itself.
var errNever = errors.New("it will not by itself")

// transient says whether a look that failed may be repeated: nearly anything,
// since the target may be out of reach for a while.
func transient(err error) bool {
	return !errors.Is(err, errNever) && !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err)
}

// healthOf looks at the health of the objects, by kstatus and the user's rules.
func (k *kubeClient) healthOf(resources kube.ResourceList, jobs bool) look {
	var checks []apply.Check
	for _, info := range resources {
		kind := info.Mapping.GroupVersionKind
		isJob := kind.Group == batchv1.GroupName && kind.Kind == "Job"
		if isJob && !jobs {
			continue
		}
		check := apply.Check{Ref: apply.Ref{
			GroupKind: kind.GroupKind(), Version: kind.Version, Namespace: info.Namespace, Name: info.Name,
		}}
		if rule := k.session.Rules; rule != nil {
			check.Rule = rule(kind.GroupKind())
		}
		check.MayVanish = isJob && expires(info.Object)
		checks = append(checks, check)
	}
	return func(ctx context.Context) (string, error) {
		health, err := k.applier.Look(ctx, checks)
		switch {
		case err != nil:
			return "", err
		case len(health.Failed) > 0:
			return "", fmt.Errorf("failed early due to stalled resources: %s: %w", apply.Describe(health.Failed), errNever)
		case len(health.Waiting) > 0:
			return apply.Describe(health.Waiting), nil
		}
		return "", nil
	}
}

// readinessOf looks at the objects as Helm does itself. Its own wait knows nothing
// of the end of the action.
func (k *kubeClient) readinessOf(resources kube.ResourceList, jobs bool) (look, error) {
	clients, err := k.Factory.KubernetesClientSet()
	if err != nil {
		return nil, fmt.Errorf("client of the target: %w", err)
	}
	checker := kube.NewReadyChecker(clients, k.Log, kube.PausedAsReady(true), kube.CheckJobs(jobs))
	var failing time.Time
	return func(ctx context.Context) (string, error) {
		for _, info := range resources {
			ready, err := checker.IsReady(ctx, info)
			switch {
			case err != nil && failing.IsZero():
				failing = time.Now()
				return "", lasting(err, 0)
			case err != nil:
				return "", lasting(err, time.Since(failing))
			case !ready:
				failing = time.Time{}
				return fmt.Sprintf("%s/%s/%s to be ready", info.Mapping.GroupVersionKind.Kind, info.Namespace, info.Name), nil
			}
		}
		return "", nil
	}, nil
}

// lasting is a failed look that ends the wait where Helm would not look again, or
// has done so for long enough: a Job that has failed is such an error, too.
func lasting(err error, since time.Duration) error {
	var status apierrors.APIStatus
	final := since > helmPatience
	if errors.As(err, &status) {
		code := status.Status().Code
		final = final || code != 0 && code != http.StatusTooManyRequests && (code < http.StatusInternalServerError || code == http.StatusNotImplemented)
	}
	if final {
		return fmt.Errorf("%w: %w", err, errNever)
	}
	return err
}

// expires says whether a Job removes itself when it is done.
func expires(obj runtime.Object) bool {
	content, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return false
	}
	_, found, _ := unstructured.NestedFieldNoCopy(content.Object, "spec", "ttlSecondsAfterFinished")
	return found
}

// runsOf looks whether the Jobs and Pods have run. Objects of other kinds are
// done once they are made.
func (k *kubeClient) runsOf(resources kube.ResourceList) look {
	return func(ctx context.Context) (string, error) {
		var missing []string
		for _, info := range resources {
			done, err := k.ran(ctx, info)
			if err != nil {
				return "", err
			}
			if !done {
				missing = append(missing, info.Mapping.GroupVersionKind.Kind+"/"+info.Namespace+"/"+info.Name)
			}
		}
		return strings.Join(missing, ", "), nil
	}
}

func (k *kubeClient) ran(ctx context.Context, info *resource.Info) (bool, error) {
	name := client.ObjectKey{Namespace: info.Namespace, Name: info.Name}
	switch info.Mapping.GroupVersionKind.GroupKind() {
	case batchv1.SchemeGroupVersion.WithKind("Job").GroupKind():
		var job batchv1.Job
		err := k.session.client.Get(ctx, name, &job)
		switch {
		case apierrors.IsNotFound(err):
			// Helm has just made it. One that removes itself when it is done may
			// have gone between two looks.
			return true, nil
		case err != nil:
			return false, err
		}
		for _, condition := range job.Status.Conditions {
			switch {
			case condition.Type == batchv1.JobComplete && condition.Status == corev1.ConditionTrue:
				return true, nil
			case condition.Type == batchv1.JobFailed && condition.Status == corev1.ConditionTrue:
				return false, fmt.Errorf("Job %s failed: %s: %w", info.Name, condition.Reason, errNever) //nolint:staticcheck // a kind
			}
		}
		return false, nil
	case corev1.SchemeGroupVersion.WithKind("Pod").GroupKind():
		var pod corev1.Pod
		if err := k.session.client.Get(ctx, name, &pod); err != nil {
			return false, err
		}
		if pod.Status.Phase == corev1.PodFailed {
			return false, fmt.Errorf("Pod %s failed: %w", info.Name, errNever) //nolint:staticcheck // a kind
		}
		return pod.Status.Phase == corev1.PodSucceeded, nil
	}
	return true, nil
}

// goneOf looks whether the objects are gone.
func (k *kubeClient) goneOf(resources kube.ResourceList) look {
	return func(ctx context.Context) (string, error) {
		for _, info := range resources {
			obj := &unstructured.Unstructured{}
			obj.SetGroupVersionKind(info.Mapping.GroupVersionKind)
			err := k.session.client.Get(ctx, client.ObjectKey{Namespace: info.Namespace, Name: info.Name}, obj)
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%s/%s/%s to be gone", obj.GetKind(), info.Namespace, info.Name), nil
		}
		return "", nil
	}
}
