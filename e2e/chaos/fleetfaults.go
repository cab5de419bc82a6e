package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/e2e/chaos/judge"
	"github.com/headwater-dev/headwater/e2e/stack"
)

// serves says whether a URL is one of the hub's.
func (r *runner) serves(url string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(url, "//"+r.process.Address+"/")
}

// deleteFence deletes the Lease that was last written, through the proxy: it is
// on the record.
func (k *key) deleteFence(ctx context.Context) error {
	lease := &coordinationv1.Lease{}
	for _, record := range k.proxy.Records() {
		if record.Mutating && record.Resource == "leases" && strings.HasPrefix(record.Name, "headwater-fence-") {
			lease.Namespace, lease.Name = record.Namespace, record.Name
		}
	}
	return client.IgnoreNotFound(k.hand.Delete(ctx, lease))
}

// scaleDown stops half of the agents, in order.
func scaleDown(ctx context.Context, w *world) (judge.Fault, error) {
	all := w.living()
	gone := all[(len(all)+1)/2:]
	f := w.begin("agents: %d → %d", len(all), len(all)-len(gone))
	for _, r := range gone {
		if err := r.Stop(ctx); err != nil {
			return f, err
		}
	}
	w.drop(gone...)
	return f, nil
}

// scaleUp starts as many as there were, and two more. Those stay.
func scaleUp(ctx context.Context, w *world) (judge.Fault, error) {
	before := len(w.living())
	count := w.options.agents + 2
	f := w.begin("agents: %d → %d", before, count)
	for i := range count {
		name := fmt.Sprintf("agent-%d", i)
		if _, err := w.named(name); err == nil {
			continue
		}
		if _, err := w.startAgent(ctx, stack.Instance{Name: name}); err != nil {
			return f, err
		}
	}
	return f, nil
}

// rollingRestart stops and starts one agent after the other. Each is back before
// others would take over.
func rollingRestart(ctx context.Context, w *world) (judge.Fault, error) {
	// A move that is still going on from before would be taken for one of these.
	if err := w.still(ctx); err != nil {
		return judge.Fault{}, err
	}
	f := w.begin("a rolling restart of %d agents", len(w.living()))
	f.Still = true
	for _, r := range w.living() {
		if err := r.Stop(ctx); err != nil {
			return f, err
		}
		if err := r.Start(ctx); err != nil {
			return f, err
		}
		if err := w.settle(ctx); err != nil {
			return f, err
		}
	}
	f.End = time.Now()
	return f, nil
}

// still waits until the record has been the same for some time.
func (w *world) still(ctx context.Context) error {
	last, since := "", time.Now()
	for deadline := since.Add(patience); time.Now().Before(deadline); {
		owners, err := w.owners(ctx)
		if err != nil {
			return err
		}
		if now := fmt.Sprint(owners); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > 2*w.every {
			return w.settle(ctx)
		}
		if err := pass(ctx, look); err != nil {
			return err
		}
	}
	return errors.New("targets move for ever")
}

// startTwin starts a second process of an agent's name.
func startTwin(ctx context.Context, w *world) (judge.Fault, error) {
	r := w.victim()
	f := w.begin("a second process under the name of %s", r.agent)
	_, err := w.startAgent(ctx, stack.Instance{Name: r.agent + "-twin", Agent: r.agent})
	return f, err
}

// endTwin ends the second process. The first one stays.
func endTwin(ctx context.Context, w *world) (judge.Fault, error) {
	for _, r := range w.living() {
		if strings.HasSuffix(r.name, "-twin") {
			f := w.begin("%s ends", r.name)
			w.drop(r)
			return f, r.Stop(ctx)
		}
	}
	return judge.Fault{}, errors.New("there is no twin")
}

