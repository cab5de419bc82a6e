package kustomize

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/headwater-dev/headwater/agent/expr"
	"github.com/headwater-dev/headwater/agent/wake"
	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
	"github.com/headwater-dev/headwater/shard/guard"
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
	users := r.users()
	if err := users.Add(mgr.GetFieldIndexer(), &kustomizev1.Kustomization{}); err != nil {
		return err
	}
	controllers := ctrl.NewControllerManagedBy(mgr)
	if r.Options.ExternalArtifacts {
		controllers = controllers.Watches(&sourcev1.ExternalArtifact{}, users.OfSource(sourcev1.ExternalArtifactKind), builder.WithPredicates(newArtifact()))
	}
	return controllers.
		Named("kustomization").
		For(&kustomizev1.Kustomization{}, builder.WithPredicates(reconcile.Changed())).
		Watches(&sourcev1.GitRepository{}, users.OfSource(sourcev1.GitRepositoryKind), builder.WithPredicates(newArtifact())).
		Watches(&sourcev1.OCIRepository{}, users.OfSource(sourcev1.OCIRepositoryKind), builder.WithPredicates(newArtifact())).
		Watches(&sourcev1.Bucket{}, users.OfSource(sourcev1.BucketKind), builder.WithPredicates(newArtifact())).
		Watches(&kustomizev1.Kustomization{}, users.OfDependency(), builder.WithPredicates(wake.BecameReady(state))).
		Watches(&corev1.ConfigMap{}, users.OfConfig(kindConfigMap), builder.OnlyMetadata, builder.WithPredicates(wake.ConfigChanged(r.Options.WatchConfigs))).
		Watches(&corev1.Secret{}, users.OfConfig(kindSecret), builder.OnlyMetadata, builder.WithPredicates(wake.ConfigChanged(r.Options.WatchConfigs))).
		Watches(&fleetv1.RemoteCluster{}, users.OfTarget(), builder.WithPredicates(wake.ConnectionChanged())).
		WatchesRawSource(r.memories.wakes()).
		WithOptions(r.Targets.Options(r.keyOfRequest)).
		Complete(&guard.Reconciler[*kustomizev1.Kustomization]{
			Reader: r.Client,
			Keeper: wake.Routed{Keeper: r.Targets},
			New:    func() *kustomizev1.Kustomization { return &kustomizev1.Kustomization{} },
			Key:    keyOf,
			Meter:  r.Meter,
			Next: &reconcile.Loop[*kustomizev1.Kustomization]{
				Client:   r.Client,
				Status:   r.status,
				Kind:     r,
				Events:   r.Events,
				Revision: r.readyMetadata,
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
	r.memories.waits = &r.waits
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
	if err := r.Client.Get(context.Background(), request.NamespacedName, &obj, client.UnsafeDisableDeepCopy); err != nil {
		return shard.Key{}
	}
	return keyOf(&obj)
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
