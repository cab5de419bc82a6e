package apply

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	rbacGroup = "rbac.authorization.k8s.io"
	// encodedColon stands for the colon in the ids of RBAC objects.
	encodedColon = "__"
)

// Ref names one object of a cluster.
type Ref struct {
	schema.GroupKind
	// Version of the API that the object was applied with. It is no part of
	// the object's identity.
	Version string
	// Namespace is empty for cluster-scoped objects.
	Namespace string
	Name      string
}

// RefTo returns the reference to the object.
func RefTo(obj *unstructured.Unstructured) Ref {
	gvk := obj.GroupVersionKind()
	return Ref{
		GroupKind: gvk.GroupKind(),
		Version:   gvk.Version,
		Namespace: obj.GetNamespace(),
		Name:      obj.GetName(),
	}
}

// ParseID returns the reference that an inventory id and its version stand
// for. It fails on text that is no id.
func ParseID(id, version string) (Ref, error) {
	namespace, rest, ok := strings.Cut(id, "_")
	kindAt := strings.LastIndexByte(rest, '_')
	if !ok || kindAt < 0 {
		return Ref{}, fmt.Errorf("inventory id %q: want <namespace>_<name>_<group>_<kind>", id)
	}
	kind, rest := rest[kindAt+1:], rest[:kindAt]
	groupAt := strings.LastIndexByte(rest, '_')
	if groupAt < 0 {
		return Ref{}, fmt.Errorf("inventory id %q: want <namespace>_<name>_<group>_<kind>", id)
	}
	group, name := rest[groupAt+1:], rest[:groupAt]
	if group == rbacGroup {
		name = strings.ReplaceAll(name, encodedColon, ":")
	}
	if name == "" || kind == "" {
		return Ref{}, fmt.Errorf("inventory id %q: name or kind is empty", id)
	}
	return Ref{
		GroupKind: schema.GroupKind{Group: group, Kind: kind},
		Version:   version,
		Namespace: namespace,
		Name:      name,
	}, nil
}

// ID is the object's identity in an inventory:
// <namespace>_<name>_<group>_<kind>. Colons, which only the names of RBAC
// objects have, are written as two underscores.
func (r Ref) ID() string {
	name := r.Name
	if r.Group == rbacGroup {
		name = strings.ReplaceAll(name, ":", encodedColon)
	}
	return strings.Join([]string{r.Namespace, name, r.Group, r.Kind}, "_")
}

// String is the object for people: Kind/namespace/name, or Kind/name for one
// without a namespace.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + "/" + r.Name
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// object returns an empty object to read the referenced one into.
func (r Ref) object() *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(r.WithVersion(r.Version))
	obj.SetNamespace(r.Namespace)
	obj.SetName(r.Name)
	return obj
}

// Entry is one line of an inventory: an id and the API version.
type Entry struct {
	ID, Version string
}

// Inventory returns one entry for each reference, sorted by id, so that the
// same set always gives the same inventory. Of several references to one
// object the first counts.
func Inventory(refs []Ref) []Entry {
	seen := make(map[string]bool, len(refs))
	entries := make([]Entry, 0, len(refs))
	for _, ref := range refs {
		id := ref.ID()
		if seen[id] {
			continue
		}
		seen[id] = true
		entries = append(entries, Entry{ID: id, Version: ref.Version})
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.ID, b.ID) })
	return entries
}

// Without returns the references of a whose objects are not in b.
func Without(a, b []Ref) []Ref {
	ids := make(map[string]bool, len(b))
	for _, ref := range b {
		ids[ref.ID()] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(ref Ref) bool { return ids[ref.ID()] })
}
