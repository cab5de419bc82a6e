package placement

import (
	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/shard"
)

// Objects are what says which AgentPool serves a key: the pools there are, and
// those who may wish for one.
type Objects struct {
	Pools          []fleetv1.AgentPool
	Kustomizations []kustomizev1.Kustomization
	Releases       []helmv2.HelmRelease
}

// Serving says which AgentPool serves a key.
type Serving struct {
	// Pool is its name; empty when none does.
	Pool string
	// Others select the cluster as well, and stand behind.
	Others []string
	// Notes tell of wishes that have no effect.
	Notes []string
}

// Serves finds the pool for a key of the RemoteCluster by the rules of the
// Reconciler, for those who only want to know.
func Serves(cluster *fleetv1.RemoteCluster, key shard.Key, system string, by Objects) Serving {
	w := world{system: system, pools: readPools(by.Pools, system, rules{}), clusters: []fleetv1.RemoteCluster{*cluster}}
	for i := range by.Kustomizations {
		w.objects = append(w.objects, objectOf(&by.Kustomizations[i]))
	}
	for i := range by.Releases {
		w.objects = append(w.objects, releaseOf(&by.Releases[i]))
	}
	t := w.targets()[key]
	if t == nil || t.pool == nil {
		return Serving{}
	}
	serving := Serving{Pool: t.pool.name, Notes: t.notes}
	for _, other := range t.others {
		serving.Others = append(serving.Others, other.name)
	}
	return serving
}
