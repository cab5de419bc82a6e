package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/chaos/judge"
)

// fault is something that is done to the product. Both functions return when it
// has been done; what becomes of it is waited for afterwards.
type fault struct {
	name string
	do   func(context.Context, *world) (judge.Fault, error)
	// undo brings back what is to be there for the next one; that, too, is
	// judged. Nil when there is nothing.
	undo func(context.Context, *world) (judge.Fault, error)
}

func faults() []fault {
	return []fault{
		{"kill", killAgent, startAgain},
		{"stop", stopAgent, nil},
		{"kill-pending", killPending, endPending},
		{"stop-pending", stopPending, endPending},
		{"cut-hub", cutFromHub, nil},
		{"cut-target", cutFromTargets, nil},
		{"kill-hub", killLeader, hubReturns},
		{"restart-api", restartAPIServer, nil},
		{"scale", scaleDown, scaleUp},
		{"rolling", rollingRestart, nil},
		{"twin", startTwin, endTwin},
		{"delete-fence", deleteFences, nil},
		{"pools", changePools, endPools},
		{"clock", jumpClock, jumpBack},
	}
}

func names() []string {
	var all []string
	for _, f := range faults() {
		all = append(all, f.name)
	}
	return all
}

// times as the issue has them, for a fence of 30 s, are shortened in proportion.
func scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * fenceDuration.Seconds() / 30)
}

// pass waits.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin makes the entry of a fault that starts now, and says so.
func (w *world) begin(format string, args ...any) judge.Fault {
	name := fmt.Sprintf(format, args...)
	w.screen.Say("%s", name)
	now := time.Now()
	return judge.Fault{Name: name, Start: now, End: now}
}

// victim is some agent.
func (w *world) victim() *runner {
	all := w.living()
	return all[w.random.IntN(len(all))]
}

// busy returns when the agent is in the middle of its work: when it has written
// something just now. If it has nothing to do for long, it is not waited for.
func (w *world) busy(ctx context.Context, r *runner) error {
	keys, err := w.ownedBy(ctx, r.agent)
	if err != nil {
		return err
	}
	since, pid := time.Now(), r.PID()
	for deadline := since.Add(2 * w.every); time.Now().Before(deadline); {
		for _, k := range keys {
			for _, record := range k.proxy.Records() {
				if record.PID == pid && record.Mutating && record.Resource == "configmaps" && record.Begin.After(since) {
					return nil
				}
			}
		}
		if err := pass(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// killAgent is kill -9 in the middle of the work.
func killAgent(ctx context.Context, w *world) (judge.Fault, error) {
	r := w.victim()
	if err := w.busy(ctx, r); err != nil {
		return judge.Fault{}, err
	}
	f := w.begin("kill -9 %s", r.name)
	f.Victims = []int{r.PID()}
	r.Kill()
	return f, nil
}

// startAgain starts what was killed.
func startAgain(ctx context.Context, w *world) (judge.Fault, error) {
	for _, r := range w.living() {
		select {
		case <-r.current().Done():
			f := w.begin("%s is started again", r.name)
			return f, r.Start(ctx)
		default:
		}
	}
	return w.begin("all agents run"), nil
}

// stopAgent is SIGSTOP in the middle of the work, and SIGCONT.
func stopAgent(ctx context.Context, w *world) (judge.Fault, error) {
	r := w.victim()
	if err := w.busy(ctx, r); err != nil {
		return judge.Fault{}, err
	}
	d := scaled(time.Minute)
	f := w.begin("SIGSTOP %s for %s", r.name, d)
	f.Victims = []int{r.PID()}
	if err := r.Pause(); err != nil {
		return f, err
	}
	err := pass(ctx, d)
	if resumed := r.Resume(); err == nil {
		err = resumed
	}
	f.End = time.Now()
	return f, err
}

// cutFromHub keeps an agent from the hub alone: it reaches its targets.
func cutFromHub(ctx context.Context, w *world) (judge.Fault, error) {
	r := w.victim()
	d := scaled(2 * time.Minute)
	f := w.begin("%s is cut off from the hub for %s", r.name, d)
	f.Victims = []int{r.PID()}
	r.hub.Sever(r.PID())
	err := pass(ctx, d)
	r.hub.Sever()
	f.End = time.Now()
	return f, err
}

// cutFromTargets keeps an agent from some of its targets, which others reach.
// Nobody but it is to act for them, so they wait.
func cutFromTargets(ctx context.Context, w *world) (judge.Fault, error) {
	r := w.victim()
	keys, err := w.ownedBy(ctx, r.agent)
	if err != nil {
		return judge.Fault{}, err
	}
	if err := w.busy(ctx, r); err != nil {
		return judge.Fault{}, err
	}
	keys = keys[:(len(keys)+2)/3]
	d := scaled(time.Minute)
	f := w.begin("%s is cut off from %d of its targets for %s", r.name, len(keys), d)
	f.Unreachable = map[string]bool{}
	for _, k := range keys {
		f.Unreachable[k.name] = true
		k.proxy.Sever(r.PID())
	}
	err = pass(ctx, d)
	for _, k := range keys {
		k.proxy.Sever()
	}
	f.End = time.Now()
	return f, err
}

// killLeader kills the hub that serves artifacts.
func killLeader(ctx context.Context, w *world) (judge.Fault, error) {
	var repository sourcev1.GitRepository
	if err := w.onHub.Get(ctx, client.ObjectKey{Namespace: fleet, Name: "fleet"}, &repository); err != nil {
		return judge.Fault{}, err
	}
	for _, r := range w.hubs {
		if repository.Status.Artifact != nil && r.serves(repository.Status.Artifact.URL) {
			f := w.begin("kill -9 %s, which leads", r.name)
			r.Kill()
			return f, nil
		}
	}
	return judge.Fault{}, fmt.Errorf("no hub serves %v", repository.Status.Artifact)
}

func hubReturns(ctx context.Context, w *world) (judge.Fault, error) {
	f := w.begin("the hub that was killed stands by again")
	for _, r := range w.hubs {
		select {
		case <-r.current().Done():
			return f, r.Start(ctx)
		default:
		}
	}
	return f, nil
}

// restartAPIServer takes the hub's API server away for a while.
func restartAPIServer(ctx context.Context, w *world) (judge.Fault, error) {
	f := w.begin("the hub's API server is killed and restarted")
	w.hub.Kill()
	if err := pass(ctx, scaled(15*time.Second)); err != nil {
		return f, err
	}
	err := w.hub.Restart(ctx)
	f.End = time.Now()
	return f, err
}

// deleteFences deletes the fences of some targets by hand, while they are held.
func deleteFences(ctx context.Context, w *world) (judge.Fault, error) {
	f := w.begin("the fences of %d targets are deleted by hand", (len(w.keys)+4)/5)
	for _, i := range w.random.Perm(len(w.keys))[:(len(w.keys)+4)/5] {
		if err := w.keys[i].deleteFence(ctx); err != nil {
			return f, err
		}
	}
	return f, nil
}
