package remote

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

// debugPath is where the metrics address serves what this agent knows of its
// targets.
const debugPath = "/debug/targets"

// debugReport is what the debug endpoint answers.
type debugReport struct {
	Agent   string        `json:"agent"`
	Targets []debugTarget `json:"targets"`
}

// debugTarget is one key, without anything secret.
type debugTarget struct {
	Key           string `json:"key"`
	RemoteCluster string `json:"remoteCluster"`
	// Breaker is closed while the target is reached, open while it is not, and
	// connecting before the first attempt has ended.
	Breaker string `json:"breaker"`
	Error   string `json:"error,omitempty"`
	// Fence is held, waiting, expired or released.
	Fence    string `json:"fence"`
	Draining bool   `json:"draining,omitempty"`
	// Queued objects wait for their turn, Running ones have a worker.
	Queued  int `json:"queued"`
	Running int `json:"running"`
	// Waiting are the queued objects, as kind and name, those of each kind in
	// the order in which they get their turn.
	Waiting []string `json:"waiting,omitempty"`
}

// ServeHTTP answers with the state of all targets, by key.
func (c *Clusters) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	keys, found := make([]shard.Key, 0, len(c.clusters)), make(map[shard.Key]*cluster, len(c.clusters))
	for key, of := range c.clusters {
		keys, found[key] = append(keys, key), of.cluster
	}
	queues := slices.Clone(c.queues)
	c.mu.Unlock()
	slices.SortFunc(keys, shard.Key.Compare)
	answer := debugReport{Agent: c.Agent, Targets: make([]debugTarget, 0, len(keys))}
	for _, key := range keys {
		target := found[key].debug()
		target.Running = c.slots.Running(key)
		for _, q := range queues {
			for _, item := range q.Waiting(key) {
				target.Waiting = append(target.Waiting, q.Name+" "+item.String())
			}
		}
		target.Queued = len(target.Waiting)
		answer.Targets = append(answer.Targets, target)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // whoever asked has gone
}

func (c *cluster) debug() debugTarget {
	session, err := c.state()
	target := debugTarget{
		Key: c.key.String(), RemoteCluster: c.record.String(),
		Breaker: "connecting", Fence: c.fence.state(), Draining: c.draining(),
	}
	switch {
	case session != nil:
		target.Breaker = "closed"
	case err != nil:
		target.Breaker, target.Error = "open", reconcile.Redact(err.Error())
	}
	return target
}
