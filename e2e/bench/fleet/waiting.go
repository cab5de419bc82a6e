package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

const (
	// waiters are how many wait, and fresh how many are created in each run, one
	// after the other.
	waiters = 1000
	fresh   = 25
	look    = 200 * time.Millisecond
)

// measureWaiting measures how long a new Kustomization takes to be Ready alone,
// and while many others wait for what never comes, in turn.
func measureWaiting(ctx context.Context, f *fleet) error {
	count, samples, many := f.Pairs, f.Samples, f.Waiting
	if count == 0 {
		count = pairs
	}
	if samples == 0 {
		samples = fresh
	}
	if many == 0 {
		many = waiters
	}
	fmt.Fprintf(f.out, "%d wait for what never comes, for %d workers; %d new ones, one after the other, in each run\n", many, waitingWorkers, samples)
	var ratios []float64
	for i := range count {
		alone, err := f.newcomers(ctx, samples)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := f.wait(ctx, many); err != nil {
			return err
		}
		took := time.Since(began)
		beside, err := f.newcomers(ctx, samples)
		if err != nil {
			return err
		}
		if err := f.waitNoMore(ctx); err != nil {
			return err
		}
		ratios = append(ratios, percentile(beside, 50)/percentile(alone, 50))
		fmt.Fprintf(f.out, "pair %d of %d: alone %.3f s (p90 %.3f), beside those who wait %.3f s (p90 %.3f): %.2f; all waited %.0f s after they were created\n",
			i+1, count, percentile(alone, 50), percentile(alone, 90), percentile(beside, 50), percentile(beside, 90), ratios[i], took.Seconds())
	}
	slices.Sort(ratios)
	fmt.Fprintf(f.out, "ratio of the medians: median %.2f (%.2f–%.2f)\n", (ratios[(len(ratios)-1)/2]+ratios[len(ratios)/2])/2, ratios[0], ratios[len(ratios)-1])
	return nil
}

// kustomization applies the fleet's objects once more, under names of its own.
func (f *fleet) kustomization(i int, name string, labels map[string]string) *kustomizev1.Kustomization {
	at := f.targets[i%len(f.targets)]
	made := at.named(name)
	made.Labels = labels
	return &kustomizev1.Kustomization{ObjectMeta: made, Spec: kustomizev1.KustomizationSpec{
		Interval:  metav1.Duration{Duration: time.Hour},
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Namespace: namespace, Name: "fleet"},
		Path:      "./apps", Prune: true, TargetNamespace: at.name, NamePrefix: name + "-",
		KubeConfig: &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: at.name}},
	}}
}

// newcomers creates some, each when the one before is gone, and returns how long
// each took to be Ready, in seconds.
func (f *fleet) newcomers(ctx context.Context, count int) ([]float64, error) {
	var all []float64
	for range count {
		f.made++
		one := f.kustomization(0, fmt.Sprintf("fresh-%d", f.made), nil)
		began := time.Now()
		if err := f.onHub.Create(ctx, one); err != nil {
			return nil, err
		}
		if err := f.watch.await(ctx, f.revision, []string{one.Name}); err != nil {
			return nil, err
		}
		all = append(all, f.watch.since(began, f.revision, []string{one.Name})...)
		if err := f.onHub.Delete(ctx, one); err != nil {
			return nil, err
		}
		err := f.poll(ctx, func(ctx context.Context) (bool, error) {
			err := f.onHub.Get(ctx, client.ObjectKeyFromObject(one), one)
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// waitLabel marks those who wait.
const waitLabel = "bench.headwater.dev/waits"

// wait creates those who wait, and returns when each does.
func (f *fleet) wait(ctx context.Context, many int) error {
	group, creating := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range many {
		group.Go(func() error {
			one := f.kustomization(i, fmt.Sprintf("waits-%d", i), map[string]string{waitLabel: "true"})
			one.Spec.HealthChecks = []meta.NamespacedObjectKindReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "never"}}
			return f.onHub.Create(creating, one)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return f.poll(ctx, func(ctx context.Context) (bool, error) {
		var found kustomizev1.KustomizationList
		err := f.onHub.List(ctx, &found, client.HasLabels{waitLabel})
		return err == nil && len(found.Items) == many && !slices.ContainsFunc(found.Items, func(k kustomizev1.Kustomization) bool { return !waits(&k) }), err
	})
}

// waits says whether all that a Kustomization lacks is the check.
func waits(k *kustomizev1.Kustomization) bool {
	ready := apimeta.FindStatusCondition(k.Status.Conditions, meta.ReadyCondition)
	return ready != nil && ready.Status == metav1.ConditionUnknown && k.Status.WaitingSince != nil
}

// waitNoMore deletes those who wait, and returns when all are gone.
func (f *fleet) waitNoMore(ctx context.Context) error {
	var found kustomizev1.KustomizationList
	if err := f.onHub.List(ctx, &found, client.HasLabels{waitLabel}); err != nil {
		return err
	}
	// One by one: the server gives all of them together a minute.
	group, deleting := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range found.Items {
		group.Go(func() error { return f.onHub.Delete(deleting, &found.Items[i]) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return f.poll(ctx, func(ctx context.Context) (bool, error) {
		var left kustomizev1.KustomizationList
		err := f.onHub.List(ctx, &left, client.HasLabels{waitLabel})
		return err == nil && len(left.Items) == 0, err
	})
}

func (f *fleet) poll(ctx context.Context, until wait.ConditionWithContextFunc) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := wait.PollUntilContextCancel(ctx, look, true, until); err != nil {
		return fmt.Errorf("%w\n%s", err, f.product.Logs(10))
	}
	return nil
}
