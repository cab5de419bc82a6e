package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scene is something that happens, and what must then hold on each cluster.
type scene struct {
	title string
	// seconds that it may take.
	seconds float64
	// play makes it happen and returns what is to hold.
	play func(context.Context, *world) (check, error)
}

// check says what is still wrong with a cluster, from the cluster's own objects.
type check func(context.Context, *cluster) error

// opening comes before the scenes: what they play on.
func opening() scene {
	return scene{"deploying the repository to every cluster", 60, arrives}
}

func scenes() []scene {
	return []scene{
		{"a commit reaches every cluster", 60, commitReaches},
		{"a hand-edited object is put back", 60, editIsPutBack},
		{"a file removed from Git is pruned", 60, removalIsPruned},
		{"an agent is killed with -9 and its clusters are taken over", 90, killedIsReplaced},
		{"it returns and they are balanced again", 120, returnedIsBalanced},
		{"a new image becomes a commit and reaches every cluster", 60, imageReaches},
	}
}

func arrives(context.Context, *world) (check, error) {
	return runs("1.0.0", "hello"), nil
}

func commitReaches(ctx context.Context, w *world) (check, error) {
	return runs("1.1.0", "bonjour"), w.repository.release(ctx, "1.1.0", "bonjour")
}

// editIsPutBack changes two objects of prod-eu as somebody with kubectl would.
func editIsPutBack(ctx context.Context, w *world) (check, error) {
	target := w.targets[1]
	patches := map[client.Object]string{
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "settings"}}: `{"data":{"GREETING":"edited by hand"}}`,
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}:    `{"spec":{"replicas":5}}`,
	}
	for object, patch := range patches {
		err := target.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner("kubectl-edit"))
		if err != nil {
			return nil, fmt.Errorf("editing %s on %s: %w", object.GetName(), target.name, err)
		}
	}
	return runs("1.1.0", "bonjour"), nil
}

func removalIsPruned(ctx context.Context, w *world) (check, error) {
	return both(runs("1.1.0", "bonjour"), bannerIsGone), w.repository.endSale(ctx)
}

// killedIsReplaced kills the agent that owns more clusters, and commits, so
// that there is something to do on each of them.
func killedIsReplaced(ctx context.Context, w *world) (check, error) {
	owners, err := w.owners(ctx)
	if err != nil {
		return nil, err
	}
	victim := owners.busiest()
	w.screen.Say("kill -9 %d: that is %s, which owns %v", w.agents[victim].PID(), victim, owners.of(victim))
	w.agents[victim].Kill()
	w.killed = victim
	return both(runs("1.2.0", "ciao"), func(ctx context.Context, c *cluster) error {
		return heldBy(ctx, c, func(holder string) bool { return holder != victim })
	}), w.repository.release(ctx, "1.2.0", "ciao")
}

// returnedIsBalanced starts it again and commits once the record gives it a
// share. Who has done the work is then read from the targets.
func returnedIsBalanced(ctx context.Context, w *world) (check, error) {
	if err := w.agents[w.killed].Start(); err != nil {
		return nil, err
	}
	w.screen.Say("%s is back, process %d", w.killed, w.agents[w.killed].PID())
	var owners ownership
	err := poll(ctx, func(ctx context.Context) (err error) {
		if owners, err = w.owners(ctx); err != nil {
			return err
		}
		return owners.balanced(w.targets)
	})
	if err != nil {
		return nil, err
	}
	return both(runs("1.3.0", "hallo"), func(ctx context.Context, c *cluster) error {
		return heldBy(ctx, c, func(holder string) bool { return holder == owners[c.name] })
	}), w.repository.release(ctx, "1.3.0", "hallo")
}

// imageReaches has the hub follow the image, and pushes a new tag of it once the
// hub has chosen the one that runs. Nobody else commits.
func imageReaches(ctx context.Context, w *world) (check, error) {
	before, err := w.repository.Head(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.followImage(ctx, "1.3.0"); err != nil {
		return nil, err
	}
	if _, err := w.registry.Push("shop", "1.4.0", nil); err != nil {
		return nil, err
	}
	w.screen.Say("pushed %s/shop:1.4.0", w.registry.Host)
	return both(runs("1.4.0", "hallo"), func(ctx context.Context, _ *cluster) error {
		return w.repository.endsWith(ctx, before, "Roll out 1.4.0")
	}), nil
}

func bannerIsGone(ctx context.Context, c *cluster) error {
	err := c.Get(ctx, inShop("banner"), &corev1.ConfigMap{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	}
	return errors.New("configmap banner is still there")
}

// runs holds when a cluster runs the version, all of it and as its overlay says.
func runs(version, greeting string) check {
	return func(ctx context.Context, c *cluster) error {
		var deployment appsv1.Deployment
		if err := c.Get(ctx, inShop("shop"), &deployment); err != nil {
			return err
		}
		status := deployment.Status
		image := deployment.Spec.Template.Spec.Containers[0].Image
		switch {
		case image != "shop:"+version:
			return fmt.Errorf("deployment shop runs %s, not %s", image, version)
		case *deployment.Spec.Replicas != 2:
			return fmt.Errorf("deployment shop has %d replicas, not 2", *deployment.Spec.Replicas)
		case status.ObservedGeneration != deployment.Generation || status.UpdatedReplicas != 2 || status.AvailableReplicas != 2:
			return fmt.Errorf("deployment shop has %d of 2 Pods available", status.AvailableReplicas)
		}
		var settings corev1.ConfigMap
		if err := c.Get(ctx, inShop("settings"), &settings); err != nil {
			return err
		}
		if settings.Data["GREETING"] != greeting || settings.Data["CLUSTER"] != c.name {
			return fmt.Errorf("configmap settings has %v", settings.Data)
		}
		return c.Get(ctx, inShop("shop"), storefront())
	}
}

// heldBy holds when the cluster's fence is held by an agent that fits.
func heldBy(ctx context.Context, c *cluster, fits func(agent string) bool) error {
	var leases coordinationv1.LeaseList
	if err := c.List(ctx, &leases, client.InNamespace("kube-system")); err != nil {
		return err
	}
	for _, lease := range leases.Items {
		if !strings.HasPrefix(lease.Name, "headwater-fence-") || lease.Spec.HolderIdentity == nil {
			continue
		}
		agent, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
		if !fits(agent) {
			return fmt.Errorf("its fence is held by %q", *lease.Spec.HolderIdentity)
		}
		return nil
	}
	return errors.New("nobody holds its fence")
}

func both(first, second check) check {
	return func(ctx context.Context, c *cluster) error {
		if err := first(ctx, c); err != nil {
			return err
		}
		return second(ctx, c)
	}
}

func inShop(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: "shop", Name: name}
}

func storefront() client.Object {
	object := &unstructured.Unstructured{}
	object.SetAPIVersion("demo.example.com/v1")
	object.SetKind("Storefront")
	return object
}
