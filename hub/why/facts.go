package why

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/placement"
	"github.com/headwater-dev/headwater/shard"
)

// facts are what was read about one object.
type facts struct {
	now time.Time
	// system is the namespace of the agents.
	system string
	// kind and name of the object in question.
	kind string
	name types.NamespacedName
	// subject is the Kustomization or HelmRelease; nil when the question is
	// about a RemoteCluster.
	subject *subject
	// keys are those that the question is about.
	keys []shard.Key
	// record is the RemoteCluster whose record of the keys is in force; nil when
	// there is none.
	record  *fleetv1.RemoteCluster
	serving placement.Serving
	// members are the Leases of the agents, by agent.
	members map[string]*coordinationv1.Lease
	// fences are those of the keys, in their order.
	fences []fence
	// strays are the objects of a RemoteCluster whose routing label is not what
	// the record says.
	strays []string
	// needs are the source and the dependencies.
	needs   []need
	warning *warning
	live    *live
	// unread is what could not be read, and why.
	unread []string
}

// subject is a Kustomization or a HelmRelease.
type subject struct {
	meta      metav1.ObjectMeta
	suspended bool
	status    meta.Status
	// waiting is since when it waits for health.
	waiting *metav1.Time
	// wanted is the key that the spec names: another than that of the facts while
	// the objects are still to be taken away from there.
	wanted shard.Key
}

// fence is where the Lease of a key is, and the Lease.
type fence struct {
	key   shard.Key
	place fleetv1.FencePlace
	name  types.NamespacedName
	// read says that it was looked for; lease is nil when it is not there.
	read  bool
	lease *coordinationv1.Lease
}

// need is something that has to be ready first.
type need struct {
	// what is its kind, namespace and name.
	what  string
	found bool
	// source is one of which an artifact is needed, and artifact says that there
	// is one.
	source, artifact bool
	suspended        bool
	// outdated says that its newest spec was not reconciled yet.
	outdated bool
	ready    *metav1.Condition
	// expression decides in the place of Ready.
	expression string
}

// warning is the newest event of that type.
type warning struct {
	reason, message string
	when            time.Time
}

// live is what an agent's debug endpoint says of a key.
type live struct {
	Key      string   `json:"key"`
	Breaker  string   `json:"breaker"`
	Error    string   `json:"error"`
	Fence    string   `json:"fence"`
	Draining bool     `json:"draining"`
	Queued   int      `json:"queued"`
	Running  int      `json:"running"`
	Waiting  []string `json:"waiting"`

	// agent is who says it; unknown means that it does not have the key.
	agent   string
	unknown bool
}
