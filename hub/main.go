// Command hub keeps the sources' artifacts and decides which agent acts for
// which target cluster.
package main

import (
	"context"
	"slices"

	"github.com/headwater-dev/headwater/hub/fleet"
	"github.com/headwater-dev/headwater/hub/image"
	"github.com/headwater-dev/headwater/hub/image/automation"
	"github.com/headwater-dev/headwater/hub/image/policy"
	"github.com/headwater-dev/headwater/hub/image/repository"
	"github.com/headwater-dev/headwater/hub/install"
	"github.com/headwater-dev/headwater/hub/placement"
	"github.com/headwater-dev/headwater/hub/registry/signature"
	"github.com/headwater-dev/headwater/hub/source/bucket"
	"github.com/headwater-dev/headwater/hub/source/git"
	"github.com/headwater-dev/headwater/hub/source/helm"
	"github.com/headwater-dev/headwater/hub/source/oci"
	"github.com/headwater-dev/headwater/hub/why"
	"github.com/headwater-dev/headwater/internal/app"
	"github.com/headwater-dev/headwater/internal/artifact"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// leastImages is how many objects of each image kind and of one namespace are worked on
// at once, at least.
const leastImages = 4

func main() {
	var o options
	app.Run(app.Program{
		Name:           "hub",
		About:          "The hub fetches the sources, keeps and serves their artifacts, knows the fleet of\ntarget clusters, and decides which agent acts for which of them.",
		Scheme:         scheme(),
		LeaderElection: true,
		Commands:       slices.Concat(why.Commands(), install.Commands(), automation.Commands()),
		Flags:          o.bind,
		Cache:          o.cache,
		Setup:          o.setUp,
	})
}

// setUp is the table of contents.
func (o *options) setUp(_ context.Context, a *app.App) error {
	if err := o.ssh.Check(); err != nil {
		return err
	}
	store, err := artifact.NewStore(o.store)
	if err != nil {
		return err
	}
	tags, err := image.OpenTags(o.imageTags)
	if err != nil {
		return err
	}
	pace := reconcile.Pace{Concurrent: o.concurrent, MinRetryDelay: o.minRetry, MaxRetryDelay: o.maxRetry, MaxTimeout: reconcile.MaxTimeout(o.maxTimeout)}
	images := pace
	images.Concurrent = max(images.Concurrent, leastImages)
	clouds, roots := &o.clouds, &signature.Roots{}
	return a.Add(
		clouds,
		&artifact.Server{Store: store, Addr: o.storageAddr},
		o.artifactsOutside(a, store),
		&git.Controller{Store: store, Events: a.Events, Pace: pace, SSH: o.ssh, Clouds: clouds},
		&oci.Controller{Store: store, Events: a.Events, Pace: pace, Clouds: clouds, Roots: roots},
		&helm.Controller{Store: store, Events: a.Events, Pace: pace, Limits: o.helm, CacheBytes: o.helmCache, Clouds: clouds, Roots: roots},
		&bucket.Controller{Store: store, Events: a.Events, Pace: pace, Clouds: clouds},
		&repository.Reconciler{Tags: tags, Events: a.Events, Pace: images, Clouds: clouds},
		&policy.Reconciler{Tags: tags, Events: a.Events, Pace: images, NoCrossNamespaceRefs: o.noCrossNamespaceRefs, Clouds: clouds},
		&automation.Reconciler{Events: a.Events, Scratch: store.WorkDir, Pace: images, NoCrossNamespaceRefs: o.noCrossNamespaceRefs, SSH: o.ssh, Clouds: clouds},
		&fleet.Reconciler{Namespace: a.Options.Namespace},
		&placement.Reconciler{Namespace: a.Options.Namespace, Events: a.Events, MemberLease: o.memberLease, ReassignAfter: o.reassignAfter},
	)
}
