package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/e2e/chaos/judge"
)

// roles are the four releases of one target, by what is under way with each.
type roles struct{ install, upgrade, rollback, uninstall *release }

func (r roles) byStatus() map[string]*release {
	return map[string]*release{pendingInstall: r.install, pendingUpgrade: r.upgrade, pendingRollback: r.rollback, uninstalling: r.uninstall}
}

// killPending is kill -9 of an agent with an action of each kind under way.
func killPending(ctx context.Context, w *world) (judge.Fault, error) {
	return w.whilePending(ctx, "kill -9", func(r *runner) error {
		r.Kill()
		return nil
	}, nil)
}

// stopPending is SIGSTOP, and SIGCONT when another has acted.
func stopPending(ctx context.Context, w *world) (judge.Fault, error) {
	return w.whilePending(ctx, "SIGSTOP", (*runner).Pause, (*runner).Resume)
}

// whilePending brings the releases of one target into the four statuses that say
// that an action is under way, does something to the agent whose actions they
// are, and lets whoever acts then go on. When another has acted, back undoes what
// was done, if there is something to undo.
func (w *world) whilePending(ctx context.Context, how string, do, back func(*runner) error) (judge.Fault, error) {
	if len(w.releases) == 0 {
		return judge.Fault{}, errors.New("no target has releases")
	}
	some := w.releases[w.random.IntN(len(w.releases))].key.releases
	order := w.random.Perm(releasesEach)
	four := roles{some[order[0]], some[order[1]], some[order[2]], some[order[3]]}
	if err := w.prepare(ctx, four); err != nil {
		return judge.Fault{}, err
	}
	if err := w.begins(ctx, four); err != nil {
		return judge.Fault{}, err
	}
	agent, err := w.actor(four)
	if err != nil {
		return judge.Fault{}, err
	}
	f := w.begin("%s %s while releases on %s are pending-install, pending-upgrade, pending-rollback and uninstalling", how, agent.name, four.install.key.name)
	f.Victims = []int{agent.PID()}
	if err := do(agent); err != nil {
		return f, err
	}
	// What is begun anew ends at once.
	for _, r := range some {
		w.hooks.Set(r, passing(""))
	}
	// Whoever has the target now ends the uninstall. The user has it back then.
	err = w.until(ctx, "the uninstall to be ended", func(ctx context.Context) bool { return w.gone(ctx, four.uninstall) })
	if back != nil {
		err = errors.Join(err, back(agent))
		f.End = time.Now()
	}
	if err != nil {
		return f, err
	}
	return f, w.onHub.Create(ctx, four.uninstall.helmRelease(false))
}

// prepare makes what the actions need: a release that is not there, and two with
// a hook.
func (w *world) prepare(ctx context.Context, four roles) error {
	for _, r := range four.byStatus() {
		w.hooks.Set(r, passing(""))
	}
	if err := w.delete(ctx, four.install); err != nil {
		return err
	}
	for _, r := range []*release{four.rollback, four.uninstall} {
		if err := w.setHook(ctx, r, true); err != nil {
			return err
		}
	}
	return w.until(ctx, "releases to have hooks", func(ctx context.Context) bool {
		return w.gone(ctx, four.install) && w.well(ctx, four.rollback) && w.well(ctx, four.uninstall)
	})
}

// begins has the four actions begun, and returns when each is in the middle.
func (w *world) begins(ctx context.Context, four roles) error {
	for status, r := range four.byStatus() {
		w.hooks.Set(r, passing(status))
	}
	// This one's upgrade fails, which is why it is rolled back.
	broken := passing(pendingRollback)
	broken[pendingUpgrade] = corev1.PodFailed
	w.hooks.Set(four.rollback, broken)
	four.rollback.expect(true)
	if err := w.onHub.Create(ctx, four.install.helmRelease(true)); err != nil {
		return err
	}
	for _, r := range []*release{four.upgrade, four.rollback} {
		if err := w.setHook(ctx, r, true); err != nil {
			return err
		}
	}
	if err := w.delete(ctx, four.uninstall); err != nil {
		return err
	}
	return w.until(ctx, "all four actions to be in the middle", func(ctx context.Context) bool {
		for status, r := range four.byStatus() {
			pod, err := r.hookPod(ctx)
			if err != nil || pod == nil {
				return false
			}
			if now, err := r.status(ctx); err != nil || now != status {
				return false
			}
		}
		return true
	})
}

// actor is the agent that has the actions under way: whose process wrote the
// records last.
func (w *world) actor(four roles) (*runner, error) {
	key, pids := four.install.key, map[string]int{}
	for _, record := range key.proxy.Records() {
		if record.Mutating && record.User == key.user && record.Resource == "secrets" && record.Status < 300 {
			for status, r := range four.byStatus() {
				if record.Labels["status"] == status && strings.HasPrefix(record.Name, "sh.helm.release.v1."+r.name+".v") {
					pids[status] = record.PID
				}
			}
		}
	}
	for _, r := range w.living() {
		if pid := r.PID(); pids[pendingInstall] == pid && pids[pendingUpgrade] == pid && pids[pendingRollback] == pid && pids[uninstalling] == pid {
			return r, nil
		}
	}
	return nil, fmt.Errorf("the actions on %s are those of several processes, or of none: %v", key.name, pids)
}

// expect says whether a failure of the release is the run's doing.
func (r *release) expect(failure bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails = failure
}

// well says whether the release is Ready as it is declared now.
func (w *world) well(ctx context.Context, r *release) bool {
	var o helmv2.HelmRelease
	if err := w.onHub.Get(ctx, client.ObjectKeyFromObject(r.helmRelease(false)), &o); err != nil {
		return false
	}
	status, _ := readyOf(&o, o.Status.Conditions)
	return status == "True"
}

// until waits for something that a fault needs.
func (w *world) until(ctx context.Context, what string, is func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, look, true, func(ctx context.Context) (bool, error) { return is(ctx), nil })
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", what, err)
	}
	return nil
}

// endPending takes the hooks out again, and starts what was killed.
func endPending(ctx context.Context, w *world) (judge.Fault, error) {
	f, err := startAgain(ctx, w)
	if err != nil {
		return f, err
	}
	for _, r := range w.hooks.known() {
		if err := w.setHook(ctx, r, false); err != nil {
			return f, err
		}
	}
	err = w.until(ctx, "releases to be without hooks", func(ctx context.Context) bool {
		for _, r := range w.hooks.known() {
			if !w.well(ctx, r) {
				return false
			}
		}
		return true
	})
	for _, r := range w.hooks.known() {
		w.hooks.Set(r, nil)
		r.expect(false)
	}
	return f, err
}
