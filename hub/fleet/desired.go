package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/shard"
)

const (
	// ownLabels is the prefix of labels that are not copied.
	ownLabels = "fleet.headwater.dev/"
	// fluxLabels is part of the labels by which the appliers know what they
	// made.
	fluxLabels = ".toolkit.fluxcd.io/"
	// copiedAnnotation lists the labels that were copied from the Secret or the
	// Cluster, so that they can be told from the user's own when they go there.
	copiedAnnotation = "fleet.headwater.dev/copied-labels"
	// nameless is for Secrets that have nothing in their name to make one of.
	nameless = "cluster"
)

// state is what there is in one namespace.
type state struct {
	namespace string
	// system is the namespace in which the hub has its RemoteCluster.
	system string
	// used are the keys that Kustomizations and HelmReleases name.
	used map[shard.Key]bool
	// labelled are the keys of Secrets that are labelled as clusters, with
	// the labels of the Secret.
	labelled map[shard.Key]map[string]string
	// declared are the clusters that Cluster API has here, and undecided says
	// that these are perhaps not all.
	declared  map[shard.Key]declared
	undecided bool
	clusters  []fleetv1.RemoteCluster
}

// changes are what is to be done about the RemoteClusters of one namespace.
type changes struct {
	create []*fleetv1.RemoteCluster
	// relabel holds the clusters whose labels are to follow their origin's.
	relabel []relabel
	remove  []*fleetv1.RemoteCluster
}

// relabel is a merge patch of a RemoteCluster's labels, and the new list of
// those that are copied; nil removes.
type relabel struct {
	cluster *fleetv1.RemoteCluster
	labels  map[string]*string
	copied  *string
}

// plan compares what there is with what there should be.
func plan(s state) (changes, error) {
	var c changes
	holders := map[shard.Key][]*fleetv1.RemoteCluster{}
	names := map[string]bool{}
	if s.namespace == s.system {
		names[shard.HubCluster] = true
		if err := c.addHub(s); err != nil {
			return changes{}, err
		}
	}
	for i := range s.clusters {
		cluster := &s.clusters[i]
		names[cluster.Name] = true
		for _, key := range shard.KeysOf(cluster, s.system) {
			holders[key] = append(holders[key], cluster)
		}
	}
	for _, key := range s.wanted() {
		if len(holders[key]) == 0 {
			c.create = append(c.create, s.newCluster(key, names))
		}
	}
	if s.undecided {
		// What seems to be nobody's may be a Cluster's.
		return c, nil
	}
	for _, key := range slices.SortedFunc(maps.Keys(holders), shard.Key.Compare) {
		c.review(s, key, holders[key])
	}
	return c, nil
}

// wanted are the keys that need a RemoteCluster, those without a data key of
// their own first: theirs are the plain names.
func (s *state) wanted() []shard.Key {
	keys := maps.Clone(s.used)
	for key := range s.labelled {
		keys[key] = true
	}
	for key := range s.declared {
		keys[key] = true
	}
	return slices.SortedFunc(maps.Keys(keys), func(a, b shard.Key) int {
		if a.IsDefault() != b.IsDefault() {
			if a.IsDefault() {
				return -1
			}
			return 1
		}
		return a.Compare(b)
	})
}

// addHub plans the RemoteCluster that stands for the hub itself.
func (c *changes) addHub(s state) error {
	i := slices.IndexFunc(s.clusters, func(cluster fleetv1.RemoteCluster) bool { return cluster.Name == shard.HubCluster })
	if i < 0 {
		c.create = append(c.create, &fleetv1.RemoteCluster{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: s.namespace, Name: shard.HubCluster, Labels: map[string]string{shard.ManagedLabel: "true"},
			},
			Spec: fleetv1.RemoteClusterSpec{Mode: fleetv1.HubMode},
		})
		return nil
	}
	if mode := s.clusters[i].GetMode(); mode != fleetv1.HubMode {
		return fmt.Errorf("remote cluster %s/%s has spec.mode %s, but its name is reserved for the hub itself: rename it",
			s.namespace, shard.HubCluster, mode)
	}
	return nil
}

