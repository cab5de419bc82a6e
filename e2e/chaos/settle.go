package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/e2e/chaos/judge"
)

const (
	// patience ends a run in which a target never comes right.
	patience = 3 * time.Minute
	look     = 300 * time.Millisecond
)

// errUnsettled says that a target never came right; the judge says the rest.
var errUnsettled = errors.New("not every target came right")

// settle waits until each target has been Ready at a commit that was made after
// now.
func (w *world) settle(ctx context.Context) error {
	return w.await(ctx, w.source.count()+1)
}

// await waits until each target has been Ready at the n-th commit or a later one.
func (w *world) await(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	waiting := map[string]string{}
	for _, k := range w.keys {
		waiting[k.name] = "nothing is known of it"
	}
	for _, r := range w.releases {
		waiting[r.title()] = "nothing is known of it"
	}
	count := len(waiting)
	err := wait.PollUntilContextCancel(ctx, look, true, func(ctx context.Context) (bool, error) {
		// The hub may be down; it is asked again.
		_ = w.lookAtKustomizations(ctx, waiting, n)
		_ = w.lookAtReleases(ctx, waiting, n)
		return len(waiting) == 0, nil
	})
	if err == nil {
		return nil
	}
	var lines []string
	for name, why := range waiting {
		lines = append(lines, name+": "+why)
	}
	slices.Sort(lines)
	return fmt.Errorf("%w: of %d, %d have not been Ready at commit %d within %s: %s",
		errUnsettled, count, len(lines), n, patience, strings.Join(lines[:min(len(lines), 5)], "; "))
}

// lookAtKustomizations takes those out that are Ready at the n-th commit, and
// notes why the others are not.
func (w *world) lookAtKustomizations(ctx context.Context, waiting map[string]string, n int) error {
	var all kustomizev1.KustomizationList
	if err := w.onHub.List(ctx, &all, client.InNamespace(fleet)); err != nil {
		return err
	}
	for i := range all.Items {
		o := &all.Items[i]
		status, message := readyOf(o, o.Status.Conditions)
		number := w.source.Number(o.Status.LastAppliedRevision)
		if status == string(metav1.ConditionTrue) && number >= n {
			delete(waiting, o.Name)
		} else if _, open := waiting[o.Name]; open {
			waiting[o.Name] = fmt.Sprintf("Ready %s at commit %d: %s", status, number, message)
		}
	}
	return nil
}

// lookAtReleases does the same with HelmReleases, and the chart in that commit.
func (w *world) lookAtReleases(ctx context.Context, waiting map[string]string, n int) error {
	var all helmv2.HelmReleaseList
	if err := w.onHub.List(ctx, &all, client.InNamespace(fleet)); err != nil {
		return err
	}
	for i := range all.Items {
		o := &all.Items[i]
		status, message := readyOf(o, o.Status.Conditions)
		version := o.Status.LastAttemptedRevision
		if status == string(metav1.ConditionTrue) && chartNumber(version) >= chartNumber(chartVersion(n)) {
			delete(waiting, o.Name)
		} else if _, open := waiting[o.Name]; open {
			waiting[o.Name] = fmt.Sprintf("Ready %s at chart %s: %s", status, version, message)
		}
	}
	return nil
}

func readyOf(o client.Object, conditions []metav1.Condition) (status, message string) {
	ready := apimeta.FindStatusCondition(conditions, "Ready")
	if ready == nil || ready.ObservedGeneration != o.GetGeneration() {
		return "", ""
	}
	return string(ready.Status), ready.Message
}

// final looks at what the run has left.
func (w *world) final(ctx context.Context, k *key) judge.Final {
	var o kustomizev1.Kustomization
	if err := w.onHub.Get(ctx, client.ObjectKey{Namespace: fleet, Name: k.name}, &o); err != nil {
		return judge.Final{Ready: err.Error()}
	}
	f := judge.Final{Revision: o.Status.LastAppliedRevision}
	f.Ready, _ = readyOf(&o, o.Status.Conditions)
	f.Wrong = k.compare(ctx, w.source.count())
	return f
}

// compare says what differs on the target from the n-th commit.
func (k *key) compare(ctx context.Context, n int) string {
	var found corev1.ConfigMapList
	if err := k.admin.List(ctx, &found, client.InNamespace(k.name)); err != nil {
		return err.Error()
	}
	have := map[string]string{}
	for _, o := range found.Items {
		if !k.owned(o.Name) {
			have[o.Name] = o.Data["commit"]
		}
	}
	delete(have, "kube-root-ca.crt")
	for _, name := range objectsOf(n) {
		if have[name] != fmt.Sprint(n) {
			return fmt.Sprintf("configmap %s says %q, not %d", name, have[name], n)
		}
		delete(have, name)
	}
	for name := range have {
		return "configmap " + name + " is still there"
	}
	return ""
}

// owners is what the record says. Faults choose by it whom to hit; nothing is
// judged by it.
func (w *world) owners(ctx context.Context) (map[string]string, error) {
	var records fleetv1.RemoteClusterList
	if err := w.onHub.List(ctx, &records, client.InNamespace(fleet)); err != nil {
		return nil, err
	}
	owners := map[string]string{}
	for _, record := range records.Items {
		if ref := record.Spec.KubeConfig; ref != nil && ref.SecretRef != nil {
			owners[ref.SecretRef.Name] = record.Status.Agent
		}
	}
	return owners, nil
}

// ownedBy lists the targets of an agent.
func (w *world) ownedBy(ctx context.Context, agent string) ([]*key, error) {
	owners, err := w.owners(ctx)
	if err != nil {
		return nil, err
	}
	var keys []*key
	for _, k := range w.keys {
		if owners[k.name] == agent {
			keys = append(keys, k)
		}
	}
	return keys, nil
}
