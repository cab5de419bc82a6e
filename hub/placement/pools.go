package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/shard"
)

const (
	// commonCrew is the crew of the agents that no pool selects.
	commonCrew = ""
	// noCrew is for clusters that no pool serves.
	noCrew = "none."

	defaultMovesPerMinute = 10
)

// pullCrew is the crew of an agent inside of a cluster: itself. No pool can be
// called so.
func pullCrew(agent string) string { return agent + "." }

// rules say how clusters are spread over one crew.
type rules struct {
	maxLoadFactor  float64
	movesPerMinute int
	reassignAfter  time.Duration
}

// pool is an AgentPool, or the default one that nobody has made.
type pool struct {
	name string
	// object is nil for the default pool that nobody has made.
	object *fleetv1.AgentPool
	// clusters is nil for all clusters that no other pool selects, agents for
	// all agents that none does.
	clusters, agents labels.Selector
	// fault is why the pool takes no part, with its reason.
	fault, faultReason string
}

// crew is the agents of the pool, by a name of its own. The pools that select
// none share one crew.
func (p *pool) crew() string {
	if p.agents == nil {
		return commonCrew
	}
	return p.name
}

// hasIdleRules says whether the pool has rules for agents that are not its own, which are
// spread by those of the default one.
func (p *pool) hasIdleRules() bool {
	return p.crew() == commonCrew && p.name != fleetv1.DefaultAgentPool && p.object.Spec.Placement != (fleetv1.Placement{})
}

// pools are the AgentPools there are. The zero value is the default pool alone.
type pools struct {
	// list is in the order in which they are asked: by name, the default last.
	list []*pool
	// faulty take no part.
	faulty []*pool
	rules  map[string]rules
}

// readPools makes sense of the AgentPools.
func readPools(objects []fleetv1.AgentPool, system string, otherwise rules) pools {
	ps := pools{rules: map[string]rules{commonCrew: otherwise}}
	isDefault := func(p *pool) int {
		if p.name == fleetv1.DefaultAgentPool {
			return 1
		}
		return 0
	}
	made := false
	for i := range objects {
		p := newPool(&objects[i], system)
		if p.fault != "" {
			ps.faulty = append(ps.faulty, p)
			continue
		}
		made = made || isDefault(p) == 1
		ps.list = append(ps.list, p)
		if own := p.crew(); own != commonCrew || isDefault(p) == 1 {
			ps.rules[own] = rulesOf(&p.object.Spec.Placement, otherwise)
		}
	}
	if !made {
		ps.list = append(ps.list, &pool{name: fleetv1.DefaultAgentPool})
	}
	slices.SortFunc(ps.list, func(a, b *pool) int {
		return cmp.Or(cmp.Compare(isDefault(a), isDefault(b)), cmp.Compare(a.name, b.name))
	})
	return ps
}

func newPool(object *fleetv1.AgentPool, system string) *pool {
	p := &pool{name: object.Name, object: object}
	if object.Namespace != system {
		p.faultReason, p.fault = "WrongNamespace", "AgentPools count in namespace "+system+" alone, where the agents are: make it there"
		return p
	}
	var err error
	parse := func(field string, from *metav1.LabelSelector) labels.Selector {
		if from == nil || err != nil {
			return nil
		}
		selector, invalid := metav1.LabelSelectorAsSelector(from)
		if invalid != nil {
			err = fmt.Errorf("spec.%s: %w", field, invalid)
		}
		return selector
	}
	p.clusters, p.agents = parse("clusterSelector", object.Spec.ClusterSelector), parse("agents", object.Spec.Agents)
	if err != nil {
		p.faultReason, p.fault = "InvalidSelector", err.Error()
	}
	return p
}

func rulesOf(placement *fleetv1.Placement, otherwise rules) rules {
	r := otherwise
	if factor, err := strconv.ParseFloat(placement.MaxLoadFactor, 64); err == nil && factor >= 1 {
		r.maxLoadFactor = factor
	}
	if placement.MovesPerMinute > 0 {
		r.movesPerMinute = int(placement.MovesPerMinute)
	}
	if placement.ReassignAfter != nil {
		r.reassignAfter = placement.ReassignAfter.Duration
	}
	return r
}

// named is the pool of that name.
func (ps *pools) named(name string) *pool {
	for _, p := range ps.list {
		if p.name == name {
			return p
		}
	}
	return nil
}

// forCluster is the pool that serves a cluster: the first of those that select
// its labels, and else the first of those that select none. The others are
// those that select the labels as well.
func (ps *pools) forCluster(own map[string]string) (serves *pool, others []*pool) {
	for _, p := range ps.list {
		if p.clusters != nil && p.clusters.Matches(labels.Set(own)) {
			others = append(others, p)
		}
	}
	if len(others) > 0 {
		return others[0], others[1:]
	}
	for _, p := range ps.list {
		if p.clusters == nil {
			return p, nil
		}
	}
	return nil, nil
}

// forAgent is the crew that an agent belongs to: that of the first pool which
// selects its labels. The others are the pools that select them as well.
func (ps *pools) forAgent(name string, own map[string]string) (crew string, others []*pool) {
	if shard.IsPullAgent(name) {
		return pullCrew(name), nil
	}
	for _, p := range ps.list {
		if p.agents != nil && p.agents.Matches(labels.Set(own)) {
			others = append(others, p)
		}
	}
	if len(others) == 0 {
		return commonCrew, nil
	}
	return others[0].name, others[1:]
}

// rulesFor are the rules of a crew.
func (ps *pools) rulesFor(crew string) rules {
	if r, ok := ps.rules[crew]; ok {
		return r
	}
	return ps.rules[commonCrew]
}

// names joins the names of pools for a message.
func names(list []*pool) string {
	var texts []string
	for _, p := range list {
		texts = append(texts, p.name)
	}
	return strings.Join(texts, ", ")
}
