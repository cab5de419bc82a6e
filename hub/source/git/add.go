package git

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/git"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Controller keeps the artifacts of GitRepositories.
type Controller struct {
	// Store keeps the artifacts.
	Store *artifact.Store
	// Events announces new artifacts and changes of Ready.
	Events *reconcile.Recorder
	// Pace is how hard it works.
	Pace reconcile.Pace
	// SSH limits what ssh may use.
	SSH git.Algorithms
	// Clouds log in where a spec names a provider; logins that are not kept when
	// nil.
	Clouds *cloud.Logins
	// Fetcher reads the remotes; what it lacks gets the defaults.
	Fetcher Fetcher
}

// AddToManager adds the controller to the manager.
func (c *Controller) AddToManager(mgr ctrl.Manager) error {
	fetcher := c.Fetcher
	fetcher.MaxTimeout = c.Pace.MaxTimeout
	if fetcher.Remotes == nil {
		fetcher.Remotes = &git.Opener{Secrets: mgr.GetAPIReader(), Transport: access.NewTransport(), SSH: c.SSH, Clouds: cloud.Or(c.Clouds, mgr)}
	}
	if fetcher.Client == nil {
		fetcher.Client = mgr.GetClient()
	}
	if fetcher.Store == nil {
		fetcher.Store = c.Store
	}
	reconciler := &source.Reconciler[*sourcev1.GitRepository]{
		Fetcher: &fetcher,
		Store:   c.Store,
		Events:  c.Events,
		Pace:    c.Pace,
		Watches: func(b *builder.Builder) { watchIncluded(b, mgr.GetClient()) },
	}
	return reconciler.AddToManager(mgr)
}

// watchIncluded wakes those that include a repository when that has another
// artifact.
func watchIncluded(b *builder.Builder, reader client.Reader) {
	b.Watches(&sourcev1.GitRepository{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, included client.Object) []ctrl.Request {
		return includersOf(ctx, reader, included)
	}), builder.WithPredicates(predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return otherArtifact(e.ObjectOld, e.ObjectNew) },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}))
}

func otherArtifact(before, after client.Object) bool {
	older, ok := before.(*sourcev1.GitRepository)
	newer, also := after.(*sourcev1.GitRepository)
	return ok && also && newer.Status.Artifact != nil && !equality.Semantic.DeepEqual(older.Status.Artifact, newer.Status.Artifact)
}

// includersOf are those that include the repository.
func includersOf(ctx context.Context, reader client.Reader, included client.Object) []ctrl.Request {
	var all sourcev1.GitRepositoryList
	if err := reader.List(ctx, &all, client.InNamespace(included.GetNamespace())); err != nil {
		log.FromContext(ctx).Error(err, "GitRepositories not listed: they will see the new artifact at their interval")
		return nil
	}
	var requests []ctrl.Request
	for i := range all.Items {
		if slices.ContainsFunc(all.Items[i].Spec.Include, func(include sourcev1.GitRepositoryInclude) bool {
			return include.GitRepositoryRef.Name == included.GetName()
		}) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
		}
	}
	return requests
}
