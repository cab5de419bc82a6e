package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/shard"
)

// fieldManager of the writes.
const fieldManager = "headwater-fleet"

// Reconciler keeps the RemoteClusters of one namespace at a time; a request
// names the namespace.
type Reconciler struct {
	// Client reads from the cache and writes; the manager's when nil.
	Client client.Client
	// Namespace is the system namespace, in which the hub has its
	// RemoteCluster.
	Namespace string

	// clusterAPI knows the Clusters of Cluster API; nil where there are none.
	clusterAPI *clusterAPI
}

// Reconcile brings the RemoteClusters of a namespace in line with what refers
// to them.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	s, err := r.look(ctx, request.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	c, err := plan(s)
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.apply(ctx, c)
}

// look reads what there is in the namespace.
func (r *Reconciler) look(ctx context.Context, namespace string) (state, error) {
	s := state{
		namespace: namespace, system: r.Namespace,
		used: map[shard.Key]bool{}, labelled: map[shard.Key]map[string]string{},
	}
	var kustomizations kustomizev1.KustomizationList
	if err := r.Client.List(ctx, &kustomizations, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return s, fmt.Errorf("list the Kustomizations in %s: %w", namespace, err)
	}
	for i := range kustomizations.Items {
		s.use(&kustomizations.Items[i])
	}
	var releases helmv2.HelmReleaseList
	if err := r.Client.List(ctx, &releases, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return s, fmt.Errorf("list the HelmReleases in %s: %w", namespace, err)
	}
	for i := range releases.Items {
		s.use(&releases.Items[i])
	}
	secrets := metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := r.Client.List(ctx, &secrets, client.InNamespace(namespace), client.MatchingLabels{meta.ClusterLabel: "true"}); err != nil {
		return s, fmt.Errorf("list the Secrets of clusters in %s: %w", namespace, err)
	}
	for _, secret := range secrets.Items {
		ref := &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: secret.Name}}
		s.labelled[shard.KeyFor(namespace, secret.Name, ref)] = secret.Labels
	}
	if r.clusterAPI != nil {
		found, known, err := r.clusterAPI.list(namespace)
		if err != nil {
			return s, err
		}
		s.declared, s.undecided = found, !known
	}
	var clusters fleetv1.RemoteClusterList
	if err := r.Client.List(ctx, &clusters, client.InNamespace(namespace)); err != nil {
		return s, fmt.Errorf("list the RemoteClusters in %s: %w", namespace, err)
	}
	s.clusters = clusters.Items
	return s, nil
}

// apply does what was planned. One change that fails does not keep the others
// from being made.
func (r *Reconciler) apply(ctx context.Context, c changes) error {
	var failed []error
	for _, cluster := range c.create {
		err := r.Client.Create(ctx, cluster, client.FieldOwner(fieldManager))
		failed = append(failed, done(ctx, "made a RemoteCluster", cluster, err))
	}
	for _, change := range c.relabel {
		err := r.relabel(ctx, change)
		failed = append(failed, done(ctx, "copied the labels of the Secret or Cluster", change.cluster, err))
	}
	for _, cluster := range c.remove {
		err := r.Client.Delete(ctx, cluster, client.Preconditions{UID: &cluster.UID, ResourceVersion: &cluster.ResourceVersion})
		failed = append(failed, done(ctx, "removed a RemoteCluster that nothing refers to", cluster, client.IgnoreNotFound(err)))
	}
	return errors.Join(failed...)
}

func done(ctx context.Context, what string, cluster *fleetv1.RemoteCluster, err error) error {
	name := client.ObjectKeyFromObject(cluster).String()
	switch {
	case err == nil:
		log.FromContext(ctx).Info(what, "remoteCluster", name)
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	default:
		return fmt.Errorf("remote cluster %s: %w", name, err)
	}
}

// relabel patches labels and the list of those that were copied.
func (r *Reconciler) relabel(ctx context.Context, change relabel) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":             change.cluster.UID,
		"resourceVersion": change.cluster.ResourceVersion,
		"labels":          change.labels,
		"annotations":     map[string]*string{copiedAnnotation: change.copied},
	}})
	if err != nil {
		return err
	}
	patched := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: change.cluster.Namespace, Name: change.cluster.Name}}
	patched.SetGroupVersionKind(fleetv1.GroupVersion.WithKind(fleetv1.RemoteClusterKind))
	return r.Client.Patch(ctx, patched, client.RawPatch(types.MergePatchType, body), client.FieldOwner(fieldManager))
}

// use notes the targets that an object is for.
func (s *state) use(obj client.Object) {
	for _, key := range keysOf(obj) {
		if !key.IsHub() {
			s.used[key] = true
		}
	}
}

// keysOf are the targets that an object is for, none for other kinds: that of its
// spec, and of a Kustomization the one where its objects are until they have moved.
func keysOf(obj client.Object) []shard.Key {
	switch o := obj.(type) {
	case *kustomizev1.Kustomization:
		return []shard.Key{
			shard.CurrentKey(o.Namespace, o.Name, o.Spec.KubeConfig, o.Status.Target),
			shard.KeyFor(o.Namespace, o.Name, o.Spec.KubeConfig),
		}
	case *helmv2.HelmRelease:
		return []shard.Key{shard.KeyFor(o.Namespace, o.Name, o.Spec.KubeConfig)}
	}
	return nil
}
