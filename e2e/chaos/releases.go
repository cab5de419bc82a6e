package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/chaos/judge"
)

const (
	// releasesEach is how many releases a target has that has any: one for each
	// status that an action leaves when its process is killed.
	releasesEach = 4
	// retries of installs and upgrades: a failure that is counted shows as
	// something that is undone.
	retries = 3
	// chartLasts is how many commits have the same version of the chart.
	chartLasts = 2
)

// release is a Helm release on a target, and its HelmRelease on the hub.
type release struct {
	key  *key
	name string

	mu sync.Mutex // guards what follows
	// left are the times at which the HelmRelease was deleted.
	left []time.Time
	// fails says that the run has brought a failure about.
	fails bool
	// counted are failures that it has not.
	counted []string
}

// makeReleases gives some of the targets, of both API servers, releases.
func (w *world) makeReleases() {
	if w.releaseTargets == 0 {
		return
	}
	step := max(1, len(w.keys)/w.releaseTargets)
	for i, k := range w.keys {
		if block := i / step; block < w.releaseTargets && i%step == block%2 {
			for n := range releasesEach {
				k.releases = append(k.releases, &release{key: k, name: fmt.Sprintf("app%d", n)})
			}
			w.releases = append(w.releases, k.releases...)
		}
	}
}

// title is the name of the HelmRelease.
func (r *release) title() string { return r.key.name + "-" + r.name }

func helmChart() *sourcev1.HelmChart {
	return &sourcev1.HelmChart{
		ObjectMeta: named("app"),
		Spec: sourcev1.HelmChartSpec{
			Chart:     "./charts/app",
			Interval:  metav1.Duration{Duration: time.Minute},
			SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "fleet"},
		},
	}
}

// helmRelease is the release as a user declares it, with or without the hook.
func (r *release) helmRelease(hook bool) *helmv2.HelmRelease {
	return &helmv2.HelmRelease{
		ObjectMeta: named(r.title()),
		Spec: helmv2.HelmReleaseSpec{
			Interval:         metav1.Duration{Duration: 30 * time.Second},
			ChartRef:         &helmv2.CrossNamespaceSourceReference{Kind: sourcev1.HelmChartKind, Name: "app"},
			KubeConfig:       &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: r.key.name}},
			ReleaseName:      r.name,
			TargetNamespace:  r.key.name,
			StorageNamespace: r.key.name,
			// Nobody makes Pods of Deployments here.
			Install:   &helmv2.Install{DisableWait: true, Remediation: &helmv2.InstallRemediation{Retries: retries}},
			Upgrade:   &helmv2.Upgrade{DisableWait: true, Remediation: &helmv2.UpgradeRemediation{Retries: retries}},
			Rollback:  &helmv2.Rollback{DisableWait: true},
			Uninstall: &helmv2.Uninstall{DisableWait: true},
			Values:    &apiextensionsv1.JSON{Raw: fmt.Appendf(nil, `{"hook":%t}`, hook)},
		},
	}
}

// chartVersion is that of the chart in the n-th commit.
func chartVersion(n int) string { return fmt.Sprintf("1.0.%d", n/chartLasts) }

// chartNumber is the other way round: which version it is.
func chartNumber(version string) int {
	number := -1
	_, _ = fmt.Sscanf(version, "1.0.%d", &number) // stays, if it is none of ours
	return number
}

// chartFiles are the chart in the n-th commit.
func chartFiles(n int) map[string]string {
	return map[string]string{
		"charts/app/Chart.yaml":         "apiVersion: v2\nname: app\nversion: " + chartVersion(n) + "\n",
		"charts/app/values.yaml":        "hook: false\n",
		"charts/app/templates/app.yaml": chartObjects,
		"charts/app/templates/pod.yaml": chartHook,
	}
}

const chartObjects = `apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}"}
data: {chart: "{{ .Chart.Version }}"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}"}
spec:
  replicas: 0
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata: {labels: {app: "{{ .Release.Name }}"}}
    spec: {containers: [{name: app, image: "app:{{ .Chart.Version }}"}]}
`

