package helm

import (
	"context"

	lru "github.com/hashicorp/golang-lru/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/headwater-dev/headwater/agent/expr"
	"github.com/headwater-dev/headwater/agent/wake"
	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
	"github.com/headwater-dev/headwater/shard/guard"
)

// statusManager owns the status and the finalizer.
const statusManager = "gotk-helm-controller"

// AddToManager starts the controller. It runs on changes of HelmReleases, of
// their charts, when an action has ended, and when a target is connected again.
func (r *Reconciler) AddToManager(mgr ctrl.Manager) error {
	if err := r.setDefaults(mgr); err != nil {
		return err
	}
	r.status = &reconcile.Status{
		Client:     r.Client,
		Live:       r.Live,
		FieldOwner: statusManager,
		Owns: func(obj client.Object) bool {
			own, ok := obj.(*helmv2.HelmRelease)
			return ok && r.Targets.MayWrite(keyOf(own))
		},
	}
	users := r.users()
	if err := users.Add(mgr.GetFieldIndexer(), &helmv2.HelmRelease{}); err != nil {
		return err
	}
	if err := addClaims(mgr.GetFieldIndexer()); err != nil {
		return err
	}
	controllers := ctrl.NewControllerManagedBy(mgr)
	if r.Options.ExternalArtifacts {
		controllers = controllers.Watches(&sourcev1.ExternalArtifact{}, users.OfSource(sourcev1.ExternalArtifactKind), builder.WithPredicates(newChart()))
	}
	return controllers.
		Named("helmrelease").
		For(&helmv2.HelmRelease{}, builder.WithPredicates(reconcile.Changed())).
		Watches(&sourcev1.HelmChart{}, users.OfSource(sourcev1.HelmChartKind), builder.WithPredicates(newChart())).
		Watches(&sourcev1.OCIRepository{}, users.OfSource(sourcev1.OCIRepositoryKind), builder.WithPredicates(newChart())).
		Watches(&helmv2.HelmRelease{}, users.OfDependency(), builder.WithPredicates(wake.BecameReady(ready))).
		Watches(&corev1.ConfigMap{}, users.OfConfig(kindConfigMap), builder.OnlyMetadata, builder.WithPredicates(wake.ConfigChanged(r.Options.WatchConfigs))).
		Watches(&corev1.Secret{}, users.OfConfig(kindSecret), builder.OnlyMetadata, builder.WithPredicates(wake.ConfigChanged(r.Options.WatchConfigs))).
		Watches(&fleetv1.RemoteCluster{}, users.OfTarget(), builder.WithPredicates(wake.ConnectionChanged())).
		WatchesRawSource(r.memories.wakes()).
		WatchesRawSource(source.Channel(r.runs.wake, &handler.EnqueueRequestForObject{})).
		WithOptions(r.Targets.Options(r.keyOfRequest)).
		Complete(&guard.Reconciler[*helmv2.HelmRelease]{
			Reader: r.Client,
			Keeper: wake.Routed{Keeper: r.Targets},
			New:    func() *helmv2.HelmRelease { return &helmv2.HelmRelease{} },
			Key:    keyOf,
			Meter:  r.Meter,
			Next: &reconcile.Loop[*helmv2.HelmRelease]{
				Client:   r.Client,
				Status:   r.status,
				Kind:     r,
				Events:   r.Events,
				Revision: eventMetadata,
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
	r.runs, r.places, r.discoveries, r.memories = newRuns(r.Options.Retries), newPlaces(r.Options.PerCluster, r.Options.AtOnce), newDiscoveries(r.Targets.MayWrite), newMemories(r.Clock, r.Options.Retries)
	if r.configs, err = lru.New[compositionKey, string](rememberedConfigs); err != nil {
		return err
	}
	if r.charts, err = newCharts(r.Artifacts, r.Options.IgnoreChartDigest); err != nil {
		return err
	}
	r.expressions, err = expr.NewCompiler()
	return err
}

// keyOfRequest is the key of the object that is asked for; no target's when it
// is gone.
func (r *Reconciler) keyOfRequest(request ctrl.Request) shard.Key {
	var obj helmv2.HelmRelease
	if err := r.Client.Get(context.Background(), request.NamespacedName, &obj); err != nil {
		return shard.Key{}
	}
	return keyOf(&obj)
}