// changePools gives half of the targets to each of two pools, and then each half
// of them to the other pool.
func changePools(ctx context.Context, w *world) (judge.Fault, error) {
	for _, color := range []string{"blue", "green"} {
		selector := &metav1.LabelSelector{MatchLabels: map[string]string{"color": color}}
		pool := &fleetv1.AgentPool{
			ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: color},
			Spec: fleetv1.AgentPoolSpec{
				ClusterSelector: selector, Agents: selector,
				Placement: fleetv1.Placement{MovesPerMinute: 1000, ReassignAfter: &metav1.Duration{Duration: reassignAfter}},
			},
		}
		if err := w.onHub.Create(ctx, pool); err != nil {
			return judge.Fault{}, fmt.Errorf("creating pool %s: %w", color, err)
		}
	}
	colors := map[string]string{}
	for i, k := range w.keys {
		colors[k.name] = []string{"blue", "green"}[i/2%2]
	}
	if err := w.paint(ctx, colors); err != nil {
		return judge.Fault{}, err
	}
	if err := w.still(ctx); err != nil {
		return judge.Fault{}, err
	}
	f := w.begin("the labels of half of the targets say another pool")
	for _, i := range w.random.Perm(len(w.keys))[:len(w.keys)/2] {
		name := w.keys[i].name
		colors[name] = map[string]string{"blue": "green", "green": "blue"}[colors[name]]
	}
	f.Owners = map[string][]string{}
	for name, color := range colors {
		f.Owners[name] = w.ofColor(color)
	}
	return f, w.paint(ctx, colors)
}

func (w *world) ofColor(color string) []string {
	agents := []string{}
	for _, r := range w.living() {
		if colorOf(r.agent) == color {
			agents = append(agents, r.agent)
		}
	}
	return agents
}

// paint labels the RemoteClusters; those without a color lose the label.
func (w *world) paint(ctx context.Context, colors map[string]string) error {
	var records fleetv1.RemoteClusterList
	if err := w.onHub.List(ctx, &records, client.InNamespace(fleet)); err != nil {
		return err
	}
	for i := range records.Items {
		record := &records.Items[i]
		value := "null"
		if color := colors[record.Spec.KubeConfig.SecretRef.Name]; color != "" {
			value = `"` + color + `"`
		}
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"color":`+value+`}}}`))
		if err := w.onHub.Patch(ctx, record, patch); err != nil {
			return fmt.Errorf("labelling %s: %w", record.Name, err)
		}
	}
	return nil
}

// endPools takes the pools away again.
func endPools(ctx context.Context, w *world) (judge.Fault, error) {
	f := w.begin("the pools are deleted, and the labels")
	if err := w.onHub.DeleteAllOf(ctx, &fleetv1.AgentPool{}, client.InNamespace(stack.Namespace)); err != nil {
		return f, err
	}
	return f, w.paint(ctx, nil)
}

// jumpClock puts an agent in place of another whose time of day can be set, and
// sets it, forth and back, while it works.
func jumpClock(ctx context.Context, w *world) (judge.Fault, error) {
	file := filepath.Join(w.dir, "offset")
	r, err := w.startAgent(ctx, stack.Instance{
		Name: "agent-9", Binary: filepath.Join(w.root, "bin", "agent-wallclock"), Env: []string{"HEADWATER_WALL_OFFSET=" + file},
	})
	if err != nil {
		return judge.Fault{}, err
	}
	if err := w.still(ctx); err != nil {
		return judge.Fault{}, err
	}
	owned, err := w.ownedBy(ctx, r.agent)
	if err != nil {
		return judge.Fault{}, err
	}
	f := w.begin("the clock of %s, which has %d targets, jumps by an hour, forth and back", r.name, len(owned))
	for _, offset := range []string{"1h", "-1h", "0s"} {
		if err := w.busy(ctx, r); err != nil {
			return f, err
		}
		if err := os.WriteFile(file, []byte(offset), 0o600); err != nil {
			return f, err
		}
		if err := pass(ctx, scaled(30*time.Second)); err != nil {
			return f, err
		}
	}
	return f, nil
}

// jumpBack ends that agent.
func jumpBack(ctx context.Context, w *world) (judge.Fault, error) {
	r, err := w.named("agent-9")
	if err != nil {
		return judge.Fault{}, err
	}
	f := w.begin("%s ends", r.name)
	w.drop(r)
	return f, r.Stop(ctx)
}