// chartHook is what makes actions last: Helm waits for the end of the Pod, which
// nobody runs, with the objects changed and the record pending.
const chartHook = `{{ if .Values.hook }}apiVersion: v1
kind: Pod
metadata:
  name: "{{ .Release.Name }}-hook"
  annotations: {"helm.sh/hook": "post-install,post-upgrade,post-rollback,post-delete"}
spec:
  serviceAccountName: headwater
  automountServiceAccountToken: false
  restartPolicy: Never
  containers: [{name: hook, image: hook}]
{{ end }}
`

// status is that of the newest record on the target; empty when there is none.
func (r *release) status(ctx context.Context) (string, error) {
	var records corev1.SecretList
	err := r.key.admin.List(ctx, &records, client.InNamespace(r.key.name), client.MatchingLabels{"owner": "helm", "name": r.name})
	newest, status := -1, ""
	for _, record := range records.Items {
		version := 0
		_, _ = fmt.Sscan(record.Labels["version"], &version) // zero if it is none
		if version > newest {
			newest, status = version, record.Labels["status"]
		}
	}
	return status, err
}

// evidence is what the judge gets of the release.
func (r *release) evidence(final judge.Final) judge.Release {
	r.mu.Lock()
	defer r.mu.Unlock()
	return judge.Release{Name: r.name, Left: append([]time.Time{}, r.left...), Counted: append([]string{}, r.counted...), Final: final}
}

// finalRelease looks at what the run has left.
func (w *world) finalRelease(ctx context.Context, r *release) judge.Final {
	var o helmv2.HelmRelease
	if err := w.onHub.Get(ctx, client.ObjectKey{Namespace: fleet, Name: r.title()}, &o); err != nil {
		return judge.Final{Ready: err.Error()}
	}
	f := judge.Final{Revision: o.Status.LastAttemptedRevision, Wrong: r.compare(ctx, chartVersion(w.source.count()))}
	f.Ready, _ = readyOf(&o, o.Status.Conditions)
	return f
}

// compare says what differs on the target from a version of the chart.
func (r *release) compare(ctx context.Context, version string) string {
	status, err := r.status(ctx)
	if err != nil {
		return err.Error()
	}
	if status != "deployed" {
		return "the newest record is " + status
	}
	name := client.ObjectKey{Namespace: r.key.name, Name: r.name}
	var config corev1.ConfigMap
	if err := r.key.admin.Get(ctx, name, &config); err != nil {
		return err.Error()
	}
	var deployment appsv1.Deployment
	if err := r.key.admin.Get(ctx, name, &deployment); err != nil {
		return err.Error()
	}
	image := deployment.Spec.Template.Spec.Containers[0].Image
	if config.Data["chart"] != version || image != "app:"+version {
		return fmt.Sprintf("configmap %s says %q, and the deployment %q, not %s", r.name, config.Data["chart"], image, version)
	}
	return ""
}

// delete deletes the HelmRelease, as a user does.
func (w *world) delete(ctx context.Context, r *release) error {
	r.mu.Lock()
	r.left = append(r.left, time.Now())
	r.mu.Unlock()
	if err := w.onHub.Delete(ctx, r.helmRelease(false)); err != nil {
		return fmt.Errorf("deleting HelmRelease %s: %w", r.title(), err)
	}
	return nil
}

// gone says whether there is nothing left of the HelmRelease.
func (w *world) gone(ctx context.Context, r *release) bool {
	return apierrors.IsNotFound(w.onHub.Get(ctx, client.ObjectKeyFromObject(r.helmRelease(false)), &helmv2.HelmRelease{}))
}

// setHook puts the hook into the release, or takes it out. It is an upgrade even
// where the hook is there already.
func (w *world) setHook(ctx context.Context, r *release, hook bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"values":{"hook":%t,"change":%d}}}`, hook, time.Now().UnixMilli())
	if err := w.onHub.Patch(ctx, r.helmRelease(hook), client.RawPatch("application/merge-patch+json", patch)); err != nil {
		return fmt.Errorf("changing the values of HelmRelease %s: %w", r.title(), err)
	}
	return nil
}

// owned says whether an object on the target is a release's.
func (k *key) owned(name string) bool {
	for _, r := range k.releases {
		if name == r.name || strings.HasPrefix(name, r.name+"-") {
			return true
		}
	}
	return false
}
