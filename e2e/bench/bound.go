package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	helmaction "helm.sh/helm/v3/pkg/action"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// The bound is what the product's promises cost whoever keeps them: with -bound a
// client of its own stands in for the product. It makes the requests that follow
// from the promises and nothing else: it reads no source, renders nothing, watches
// nothing, holds no fence and tells of nothing.
//
//   - The user's object is created at the hub.
//   - It gets its finalizer, and the label by which its agent finds it.
//   - The inventory is written before what is in it, and the outcome after.
//   - Each object of a stage is dry-run before one of them is applied; one that is a
//     stage by itself is read.
//
// The hub's objects are of a group of their own with the same definitions, which the
// product does not know.
const boundGroup = "bound.headwater.dev"

// boundKinds are those whose definitions are copied.
var boundKinds = []schema.GroupVersionKind{
	kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind),
	helmv2.GroupVersion.WithKind(helmv2.HelmReleaseKind),
	sourcev1.GroupVersion.WithKind(sourcev1.GitRepositoryKind),
}

// boundSteps are those that the bound is known of.
func (w *world) boundSteps() []step {
	if w.shape.helm {
		return []step{
			{"install", w.helmInstall, w.boundHelmInstall, w.verifyReleases("v1", w.kustomizations)},
			{"upgrade", w.helmUpgrade, w.boundHelmUpgrade, w.verifyReleases("v2", w.kustomizations)},
			{"uninstall", w.helmUninstall, w.boundHelmUninstall, w.verifyReleases("v2", 0)},
		}
	}
	return []step{
		{"install", w.applyAll("v1"), w.boundInstall, w.verify("v1", w.kustomizations)},
		{"delete", w.deleteAll, w.boundDelete, w.verify("v1", 0)},
	}
}

// openBound copies the definitions, and waits until they are served.
func (w *world) openBound(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	for _, kind := range boundKinds {
		if err := w.copyDefinition(ctx, kind); err != nil {
			return err
		}
	}
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		for _, kind := range boundKinds {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(bound(kind).GroupVersion().WithKind(kind.Kind + "List"))
			if w.hub.List(ctx, list) != nil {
				return false, nil
			}
		}
		return true, nil
	})
}

func (w *world) copyDefinition(ctx context.Context, kind schema.GroupVersionKind) error {
	plural, _ := apimeta.UnsafeGuessKindToResource(kind)
	made := &unstructured.Unstructured{}
	made.SetAPIVersion("apiextensions.k8s.io/v1")
	made.SetKind("CustomResourceDefinition")
	if err := w.hub.Get(ctx, types.NamespacedName{Name: plural.GroupResource().String()}, made); err != nil {
		return err
	}
	if err := unstructured.SetNestedField(made.Object, boundGroup, "spec", "group"); err != nil {
		return err
	}
	delete(made.Object, "status")
	made.Object["metadata"] = map[string]any{"name": plural.Resource + "." + boundGroup}
	return w.hub.Create(ctx, made)
}

// bound is the copy of a kind.
func bound(kind schema.GroupVersionKind) schema.GroupVersionKind {
	kind.Group = boundGroup
	return kind
}

// copied is the object in the bound's group.
func copied(obj client.Object, kind schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	made := &unstructured.Unstructured{Object: content}
	made.SetGroupVersionKind(bound(kind))
	return made, nil
}

func (w *world) copyOf(i int) (*unstructured.Unstructured, error) {
	if w.shape.helm {
		return copied(w.helmRelease(i), helmv2.GroupVersion.WithKind(helmv2.HelmReleaseKind))
	}
	return copied(w.kustomization(i), kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind))
}

// eachCopy does something with each copy.
func (w *world) eachCopy(ctx context.Context, do func(context.Context, int, *unstructured.Unstructured) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range w.kustomizations {
		group.Go(func() error {
			obj, err := w.copyOf(i)
			if err != nil {
				return err
			}
			return do(ctx, i, obj)
		})
	}
	return group.Wait()
}

// publish creates a copy, and makes it somebody's.
func (w *world) publish(ctx context.Context, obj *unstructured.Unstructured) error {
	if err := w.hub.Create(ctx, obj); err != nil {
		return err
	}
	return w.hub.Patch(ctx, obj, merge(map[string]any{"metadata": map[string]any{
		"finalizers": []string{"finalizers.fluxcd.io"}, "labels": map[string]string{"fleet.headwater.dev/agent": "agent-0"},
	}}))
}