// review looks at the RemoteClusters that there are for one key: those that the
// hub made follow the labels of their origin, and go when nothing refers to them or
// when a user has made one for the same target and its record has been taken
// over.
func (c *changes) review(s state, key shard.Key, list []*fleetv1.RemoteCluster) {
	if key.IsHub() {
		return
	}
	slices.SortFunc(list, shard.Precedence)
	labels, referred := s.labels(key)
	for i, cluster := range list {
		switch {
		case !shard.IsManaged(cluster):
		case !referred && !s.used[key], i > 0 && len(list[0].Status.Assignments) > 0:
			c.remove = append(c.remove, cluster)
		default:
			if r, changed := follow(cluster, labels); changed {
				c.relabel = append(c.relabel, r)
			}
		}
	}
}

// labels are those that the RemoteCluster of the key is to have, and whether
// there is anything that it has them from: a labelled Secret, or a Cluster, whose
// own go before its Secret's.
func (s *state) labels(key shard.Key) (map[string]string, bool) {
	labels, labelled := s.labelled[key]
	cluster, isDeclared := s.declared[key]
	if !isDeclared {
		return labels, labelled
	}
	all := maps.Clone(cluster.labels)
	if all == nil {
		all = map[string]string{}
	}
	for name, value := range labels {
		if _, own := all[name]; !own {
			all[name] = value
		}
	}
	return all, true
}

// follow compares the labels of a RemoteCluster with those of its origin.
func follow(cluster *fleetv1.RemoteCluster, labels map[string]string) (relabel, bool) {
	r := relabel{cluster: cluster, labels: map[string]*string{}}
	for name, value := range labels {
		if have, ok := cluster.Labels[name]; copied(name) && (!ok || have != value) {
			r.labels[name] = &value
		}
	}
	before, now := cluster.Annotations[copiedAnnotation], listed(labels)
	for name := range strings.SplitSeq(before, ",") {
		if _, still := labels[name]; copied(name) && !still {
			r.labels[name] = nil
		}
	}
	if now != "" {
		r.copied = &now
	}
	return r, len(r.labels) > 0 || before != now
}

func (s *state) newCluster(key shard.Key, names map[string]bool) *fleetv1.RemoteCluster {
	cluster := &fleetv1.RemoteCluster{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace,
			Labels:    map[string]string{shard.ManagedLabel: "true"},
		},
		Spec: fleetv1.RemoteClusterSpec{Mode: fleetv1.PushMode},
	}
	if origin, isDeclared := s.declared[key]; isDeclared {
		cluster.Name = freeName(origin.name, key, names)
		cluster.Spec.ClusterRef = &fleetv1.ClusterReference{Kind: clusterv1.ClusterKind, Name: origin.name}
	} else {
		cluster.Name = nameFor(key, names)
		cluster.Spec.KubeConfig = key.Reference()
	}
	names[cluster.Name] = true
	labels, _ := s.labels(key)
	for name, value := range labels {
		if copied(name) {
			cluster.Labels[name] = value
		}
	}
	if list := listed(labels); list != "" {
		cluster.Annotations = map[string]string{copiedAnnotation: list}
	}
	return cluster
}

// nameFor is the name of a key's RemoteCluster: the Secret's, with the data key
// where that is not the default, and with a hash where that is no name, or is
// taken. A reference may name a Secret that cannot exist; its user is to hear
// of it all the same, from the agent.
func nameFor(key shard.Key, taken map[string]bool) string {
	name := key.Name
	if !key.IsDefault() {
		name += "-" + strings.Trim(strings.Map(dnsRune, key.DataKey), "-")
	}
	return freeName(name, key, taken)
}

// freeName is the name, or one like it that is a name and is not taken.
func freeName(name string, key shard.Key, taken map[string]bool) string {
	if !taken[name] && len(validation.IsDNS1123Subdomain(name)) == 0 {
		return name
	}
	suffix := fmt.Sprintf("-%08x", uint32(xxhash.Sum64String(key.String())))
	name = strings.Trim(strings.Map(dnsRune, name), "-")
	name = strings.Trim(name[:min(len(name), validation.DNS1123SubdomainMaxLength-len(suffix))], "-")
	if name == "" {
		name = nameless
	}
	return name + suffix
}

// dnsRune makes a rune fit for a DNS label.
func dnsRune(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
		return r
	case 'A' <= r && r <= 'Z':
		return r - 'A' + 'a'
	default:
		return '-'
	}
}

// copied says whether a label is copied: not those by which we and
// Flux keep account.
func copied(label string) bool {
	return label != "" && !strings.HasPrefix(label, ownLabels) && !strings.Contains(label, fluxLabels)
}

// listed are the names of the labels that are copied.
func listed(labels map[string]string) string {
	var names []string
	for name := range labels {
		if copied(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}
