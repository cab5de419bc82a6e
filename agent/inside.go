package main

import (
	"context"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/pull"
	"github.com/headwater-dev/headwater/agent/remote"
	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/internal/app"
	"github.com/headwater-dev/headwater/shard"
)

// forever is the idle time of a fence that is kept.
const forever = time.Duration(math.MaxInt64)

// connect is the access to the hub of an agent inside of its target. Such an
// agent keeps the fence that it has taken, since nobody else is to have it: so it
// goes on putting drift right while the hub is out of reach, which it could not
// ask for its past.
func (o *options) connect(ctx context.Context, _ app.Options) (*rest.Config, error) {
	if o.pull.Secret == "" {
		return nil, nil
	}
	hub, err := pull.Connect(ctx, o.pull)
	if err != nil {
		return nil, err
	}
	o.hub, o.name, o.fence.Idle = hub, hub.Agent(), forever
	o.artifacts.Transport = hub.Artifacts()
	return hub.Hub(), nil
}

// inside is what runs besides in an agent inside of its target.
func (o *options) inside() []app.Part {
	if o.hub == nil {
		return nil
	}
	return []app.Part{o.hub}
}

// namespace on the hub that the agent has its membership in.
func (o *options) namespace(a *app.App) string {
	if o.hub != nil {
		return o.hub.Namespace
	}
	return a.Options.Namespace
}

// narrow leaves of the cache what an agent inside of its target may read.
func (o *options) narrow(options cache.Options) cache.Options {
	if o.hub == nil {
		return options
	}
	options.DefaultNamespaces = map[string]cache.Config{o.hub.Namespace: {}}
	options.ByObject[&fleetv1.RemoteCluster{}] = cache.ByObject{
		Field: fields.OneTermEqualSelector("metadata.name", o.hub.Cluster),
	}
	return options
}

// target is the one that the agent runs in.
func (o *options) target(a *app.App) *remote.Clusters {
	target := o.clusters(a)
	target.HubUID, target.Local = o.hub.HubUID, o.hub.Target
	cluster := &fleetv1.RemoteCluster{}
	cluster.Namespace, cluster.Name, cluster.Spec.Mode = o.hub.Namespace, o.hub.Cluster, fleetv1.PullMode
	target.LocalKey = shard.KeysOf(cluster, "")[0]
	return target
}

// sources reads what Kustomizations apply.
func (o *options) sources(a *app.App) client.Reader {
	if o.hub == nil {
		return a.Manager.GetClient()
	}
	return pull.Sources{Reader: a.Manager.GetClient(), Live: a.Manager.GetAPIReader(), Namespace: o.hub.Namespace}
}