// unpublish lets a copy go.
func (w *world) unpublish(ctx context.Context, obj *unstructured.Unstructured) error {
	if err := w.hub.Delete(ctx, obj); err != nil {
		return err
	}
	return w.hub.Patch(ctx, obj, merge(map[string]any{"metadata": map[string]any{"finalizers": nil}}))
}

func (w *world) tell(ctx context.Context, obj *unstructured.Unstructured, status map[string]any) error {
	return w.hub.Status().Patch(ctx, obj, merge(map[string]any{"status": status}))
}

func merge(content map[string]any) client.Patch {
	raw, err := json.Marshal(content)
	if err != nil {
		panic(err) // of plain values
	}
	return client.RawPatch(types.MergePatchType, raw)
}

// condition is one that says what happened.
func condition(kind, status, reason, message string) map[string]any {
	return map[string]any{
		"type": kind, "status": status, "reason": reason, "message": message,
		"lastTransitionTime": metav1.Now(), "observedGeneration": 1,
	}
}

// ready says that all is well.
func ready(message string) map[string]any {
	return map[string]any{
		"observedGeneration": 1,
		"conditions":         []any{condition("Ready", "True", "ReconciliationSucceeded", message)},
	}
}

func (w *world) boundInstall(ctx context.Context) error {
	return w.eachCopy(ctx, func(ctx context.Context, i int, obj *unstructured.Unstructured) error {
		if w.shape.sources {
			if err := w.boundSource(ctx, i); err != nil {
				return err
			}
		}
		if err := w.publish(ctx, obj); err != nil {
			return err
		}
		at := w.site(i)
		all := objects(at.product, w.app(i), "v1")
		entries := make([]any, 0, len(all))
		for _, o := range all {
			kind := o.GroupVersionKind()
			entries = append(entries, map[string]any{"id": fmt.Sprintf("%s_%s_%s_%s", o.GetNamespace(), o.GetName(), kind.Group, kind.Kind), "v": kind.Version})
			o.SetLabels(map[string]string{
				"app": o.GetName(), "version": "v1",
				"kustomize.toolkit.fluxcd.io/name": obj.GetName(), "kustomize.toolkit.fluxcd.io/namespace": obj.GetNamespace(),
			})
		}
		ahead := map[string]any{
			"conditions":            []any{condition("Ready", "Unknown", "Progressing", "Reconciliation in progress"), condition("Reconciling", "True", "Progressing", "Reconciliation in progress")},
			"lastAttemptedRevision": w.revision, "target": at.hub + "/" + kubeconfigName, "inventory": map[string]any{"entries": entries},
		}
		if err := w.tell(ctx, obj, ahead); err != nil {
			return err
		}
		if err := boundApply(ctx, at.client, all); err != nil {
			return err
		}
		outcome := ready("Applied revision: " + w.revision)
		outcome["lastAppliedRevision"] = w.revision
		return w.tell(ctx, obj, outcome)
	})
}

// boundSource is a GitRepository as the hub brings it to its artifact.
func (w *world) boundSource(ctx context.Context, i int) error {
	source, err := copied(w.gitRepository(w.sourceName(i)), sourcev1.GroupVersion.WithKind(sourcev1.GitRepositoryKind))
	if err != nil {
		return err
	}
	if err := w.publish(ctx, source); err != nil {
		return err
	}
	outcome := ready("stored artifact for revision '" + w.revision + "'")
	outcome["artifact"] = map[string]any{
		"digest": "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "lastUpdateTime": metav1.Now(),
		"path": "gitrepository/flux-system/" + source.GetName() + "/latest.tar.gz", "revision": w.revision, "size": 1000,
		"url": "http://hub/gitrepository/flux-system/" + source.GetName() + "/latest.tar.gz",
	}
	return w.tell(ctx, source, outcome)
}

