package shard

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/headwater-dev/headwater/api/meta"
)

// Partitions is the number of parts into which the objects that deploy to the
// hub itself are split, so that several agents can share them. It is part of
// the record on disk and does not change.
const Partitions = 16

const (
	hubName = "hub"
	// defaultDataKey is the key of a kubeconfig Secret that is read when a
	// reference names none.
	defaultDataKey = "value"
	// configMapDataKey stands where a Secret's data key would, for targets that
	// are reached through a ConfigMap. No Secret can have such a key.
	configMapDataKey = "@configmap"
)

// Key is what an agent owns: a target cluster as its users name it, or one
// partition of the hub. Two Secrets of one cluster are two keys. Keys are
// comparable and serve as map keys.
type Key struct {
	// Namespace of the kubeconfig Secret; empty for the hub.
	Namespace string
	// Name of the kubeconfig Secret; "hub" for the hub.
	Name string
	// DataKey is the key in the Secret's data; empty for the hub.
	DataKey string
	// Partition of the hub, from 0 to Partitions-1; 0 for other targets.
	Partition int32
}

// HubKey is the key of one partition of the hub.
func HubKey(partition int32) Key {
	return Key{Name: hubName, Partition: partition}
}

// KeyFor is the key to which the Kustomization or HelmRelease of that namespace
// and name belongs, given its spec.kubeConfig; nil means that it deploys to the
// hub itself.
func KeyFor(namespace, name string, ref *meta.KubeConfigReference) Key {
	switch {
	case ref == nil || ref.SecretRef == nil && ref.ConfigMapRef == nil:
		return HubKey(int32(xxhash.Sum64String(namespace+"/"+name) % Partitions))
	case ref.SecretRef == nil:
		return Key{Namespace: namespace, Name: ref.ConfigMapRef.Name, DataKey: configMapDataKey}
	case ref.SecretRef.Key == "":
		return Key{Namespace: namespace, Name: ref.SecretRef.Name, DataKey: defaultDataKey}
	default:
		return Key{Namespace: namespace, Name: ref.SecretRef.Name, DataKey: ref.SecretRef.Key}
	}
}

// CurrentKey is the key that an object belongs to now: where status.target says
// that its objects are, until they have been taken away from there, and else
// where its spec says. A target that the object could not name in its spec, one
// of another namespace, is not believed.
func CurrentKey(namespace, name string, ref *meta.KubeConfigReference, target string) Key {
	wanted := KeyFor(namespace, name, ref)
	applied, err := ParseKey(target)
	if err != nil || applied.IsHub() && applied != KeyFor(namespace, name, nil) ||
		!applied.IsHub() && applied.Namespace != namespace {
		return wanted
	}
	return applied
}

// FenceName is the name of the Lease that is the key's fence, in whichever cluster
// it lies: one for each hub and key.
func FenceName(hubUID string, key Key) string {
	sum := sha256.Sum256([]byte(hubUID + "/" + key.String()))
	return "headwater-fence-" + hex.EncodeToString(sum[:10])
}

// IsHub says whether the key is a partition of the hub.
func (k Key) IsHub() bool { return k.Namespace == "" && k.Name == hubName }

// IsDefault says whether a reference needs to name no data key to mean k.
func (k Key) IsDefault() bool { return k.DataKey == defaultDataKey }

// Reference is the spec.kubeConfig that means k, nil for the hub. It is the
// inverse of KeyFor.
func (k Key) Reference() *meta.KubeConfigReference {
	switch {
	case k.IsHub():
		return nil
	case k.DataKey == configMapDataKey:
		return &meta.KubeConfigReference{ConfigMapRef: &meta.LocalObjectReference{Name: k.Name}}
	case k.IsDefault():
		return &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: k.Name}}
	default:
		return &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: k.Name, Key: k.DataKey}}
	}
}

// Compare orders keys for people: the hub's first, then by namespace and name.
func (k Key) Compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Namespace, other.Namespace), cmp.Compare(k.Name, other.Name),
		cmp.Compare(k.DataKey, other.DataKey), cmp.Compare(k.Partition, other.Partition))
}

// String is namespace/secret/datakey, or hub/partition. ParseKey reads it.
func (k Key) String() string {
	if k.IsHub() {
		return hubName + "/" + strconv.Itoa(int(k.Partition))
	}
	return k.Namespace + "/" + k.Name + "/" + k.DataKey
}

// ParseKey reads what String has written.
func ParseKey(s string) (Key, error) {
	parts := strings.Split(s, "/")
	switch {
	case len(parts) == 3 && parts[0] != "" && parts[1] != "" && parts[2] != "":
		return Key{Namespace: parts[0], Name: parts[1], DataKey: parts[2]}, nil
	case len(parts) == 2 && parts[0] == hubName:
		n, err := strconv.ParseUint(parts[1], 10, 31)
		if err == nil && n < Partitions {
			return HubKey(int32(n)), nil
		}
	}
	return Key{}, fmt.Errorf("key %q: want namespace/secret/datakey or hub/partition with a partition below %d", s, Partitions)
}
