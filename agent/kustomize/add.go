package kustomize

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/headwater-dev/headwater/agent/expr"
	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
	"github.com/headwater-dev/headwater/shard/guard"
)

const (
	// routedRetry is how soon an object is looked at again that is routed here
	// while its key is not ours: the label may be ahead of the record.
	routedRetry = 2 * time.Second

	// Indexes of the cached Kustomizations.
	bySource     = "source"
	byTarget     = "target"
	byDependency = "dependency"
	byConfig     = "config"
)

// AddToManager starts the controller. It runs on changes of Kustomizations,
// of the artifacts of their sources, and when a target is connected again.
func (r *Reconciler) AddToManager(mgr ctrl.Manager) error {
	if err := r.setDefaults(mgr); err != nil {
		return err
	}
	r.status = &reconcile.Status{
		Client:     r.Client,
		Live:       r.Live,
		FieldOwner: statusManager,
		Owns: func(obj client.Object) bool {
			own, ok := obj.(*kustomizev1.Kustomization)
			return ok && r.Targets.MayWrite(keyOf(own))
		},
	}
	if err := index(mgr.GetFieldIndexer()); err != nil {
		return err
	}
	controllers := ctrl.NewControllerManagedBy(mgr)
	if r.Options.ExternalArtifacts {
		controllers = controllers.Watches(&sourcev1.ExternalArtifact{}, r.usersOf(sourcev1.ExternalArtifactKind), builder.WithPredicates(newArtifact()))
	}
	return controllers.
		Named("kustomization").
		For(&kustomizev1.Kustomization{}, builder.WithPredicates(reconcile.Changed())).
		Watches(&sourcev1.GitRepository{}, r.usersOf(sourcev1.GitRepositoryKind), builder.WithPredicates(newArtifact())).
		Watches(&sourcev1.OCIRepository{}, r.usersOf(sourcev1.OCIRepositoryKind), builder.WithPredicates(newArtifact())).
		Watches(&sourcev1.Bucket{}, r.usersOf(sourcev1.BucketKind), builder.WithPredicates(newArtifact())).
		Watches(&kustomizev1.Kustomization{}, r.dependents(), builder.WithPredicates(becameReady())).
		Watches(&corev1.ConfigMap{}, r.readers(kindConfigMap), builder.OnlyMetadata, builder.WithPredicates(watched(r.Options.WatchConfigs))).
		Watches(&corev1.Secret{}, r.readers(kindSecret), builder.OnlyMetadata, builder.WithPredicates(watched(r.Options.WatchConfigs))).
		Watches(&fleetv1.RemoteCluster{}, handler.EnqueueRequestsFromMapFunc(r.usersOfTarget), builder.WithPredicates(connectionChanged())).
		WatchesRawSource(r.memories.wakes()).
		WithOptions(r.Targets.Options(r.keyOfRequest)).
		Complete(&guard.Reconciler[*kustomizev1.Kustomization]{
			Reader: r.Client,
			Keeper: routed{r.Targets},
			New:    func() *kustomizev1.Kustomization { return &kustomizev1.Kustomization{} },
			Key:    keyOf,
			Meter:  r.Meter,
			Next: &reconcile.Loop[*kustomizev1.Kustomization]{
				Client:   r.Client,
				Status:   r.status,
				Kind:     r,
				Events:   r.Events,
				Revision: readyMetadata,
			},
		})
}

// setDefaults fills in what is nil, and makes what the options say.
func (r *Reconciler) setDefaults(mgr ctrl.Manager) (err error) {
	if r.Client == nil {
		r.Client = mgr.GetClient()
	}
	if r.Sources == nil {
		r.Sources = r.Client
	}
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	r.Options.setDefaults()
	if err := r.addRenderer(); err != nil {
		return err
	}
	if r.expressions, err = expr.NewCompiler(); err != nil {
		return err
	}
	r.early, err = r.Drift.kinds()
	return err
}

// keyOfRequest is the key of the object that is asked for; no target's when it
// is gone.
func (r *Reconciler) keyOfRequest(request ctrl.Request) shard.Key {
	var obj kustomizev1.Kustomization
	if err := r.Client.Get(context.Background(), request.NamespacedName, &obj); err != nil {
		return shard.Key{}
	}
	return keyOf(&obj)
}

// routed is the keeper for objects that placement has labelled for this agent:
// those whose key it does not own yet are asked for again.
type routed struct{ Targets }

// Admit is that of the targets, and never says not at all.
func (r routed) Admit(key shard.Key) (end func(), after time.Duration) {
	end, after = r.Targets.Admit(key)
	if end == nil && after == 0 {
		after = routedRetry
	}
	return end, after
}

// index lets the cache find Kustomizations by what they refer to.
func index(indexer client.FieldIndexer) error {
	for field, values := range map[string]func(*kustomizev1.Kustomization) []string{
		bySource: func(obj *kustomizev1.Kustomization) []string {
			return []string{sourceIndex(obj.Spec.SourceRef.Kind, obj.SourceNamespace(), obj.Spec.SourceRef.Name)}
		},
		byTarget:     func(obj *kustomizev1.Kustomization) []string { return []string{keyOf(obj).String()} },
		byDependency: dependenciesOf,
		byConfig:     configsOf,
	} {
		err := indexer.IndexField(context.Background(), &kustomizev1.Kustomization{}, field, func(obj client.Object) []string {
			own, ok := obj.(*kustomizev1.Kustomization)
			if !ok {
				return nil
			}
			return values(own)
		})
		if err != nil {
			return fmt.Errorf("index Kustomizations by %s: %w", field, err)
		}
	}
	return nil
}

func sourceIndex(kind, namespace, name string) string {
	return kind + "/" + namespace + "/" + name
}

// usersOf enqueues the Kustomizations that apply a source of the kind.
func (r *Reconciler) usersOf(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, src client.Object) []ctrl.Request {
		return r.users(ctx, bySource, sourceIndex(kind, src.GetNamespace(), src.GetName()))
	})
}

// usersOfTarget are the Kustomizations that apply to the cluster.
func (r *Reconciler) usersOfTarget(ctx context.Context, obj client.Object) []ctrl.Request {
	record, ok := obj.(*fleetv1.RemoteCluster)
	if !ok {
		return nil
	}
	var requests []ctrl.Request
	// Whether it holds the record of these keys makes no difference here.
	for _, key := range shard.KeysOf(record, record.Namespace) {
		requests = append(requests, r.users(ctx, byTarget, key.String())...)
	}
	return requests
}

func (r *Reconciler) users(ctx context.Context, field, value string) []ctrl.Request {
	var list kustomizev1.KustomizationList
	if err := r.Client.List(ctx, &list, client.MatchingFields{field: value}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list Kustomizations", "by", field, "value", value)
		return nil
	}
	requests := make([]ctrl.Request, 0, len(list.Items))
	for i := range list.Items {
		requests = append(requests, ctrl.Request{NamespacedName: types.NamespacedName{
			Namespace: list.Items[i].Namespace, Name: list.Items[i].Name,
		}})
	}
	return requests
}

// newArtifact passes sources that have made something else than before.
func newArtifact() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(artifactSource)
			after, alsoOK := e.ObjectNew.(artifactSource)
			if !ok || !alsoOK || after.GetArtifact() == nil {
				return false
			}
			return before.GetArtifact() == nil || usable(before) != usable(after) ||
				before.GetArtifact().Revision != after.GetArtifact().Revision ||
				before.GetArtifact().Digest != after.GetArtifact().Digest
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// connectionChanged passes clusters whose connection has come up or gone down:
// their objects say so, and go on where they were.
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
