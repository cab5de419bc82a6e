package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

const (
	stepLimit    = 10 * time.Minute // ends a step that hangs
	lookInterval = 50 * time.Millisecond
)

// install creates the Kustomizations and waits until all are applied.
func (w *world) install(ctx context.Context) error {
	return w.until(ctx, w.applied, func(ctx context.Context) error {
		if w.shape.sources {
			err := w.eachSource(ctx, func(ctx context.Context, s *sourcev1.GitRepository) error { return w.hub.Create(ctx, s) })
			if err != nil {
				return err
			}
		}
		return w.eachKustomization(ctx, func(ctx context.Context, k *kustomizev1.Kustomization) error {
			return w.hub.Create(ctx, k)
		})
	})
}

// nothing asks for a reconcile of each.
func (w *world) nothing(ctx context.Context) error {
	token := fmt.Sprint(time.Now().UnixNano())
	handled := func(k *kustomizev1.Kustomization) bool { return k.Status.LastHandledReconcileAt == token }
	return w.until(ctx, handled, func(ctx context.Context) error {
		return w.eachKustomization(ctx, func(ctx context.Context, k *kustomizev1.Kustomization) error {
			return w.request(ctx, k, token)
		})
	})
}

// upgrade commits another version of everything.
func (w *world) upgrade(ctx context.Context) error {
	return w.until(ctx, w.applied, func(ctx context.Context) error {
		if err := w.commit(ctx, "v2"); err != nil {
			return err
		}
		return w.eachSource(ctx, func(ctx context.Context, s *sourcev1.GitRepository) error {
			return w.request(ctx, s, w.revision)
		})
	})
}

// interval waits until each has been looked at again because its interval was
// over: all of them, as a whole, so often as there are.
func (w *world) interval(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	before, err := w.runs(ctx, kustomizev1.KustomizationKind)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		now, err := w.runs(ctx, kustomizev1.KustomizationKind)
		return now-before >= float64(w.kustomizations), err
	})
}

// remove deletes the Kustomizations and waits until they are gone, and their
// objects with them.
func (w *world) remove(ctx context.Context) error {
	err := w.until(ctx, nil, func(ctx context.Context) error {
		return w.eachKustomization(ctx, func(ctx context.Context, k *kustomizev1.Kustomization) error {
			return w.hub.Delete(ctx, k)
		})
	})
	if err != nil || !w.shape.sources {
		return err
	}
	return w.eachSource(ctx, func(ctx context.Context, s *sourcev1.GitRepository) error { return w.hub.Delete(ctx, s) })
}

func (w *world) applied(k *kustomizev1.Kustomization) bool {
	return apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.ReadyCondition) &&
		k.Status.ObservedGeneration == k.Generation && strings.HasSuffix(k.Status.LastAppliedRevision, w.revision)
}

// commit writes a version of all applications. It comes with a new revision
// even where the content has been there before.
func (w *world) commit(ctx context.Context, version string) error {
	all, err := files(w.apps(), version)
	if err != nil {
		return err
	}
	w.revision, err = w.repository.Commit(ctx, "Version "+version, all)
	return err
}

// request asks for one reconcile of an object.
func (w *world) request(ctx context.Context, o client.Object, token string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, token)
	return w.hub.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(patch)))
}

// until does something and waits until every Kustomization fits, or, without a
// condition, until there is none. It looks at an informer's cache: one watch for
// the whole run, so that looking does not show in what is measured.
func (w *world) until(ctx context.Context, fits func(*kustomizev1.Kustomization) bool, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	if err := do(ctx); err != nil {
		return err
	}
	left := ""
	err := wait.PollUntilContextCancel(ctx, lookInterval, true, func(ctx context.Context) (bool, error) {
		var all kustomizev1.KustomizationList
		if err := w.cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
			return false, err
		}
		left = unfit(all.Items, fits)
		return left == "" && (fits == nil || len(all.Items) == w.kustomizations), nil
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, left)
	}
	return nil
}

// unfit describes one that does not fit.
func unfit(all []kustomizev1.Kustomization, fits func(*kustomizev1.Kustomization) bool) string {
	for i := range all {
		if fits == nil || !fits(&all[i]) {
			return all[i].Name + ": " + describe(&all[i])
		}
	}
	return ""
}

func describe(k *kustomizev1.Kustomization) string {
	if ready := apimeta.FindStatusCondition(k.Status.Conditions, meta.ReadyCondition); ready != nil {
		return ready.Reason + ": " + ready.Message
	}
	return "no Ready condition"
}

func (w *world) eachKustomization(ctx context.Context, do func(context.Context, *kustomizev1.Kustomization) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range w.kustomizations {
		group.Go(func() error { return do(ctx, w.kustomization(i)) })
	}
	return group.Wait()
}

func (w *world) eachSource(ctx context.Context, do func(context.Context, *sourcev1.GitRepository) error) error {
	if !w.shape.sources {
		return do(ctx, w.gitRepository("bench"))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range w.kustomizations {
		group.Go(func() error { return do(ctx, w.gitRepository(w.sourceName(i))) })
	}
	return group.Wait()
}

// reset puts the first version into the repository and, where the source is
// there already, waits until the hub has its artifact. It is not measured.
func (w *world) reset(ctx context.Context) error {
	if w.shape.helm {
		return w.awaitChart(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	if err := w.commit(ctx, "v1"); err != nil || w.shape.sources {
		return err
	}
	source := w.gitRepository("bench")
	if err := w.request(ctx, source, w.revision); err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		err := w.hub.Get(ctx, client.ObjectKeyFromObject(source), source)
		return err == nil && source.Status.Artifact != nil && strings.HasSuffix(source.Status.Artifact.Revision, w.revision), err
	})
}

// verify counts what is on the target: a product that is fast because it does
// nothing measures nothing. It is not measured either.
func (w *world) verify(version string, count int) func(context.Context) error {
	return func(ctx context.Context) error {
		got := 0
		for _, at := range w.sites {
			var found appsv1.DeploymentList
			if err := at.admin.List(ctx, &found, client.InNamespace(at.product), client.MatchingLabels{"version": version}); err != nil {
				return err
			}
			got += len(found.Items)
		}
		if got != count {
			return fmt.Errorf("the targets have %d deployments of version %s, not %d", got, version, count)
		}
		return nil
	}
}
