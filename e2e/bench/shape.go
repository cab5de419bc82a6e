package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/stack"
)

// shape is how the Kustomizations are spread.
type shape struct {
	about string
	// planes is how many API servers the targets are on.
	planes int
	// own has every Kustomization in a namespace of its own, with a kubeconfig
	// and a ServiceAccount of its own, and all of them at one path; with
	// -targets there are as many of those, which all have the same paths.
	own bool
	// sources has a GitRepository for each Kustomization.
	sources bool
	// helm has HelmReleases in the place of Kustomizations.
	helm bool
	// interval of the Kustomizations.
	interval time.Duration
}

func shapes() map[string]shape {
	return map[string]shape{
		"apply":   {about: "on one cluster, of one source", planes: 1, interval: time.Hour},
		"sources": {about: "on one cluster, each of a source of its own", planes: 1, sources: true, interval: time.Hour},
		"helm":    {about: "each of podinfo and with a kubeconfig of its own, or of as many as -targets says, on two API servers", planes: 2, own: true, helm: true, interval: time.Minute},
		"fleet":   {about: "of one source, each with a kubeconfig of its own, or with as many as -targets says, on two API servers", planes: 2, own: true, interval: time.Minute},
	}
}

func shapeNames() []string { return slices.Sorted(maps.Keys(shapes())) }

// site is where Kustomizations are applied: one kubeconfig.
type site struct {
	// hub is the namespace of the Kustomization and of the kubeconfig Secret.
	hub string
	// floor and product are the namespaces on the target.
	floor, product string
	admin          client.Client
	// client has the credentials of the kubeconfig, for the floor.
	client client.Client
	// warm is the client of the Helm SDK, for the floor of HelmReleases.
	warm *warmClient
	// kubeconfig is the content of the Secret.
	kubeconfig []byte
}

// count is how many sites there are of their own.
func (w *world) count() int {
	if w.shape.own && w.fleet.Targets > 0 {
		return w.fleet.Targets
	}
	return w.kustomizations
}

// site of the i-th Kustomization.
func (w *world) site(i int) *site { return w.sites[i%len(w.sites)] }

// app is the application that the i-th Kustomization applies: where each has a
// site of its own, all the same.
func (w *world) app(i int) int {
	if w.shape.own {
		return i / w.count()
	}
	return i
}

// apps is how many there are in the repository.
func (w *world) apps() int {
	if w.shape.own {
		return w.app(w.kustomizations-1) + 1
	}
	return w.kustomizations
}

func (w *world) sourceName(i int) string {
	if w.shape.sources {
		return appName(i)
	}
	return "bench"
}

func appName(i int) string { return fmt.Sprintf("app-%03d", i) }

func (w *world) kustomization(i int) *kustomizev1.Kustomization {
	k := &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.site(i).hub, Name: appName(w.app(i))},
		Spec: kustomizev1.KustomizationSpec{
			Interval:   metav1.Duration{Duration: w.shape.interval},
			SourceRef:  kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Namespace: stack.Namespace, Name: w.sourceName(i)},
			Path:       "./apps/" + appName(w.app(i)),
			Prune:      true,
			KubeConfig: &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: kubeconfigName}},
		},
	}
	if w.shape.own {
		k.Spec.TargetNamespace = w.site(i).product
	}
	return k
}

func (w *world) gitRepository(name string) *sourcev1.GitRepository {
	return &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: name},
		Spec: sourcev1.GitRepositorySpec{
			URL:       w.repository.URL,
			Interval:  metav1.Duration{Duration: time.Hour},
			Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		},
	}
}
