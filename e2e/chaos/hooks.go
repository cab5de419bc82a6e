package main

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Statuses of a release's record while an action is under way.
const (
	pendingInstall  = "pending-install"
	pendingUpgrade  = "pending-upgrade"
	pendingRollback = "pending-rollback"
	uninstalling    = "uninstalling"
)

// hookLook is how often the Pods of hooks are looked at.
const hookLook = 100 * time.Millisecond

// fates say what becomes of the Pod of a hook, by the status of the record. A
// Pod whose status is not among them waits.
type fates map[string]corev1.PodPhase

// passing lets all hooks succeed but those of an action that is to last.
func passing(but string) fates {
	all := fates{}
	for _, status := range []string{pendingInstall, pendingUpgrade, pendingRollback, uninstalling} {
		if status != but {
			all[status] = corev1.PodSucceeded
		}
	}
	return all
}

// hooks plays the kubelet for the Pods of hooks.
type hooks struct {
	mu sync.Mutex
	of map[*release]fates
}

// Set says what becomes of a release's hooks from now on; nil forgets it.
func (h *hooks) Set(r *release, what fates) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if what == nil {
		delete(h.of, r)
		return
	}
	if h.of == nil {
		h.of = map[*release]fates{}
	}
	h.of[r] = what
}

// Run works until the context ends.
func (h *hooks) Run(ctx context.Context) {
	tick := time.NewTicker(hookLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, r := range h.known() {
				// A target that does not answer is asked again.
				_ = h.look(ctx, r)
			}
		}
	}
}

func (h *hooks) known() []*release {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*release
	for r := range h.of {
		all = append(all, r)
	}
	return all
}

func (h *hooks) fate(r *release, status string) corev1.PodPhase {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.of[r][status]
}

// look ends the Pod of a release's hook, if it is there and to be ended.
func (h *hooks) look(ctx context.Context, r *release) error {
	pod, err := r.hookPod(ctx)
	if err != nil || pod == nil {
		return err
	}
	status, err := r.status(ctx)
	if err != nil {
		return err
	}
	phase := h.fate(r, status)
	if phase == "" {
		return nil
	}
	before := pod.DeepCopy()
	pod.Status.Phase = phase
	// Should the Pod have been made anew meanwhile, this one's uid is refused.
	return r.key.admin.Status().Patch(ctx, pod, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// hookPod is the Pod of the release's hook that somebody waits for; nil if there
// is none.
func (r *release) hookPod(ctx context.Context) (*corev1.Pod, error) {
	var pod corev1.Pod
	err := r.key.admin.Get(ctx, client.ObjectKey{Namespace: r.key.name, Name: r.name + "-hook"}, &pod)
	if err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if pod.Status.Phase != corev1.PodPending {
		return nil, nil
	}
	return &pod, nil
}
