package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/stack"
)

// helmReleaseKind names the kind in the agent's metrics.
const helmReleaseKind = "HelmRelease"

// helmSteps are the steps with HelmReleases. What costs the SDK nothing has no
// floor.
func (w *world) helmSteps() []step {
	return []step{
		{"install", w.helmInstall, w.createReleases, w.verifyReleases("v1", w.kustomizations)},
		{"no-op, requested", w.nobody, w.requestReleases, w.verifyReleases("v1", w.kustomizations)},
		{"no-op, by interval", w.nobody, w.releasesByInterval, w.verifyReleases("v1", w.kustomizations)},
		{"upgrade", w.helmUpgrade, w.upgradeReleases, w.verifyReleases("v2", w.kustomizations)},
		{"uninstall", w.helmUninstall, w.deleteReleases, w.verifyReleases("v2", 0)},
	}
}

// openHelm reads the chart, commits it, and warms the floor's clients.
func (w *world) openHelm(ctx context.Context) error {
	var err error
	if w.podinfo, err = readPodinfo(w.root, w.dir); err != nil {
		return err
	}
	files := map[string]string{}
	for name, content := range w.podinfo.files {
		files["charts/podinfo/"+name] = content
	}
	if w.revision, err = w.repository.Commit(ctx, "The chart", files); err != nil {
		return err
	}
	return w.warmFloor(ctx)
}

func (w *world) helmChart() *sourcev1.HelmChart {
	return &sourcev1.HelmChart{
		ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "podinfo"},
		Spec: sourcev1.HelmChartSpec{
			Chart:     "./charts/podinfo",
			Interval:  metav1.Duration{Duration: time.Hour},
			SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "bench"},
		},
	}
}

// awaitChart waits until the hub has made the chart.
func (w *world) awaitChart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	made := w.helmChart()
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		err := w.hub.Get(ctx, client.ObjectKeyFromObject(made), made)
		return made.Status.Artifact != nil, err
	})
}

func (w *world) helmRelease(i int) *helmv2.HelmRelease {
	at := w.site(i)
	return &helmv2.HelmRelease{
		ObjectMeta: metav1.ObjectMeta{Namespace: at.hub, Name: appName(i)},
		Spec: helmv2.HelmReleaseSpec{
			Interval:         metav1.Duration{Duration: w.shape.interval},
			ChartRef:         &helmv2.CrossNamespaceSourceReference{Kind: sourcev1.HelmChartKind, Namespace: stack.Namespace, Name: "podinfo"},
			KubeConfig:       &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: kubeconfigName}},
			ReleaseName:      appName(i),
			TargetNamespace:  at.product,
			StorageNamespace: at.product,
			Install:          &helmv2.Install{DisableWait: true},
			Upgrade:          &helmv2.Upgrade{DisableWait: true},
			Uninstall:        &helmv2.Uninstall{DisableWait: true},
		},
	}
}

// eachRelease does something with the HelmReleases.
func (w *world) eachRelease(ctx context.Context, do func(context.Context, *helmv2.HelmRelease) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range w.kustomizations {
		group.Go(func() error { return do(ctx, w.helmRelease(i)) })
	}
	return group.Wait()
}

// releasesByInterval waits until each has been looked at again because its
// interval was over, as interval does.
func (w *world) releasesByInterval(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	before, err := w.runs(ctx, helmReleaseKind)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		now, err := w.runs(ctx, helmReleaseKind)
		return now-before >= float64(w.kustomizations), err
	})
}

// createReleases creates the HelmReleases and waits until all are installed.
func (w *world) createReleases(ctx context.Context) error {
	values, err := json.Marshal(podinfoValues("v1"))
	if err != nil {
		return err
	}
	err = w.eachRelease(ctx, func(ctx context.Context, o *helmv2.HelmRelease) error {
		o.Spec.Values = &apiextensionsv1.JSON{Raw: values}
		return w.hub.Create(ctx, o)
	})
	if err != nil {
		return err
	}
	return w.untilReleases(ctx, released)
}

// requestReleases asks for a reconcile of each.
func (w *world) requestReleases(ctx context.Context) error {
	token := fmt.Sprint(time.Now().UnixNano())
	err := w.eachRelease(ctx, func(ctx context.Context, o *helmv2.HelmRelease) error { return w.request(ctx, o, token) })
	if err != nil {
		return err
	}
	return w.untilReleases(ctx, func(o *helmv2.HelmRelease) bool { return o.Status.LastHandledReconcileAt == token })
}

// upgradeReleases changes the values of each and waits until all are upgraded.
func (w *world) upgradeReleases(ctx context.Context) error {
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"values":{"ui":{"message":"v2"}}}}`))
	err := w.eachRelease(ctx, func(ctx context.Context, o *helmv2.HelmRelease) error { return w.hub.Patch(ctx, o, patch) })
	if err != nil {
		return err
	}
	return w.untilReleases(ctx, func(o *helmv2.HelmRelease) bool { return released(o) && o.Generation > 1 })
}

// deleteReleases deletes the HelmReleases and waits until they are gone, and the
// releases with them.
func (w *world) deleteReleases(ctx context.Context) error {
	err := w.eachRelease(ctx, func(ctx context.Context, o *helmv2.HelmRelease) error { return w.hub.Delete(ctx, o) })
	if err != nil {
		return err
	}
	return w.untilReleases(ctx, nil)
}

func released(o *helmv2.HelmRelease) bool {
	return apimeta.IsStatusConditionTrue(o.Status.Conditions, meta.ReadyCondition) && o.Status.ObservedGeneration == o.Generation
}

// untilReleases waits until every HelmRelease fits, or, without a condition,
// until there is none. It looks at the informer's cache, as until does.
func (w *world) untilReleases(ctx context.Context, fits func(*helmv2.HelmRelease) bool) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	left := ""
	err := wait.PollUntilContextCancel(ctx, lookInterval, true, func(ctx context.Context) (bool, error) {
		var all helmv2.HelmReleaseList
		if err := w.cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
			return false, err
		}
		left = ""
		for i := range all.Items {
			if o := &all.Items[i]; fits == nil || !fits(o) {
				left = o.Name
				if ready := apimeta.FindStatusCondition(o.Status.Conditions, meta.ReadyCondition); ready != nil {
					left += ": " + ready.Reason + ": " + ready.Message
				}
				return false, nil
			}
		}
		return fits == nil || len(all.Items) == w.kustomizations, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, left)
	}
	return nil
}

// verifyReleases counts what is on the targets, by floor and product.
func (w *world) verifyReleases(version string, count int) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, namespace := range []func(*site) string{func(s *site) string { return s.floor }, func(s *site) string { return s.product }} {
			got := 0
			for _, at := range w.sites {
				var found appsv1.DeploymentList
				if err := at.admin.List(ctx, &found, client.InNamespace(namespace(at))); err != nil {
					return err
				}
				for i := range found.Items {
					if says(&found.Items[i], version) {
						got++
					}
				}
			}
			if got != count {
				return fmt.Errorf("the targets have %d deployments of version %s, not %d, in namespaces such as %s", got, version, count, namespace(w.sites[0]))
			}
		}
		return nil
	}
}

// says whether a Deployment of podinfo shows the version.
func says(o *appsv1.Deployment, version string) bool {
	for _, variable := range o.Spec.Template.Spec.Containers[0].Env {
		if variable.Name == "PODINFO_UI_MESSAGE" {
			return strings.EqualFold(variable.Value, version)
		}
	}
	return false
}