// boundApply applies a ServiceAccount, which is a stage by itself, and the rest.
func boundApply(ctx context.Context, target client.Client, all []*unstructured.Unstructured) error {
	account, rest := all[0], all[1:]
	apply := func(o *unstructured.Unstructured, options ...client.ApplyOption) error {
		options = append(options, client.FieldOwner("bound"), client.ForceOwnership)
		return target.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.DeepCopy()), options...)
	}
	if err := target.Get(ctx, client.ObjectKeyFromObject(account), account.DeepCopy()); !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s is there already: %w", account.GetName(), err)
	}
	if err := apply(account); err != nil {
		return err
	}
	for _, o := range rest {
		if err := apply(o, client.DryRunAll); err != nil {
			return err
		}
	}
	for _, o := range rest {
		if err := apply(o); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) boundDelete(ctx context.Context) error {
	return w.eachCopy(ctx, func(ctx context.Context, i int, obj *unstructured.Unstructured) error {
		at := w.site(i)
		for _, o := range objects(at.product, w.app(i), "v1") {
			if err := at.client.Delete(ctx, o); err != nil {
				return err
			}
		}
		if w.shape.sources {
			source, err := copied(w.gitRepository(w.sourceName(i)), sourcev1.GroupVersion.WithKind(sourcev1.GitRepositoryKind))
			if err == nil {
				err = w.unpublish(ctx, source)
			}
			if err != nil {
				return err
			}
		}
		return w.unpublish(ctx, obj)
	})
}

// boundHelmInstall is the Helm SDK's installation between what the hub is told.
func (w *world) boundHelmInstall(ctx context.Context) error {
	return w.eachBoundRelease(ctx, func(config *helmaction.Configuration, i int, obj *unstructured.Unstructured) error {
		if err := unstructured.SetNestedField(obj.Object, podinfoValues("v1"), "spec", "values"); err != nil {
			return err
		}
		if err := w.publish(ctx, obj); err != nil {
			return err
		}
		return w.between(ctx, i, obj, "install", func() error { return w.installBy(config, appName(i), w.site(i).product) })
	})
}

// boundHelmUpgrade is its upgrade.
func (w *world) boundHelmUpgrade(ctx context.Context) error {
	return w.eachBoundRelease(ctx, func(config *helmaction.Configuration, i int, obj *unstructured.Unstructured) error {
		err := w.hub.Patch(ctx, obj, merge(map[string]any{"spec": map[string]any{"values": podinfoValues("v2")}}))
		if err != nil {
			return err
		}
		return w.between(ctx, i, obj, "upgrade", func() error { return w.upgradeBy(config, appName(i), w.site(i).product) })
	})
}

// between does the action after it was announced, and before its outcome is told: an
// agent that is killed in between must neither do it twice nor forget it.
func (w *world) between(ctx context.Context, i int, obj *unstructured.Unstructured, verb string, do func() error) error {
	running := "Running '" + verb + "' action with timeout of 5m0s"
	ahead := map[string]any{
		"conditions":       []any{condition("Ready", "Unknown", "Progressing", running), condition("Reconciling", "True", "Progressing", running)},
		"storageNamespace": w.site(i).product, "helmChart": "flux-system/podinfo", "lastAttemptedReleaseAction": verb,
		"history": []any{w.snapshot(i, "pending-"+verb)},
	}
	if err := w.tell(ctx, obj, ahead); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	outcome := ready("Helm " + verb + " succeeded for release " + appName(i))
	outcome["history"] = []any{w.snapshot(i, "deployed")}
	return w.tell(ctx, obj, outcome)
}

// snapshot is an entry of a HelmRelease's history.
func (w *world) snapshot(i int, status string) map[string]any {
	return map[string]any{
		"name": appName(i), "namespace": w.site(i).product, "version": 1, "status": status, "digest": "sha256:" + w.revision,
		"chartName": "podinfo", "chartVersion": "6.0.0", "configDigest": "sha256:" + w.revision, "appVersion": "6.0.0",
		"firstDeployed": metav1.Now(), "lastDeployed": metav1.Now(),
	}
}

func (w *world) boundHelmUninstall(ctx context.Context) error {
	return w.eachBoundRelease(ctx, func(config *helmaction.Configuration, i int, obj *unstructured.Unstructured) error {
		if _, err := helmaction.NewUninstall(config).Run(appName(i)); err != nil {
			return err
		}
		return w.unpublish(ctx, obj)
	})
}

// eachBoundRelease does something with each copy and its release.
func (w *world) eachBoundRelease(ctx context.Context, do func(*helmaction.Configuration, int, *unstructured.Unstructured) error) error {
	return w.eachByHelm(ctx, func(at *site) string { return at.product }, func(config *helmaction.Configuration, i int) error {
		obj, err := w.copyOf(i)
		if err != nil {
			return err
		}
		return do(config, i, obj)
	})
}
