package helm

import (
	"context"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/shard"
)

// The kinds of objects that a HelmRelease reads values from.
const (
	kindSecret    = "Secret"
	kindConfigMap = "ConfigMap"
)

// Indexes of the cached HelmReleases.
const (
	bySource     = "source"
	byTarget     = "target"
	byDependency = "dependency"
	byConfig     = "config"
	byRelease    = "release"
)

// index lets the cache find HelmReleases by what they refer to.
func index(indexer client.FieldIndexer) error {
	for field, values := range map[string]func(*helmv2.HelmRelease) []string{
		bySource: func(obj *helmv2.HelmRelease) []string {
			kind, name := sourceOf(obj)
			return []string{objectIndex(kind, name.Namespace, name.Name)}
		},
		byTarget:     func(obj *helmv2.HelmRelease) []string { return []string{keyOf(obj).String()} },
		byDependency: dependenciesOf,
		byConfig:     configsOf,
		byRelease:    func(obj *helmv2.HelmRelease) []string { return []string{claimOf(obj)} },
	} {
		err := indexer.IndexField(context.Background(), &helmv2.HelmRelease{}, field, func(obj client.Object) []string {
			own, ok := obj.(*helmv2.HelmRelease)
			if !ok {
				return nil
			}
			return values(own)
		})
		if err != nil {
			return fmt.Errorf("index HelmReleases by %s: %w", field, err)
		}
	}
	return nil
}

func objectIndex(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

func dependenciesOf(obj *helmv2.HelmRelease) []string {
	names := make([]string, 0, len(obj.Spec.DependsOn))
	for _, ref := range obj.Spec.DependsOn {
		names = append(names, dependency(obj, ref).String())
	}
	return names
}

// configsOf is the index of a HelmRelease by the ConfigMaps and Secrets that it
// reads.
func configsOf(obj *helmv2.HelmRelease) []string {
	var names []string
	for _, ref := range obj.Spec.ValuesFrom {
		names = append(names, objectIndex(ref.Kind, obj.Namespace, ref.Name))
	}
	if target := obj.Spec.KubeConfig; target != nil {
		if target.SecretRef != nil {
			names = append(names, objectIndex(kindSecret, obj.Namespace, target.SecretRef.Name))
		}
		if target.ConfigMapRef != nil {
			names = append(names, objectIndex(kindConfigMap, obj.Namespace, target.ConfigMapRef.Name))
		}
	}
	return names
}

// usersOf enqueues the HelmReleases whose chart an object of the kind is.
func (r *Reconciler) usersOf(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, src client.Object) []ctrl.Request {
		return r.users(ctx, bySource, objectIndex(kind, src.GetNamespace(), src.GetName()))
	})
}

// usersOfTarget are the HelmReleases on the cluster.
func (r *Reconciler) usersOfTarget(ctx context.Context, obj client.Object) []ctrl.Request {
	record, ok := obj.(*fleetv1.RemoteCluster)
	if !ok {
		return nil
	}
	var requests []ctrl.Request
	for _, key := range shard.KeysOf(record, record.Namespace) {
		requests = append(requests, r.users(ctx, byTarget, key.String())...)
	}
	return requests
}

// dependents enqueues the HelmReleases that wait for one.
func (r *Reconciler) dependents() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, dep client.Object) []ctrl.Request {
		return r.users(ctx, byDependency, client.ObjectKeyFromObject(dep).String())
	})
}

// readers enqueues the HelmReleases that read a ConfigMap or Secret.
func (r *Reconciler) readers(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, config client.Object) []ctrl.Request {
		return r.users(ctx, byConfig, objectIndex(kind, config.GetNamespace(), config.GetName()))
	})
}

func (r *Reconciler) users(ctx context.Context, field, value string) []ctrl.Request {
	var list helmv2.HelmReleaseList
	if err := r.Client.List(ctx, &list, client.MatchingFields{field: value}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list HelmReleases", "by", field, "value", value)
		return nil
	}
	requests := make([]ctrl.Request, 0, len(list.Items))
	for i := range list.Items {
		requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return requests
}

// newChart passes sources whose artifact is another than before, or counts now.
func newChart() predicate.Predicate {
	revision := func(obj client.Object) string {
		made, _ := artifactOf(obj)
		if made == nil {
			return ""
		}
		return made.Revision + " " + made.Digest
	}
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			after := revision(e.ObjectNew)
			return after != "" && revision(e.ObjectOld) != after
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// becameReady passes HelmReleases that others may go on after.
func becameReady() predicate.Predicate {
	ready := func(obj client.Object) bool {
		own, ok := obj.(*helmv2.HelmRelease)
		return ok && own.Generation == own.Status.ObservedGeneration &&
			apimeta.IsStatusConditionTrue(own.Status.Conditions, meta.ReadyCondition)
	}
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return ready(e.ObjectNew) && !ready(e.ObjectOld) },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// watched passes changes of the ConfigMaps and Secrets that carry the label.
func watched(selector labels.Selector) predicate.Predicate {
	has := func(obj client.Object) bool { return selector.Matches(labels.Set(obj.GetLabels())) }
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList && has(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return has(e.ObjectNew) && e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion()
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// connectionChanged passes clusters whose connection has come up or gone down.
func connectionChanged() predicate.Predicate {
	connected := func(obj client.Object) bool {
		record, ok := obj.(*fleetv1.RemoteCluster)
		return ok && apimeta.IsStatusConditionTrue(record.Status.Conditions, fleetv1.ConnectedCondition)
	}
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return connected(e.ObjectOld) != connected(e.ObjectNew) },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}
