package git

import (
	ctrl "sigs.k8s.io/controller-runtime"

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
	Pace source.Pace
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
	}
	return reconciler.AddToManager(mgr)
}
