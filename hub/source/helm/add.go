package helm

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	ctrlreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/registry"
	"github.com/headwater-dev/headwater/hub/registry/signature"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/hub/source/helm/index"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Controller keeps the artifacts of HelmRepositories and HelmCharts.
type Controller struct {
	// Store keeps the artifacts, and holds those of the charts' sources.
	Store *artifact.Store
	// Events announces new artifacts and changes of Ready.
	Events *reconcile.Recorder
	// Pace is how hard it works, for each of the two kinds.
	Pace reconcile.Pace
	// Limits of indexes and charts.
	Limits Limits
	// CacheBytes bounds the memory of the indexes that are kept; 256 MiB when
	// zero. --helm-index-cache-size.
	CacheBytes int64
	// Clouds log in where a spec names a provider; logins that are not kept when
	// nil.
	Clouds *cloud.Logins
	// Roots are the public Sigstore's; ones of its own when nil.
	Roots *signature.Roots
}

// AddToManager adds the controllers of both kinds to the manager.
func (c *Controller) AddToManager(mgr ctrl.Manager) error {
	if c.CacheBytes == 0 {
		c.CacheBytes = defaultCache
	}
	if c.Roots == nil {
		c.Roots = &signature.Roots{}
	}
	indexes := index.NewCache(c.CacheBytes)
	transport, live := access.NewTransport(), mgr.GetAPIReader()
	repositories := &source.Reconciler[*sourcev1.HelmRepository]{
		Fetcher: NewRepositoryFetcher(RepositoryFetcher{
			Secrets: live, Transport: transport, Indexes: indexes, Limits: c.Limits, Scratch: c.Store.WorkDir, MaxTimeout: c.Pace.MaxTimeout,
		}),
		Store:  c.Store,
		Events: c.Events,
		Pace:   c.Pace,
		Stored: "stored artifact: revision '%s'",
		Wrap: func(next ctrlreconcile.Reconciler) ctrlreconcile.Reconciler {
			return &static{next: next, client: mgr.GetClient(), store: c.Store}
		},
	}
	if err := repositories.AddToManager(mgr); err != nil {
		return err
	}
	charts := &source.Reconciler[*sourcev1.HelmChart]{
		Fetcher: &ChartFetcher{
			Sources: mgr.GetClient(), Secrets: live, Transport: transport, Strangers: newStrangerTransport(),
			Registries: &registry.Opener{Secrets: live, Transport: transport, Clouds: cloud.Or(c.Clouds, mgr)},
			Signatures: signature.Verifier{Secrets: live, Public: c.Roots},
			Indexes:    indexes, Limits: c.Limits.orDefaults(), Store: c.Store, Scratch: c.Store.WorkDir, MaxTimeout: c.Pace.MaxTimeout,
		},
		Store:   c.Store,
		Events:  c.Events,
		Pace:    c.Pace,
		Watches: func(b *builder.Builder) { watchSources(b, mgr.GetClient()) },
	}
	return charts.AddToManager(mgr)
}

// watchSources wakes a chart when its source has another artifact, and when a
// registry, which has none, may be reached in another way.
func watchSources(b *builder.Builder, reader client.Client) {
	source.WatchSecrets(b, reader, &sourcev1.HelmRepository{}, func(ctx context.Context, user ctrl.Request) []ctrl.Request {
		var repo sourcev1.HelmRepository
		if err := reader.Get(ctx, user.NamespacedName, &repo); err != nil || repo.Spec.Type != sourcev1.HelmRepositoryTypeOCI {
			return nil
		}
		return chartsOf(ctx, reader, sourcev1.HelmRepositoryKind, &repo)
	})
	for kind, obj := range map[string]client.Object{
		sourcev1.HelmRepositoryKind: &sourcev1.HelmRepository{},
		sourcev1.GitRepositoryKind:  &sourcev1.GitRepository{},
		sourcev1.BucketKind:         &sourcev1.Bucket{},
	} {
		b.Watches(obj, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, changed client.Object) []ctrl.Request {
			return chartsOf(ctx, reader, kind, changed)
		}), builder.WithPredicates(predicate.Funcs{
			UpdateFunc: func(e event.UpdateEvent) bool { return otherArtifact(e.ObjectOld, e.ObjectNew) },
			DeleteFunc: func(event.DeleteEvent) bool { return false },
		}))
	}
}

// otherArtifact says whether charts of the source may come out differently. A
// registry has no artifact: there its spec is all.
func otherArtifact(before, after client.Object) bool {
	if repo, ok := after.(*sourcev1.HelmRepository); ok && repo.Spec.Type == sourcev1.HelmRepositoryTypeOCI {
		return before.GetGeneration() != after.GetGeneration()
	}
	older, ok := before.(source.Object)
	newer, also := after.(source.Object)
	return ok && also && !equality.Semantic.DeepEqual(older.GetArtifact(), newer.GetArtifact())
}

// chartsOf are the charts of a source.
func chartsOf(ctx context.Context, reader client.Reader, kind string, from client.Object) []ctrl.Request {
	var charts sourcev1.HelmChartList
	if err := reader.List(ctx, &charts, client.InNamespace(from.GetNamespace())); err != nil {
		log.FromContext(ctx).Error(err, "HelmCharts not listed: they will see the new artifact at their interval")
		return nil
	}
	var requests []ctrl.Request
	for i := range charts.Items {
		if ref := charts.Items[i].Spec.SourceRef; ref.Kind == kind && ref.Name == from.GetName() {
			requests = append(requests, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: from.GetNamespace(), Name: charts.Items[i].Name}})
		}
	}
	return requests
}
