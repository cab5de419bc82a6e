package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
		source := &sourcev1.GitRepository{ObjectMeta: named("bench")}
		return w.request(ctx, source, w.revision)
	})
}

// remove deletes the Kustomizations and waits until they are gone, and their
// objects with them.
func (w *world) remove(ctx context.Context) error {
	return w.until(ctx, nil, func(ctx context.Context) error {
		return w.eachKustomization(ctx, func(ctx context.Context, k *kustomizev1.Kustomization) error {
			return w.hub.Delete(ctx, k)
		})
	})
}

func (w *world) applied(k *kustomizev1.Kustomization) bool {
	return apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.ReadyCondition) &&
		k.Status.ObservedGeneration == k.Generation && strings.HasSuffix(k.Status.LastAppliedRevision, w.revision)
}

// commit writes a version of all applications. It comes with a new revision
// even where the content has been there before.
func (w *world) commit(ctx context.Context, version string) error {
	all, err := files(w.kustomizations, version)
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
		group.Go(func() error { return do(ctx, kustomization(i)) })
	}
	return group.Wait()
}

func kustomizationName(i int) string { return fmt.Sprintf("app-%03d", i) }

func kustomization(i int) *kustomizev1.Kustomization {
	return &kustomizev1.Kustomization{
		ObjectMeta: named(kustomizationName(i)),
		Spec: kustomizev1.KustomizationSpec{
			Interval:   metav1.Duration{Duration: time.Hour},
			SourceRef:  kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "bench"},
			Path:       "./apps/" + kustomizationName(i),
			Prune:      true,
			KubeConfig: &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "target"}},
		},
	}
}

// reset puts the first version into the repository and waits until the hub has
// its artifact. It is not measured.
func (w *world) reset(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	if err := w.commit(ctx, "v1"); err != nil {
		return err
	}
	source := &sourcev1.GitRepository{ObjectMeta: named("bench")}
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
		var found appsv1.DeploymentList
		err := w.target.List(ctx, &found, client.InNamespace(productNamespace), client.MatchingLabels{"version": version})
		if err == nil && len(found.Items) != count {
			err = fmt.Errorf("the target has %d deployments of version %s, not %d", len(found.Items), version, count)
		}
		return err
	}
}
