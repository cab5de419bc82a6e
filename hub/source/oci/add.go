package oci

import (
	ctrl "sigs.k8s.io/controller-runtime"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/hub/registry/signature"
	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/cloud"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Stored is Flux's message of an OCIRepository that is well.
const Stored = "stored artifact for digest '%s'"

// Controller keeps the artifacts of OCIRepositories.
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
	// Roots are the public Sigstore's; ones of its own when nil.
	Roots *signature.Roots
	// Fetcher reads the remotes; what it lacks gets the defaults.
	Fetcher Fetcher
}

// AddToManager adds the controller to the manager.
func (c *Controller) AddToManager(mgr ctrl.Manager) error {
	fetcher := &c.Fetcher
	fetcher.MaxTimeout = c.Pace.MaxTimeout
	if fetcher.Registries.Secrets == nil {
		fetcher.Registries.Secrets = mgr.GetAPIReader()
	}
	if fetcher.Registries.Transport == nil {
		fetcher.Registries.Transport = access.NewTransport()
	}
	if fetcher.Registries.Clouds == nil {
		fetcher.Registries.Clouds = cloud.Or(c.Clouds, mgr)
	}
	if fetcher.Signatures.Secrets == nil {
		fetcher.Signatures.Secrets = mgr.GetAPIReader()
	}
	if fetcher.Signatures.Public == nil {
		fetcher.Signatures.Public = c.Roots
	}
	if fetcher.Signatures.Public == nil {
		fetcher.Signatures.Public = &signature.Roots{}
	}
	reconciler := &source.Reconciler[*sourcev1.OCIRepository]{
		Fetcher: fetcher,
		Store:   c.Store,
		Events:  c.Events,
		Pace:    c.Pace,
		Stored:  Stored,
	}
	return reconciler.AddToManager(mgr)
}
