package bucket

import (
	ctrl "sigs.k8s.io/controller-runtime"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Stored is Flux's message of a Bucket that is well.
const Stored = "stored artifact: revision '%s'"

// Controller keeps the artifacts of Buckets.
type Controller struct {
	// Store keeps the artifacts.
	Store *artifact.Store
	// Events announces new artifacts and changes of Ready.
	Events *reconcile.Recorder
	// Pace is how hard it works.
	Pace reconcile.Pace
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
	if fetcher.Secrets == nil {
		fetcher.Secrets = mgr.GetAPIReader()
	}
	if fetcher.Transport == nil {
		fetcher.Transport = access.NewTransport()
	}
	if fetcher.Clouds == nil {
		fetcher.Clouds = cloud.Or(c.Clouds, mgr)
	}
	if err := fetcher.Reuse(c.Store); err != nil {
		return err
	}
	reconciler := &source.Reconciler[*sourcev1.Bucket]{
		Fetcher: &fetcher,
		Store:   c.Store,
		Events:  c.Events,
		Pace:    c.Pace,
		Stored:  Stored,
	}
	return reconciler.AddToManager(mgr)
}
