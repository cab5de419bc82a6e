package remote

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
)

// sharedTables bounds how many tables are kept to be shared: a version of
// Kubernetes has about thirty, and operators bring theirs.
const sharedTables = 1024

const (
	// mostKinds bounds the bytes that describe a group and version: a thousand kinds
	// are some 300 KiB.
	mostKinds = 4 << 20
	// mostShared bounds those that are kept to be shared, since they outlast whoever
	// described them. Kubernetes' own largest are a fourth of it.
	mostShared = 64 << 10
)

// table is the kinds of one group and version, as a server describes them. It
// never changes.
type table map[string]kindEntry

type kindEntry struct {
	resource string
	scope    apimeta.RESTScope
}

// tables are shared by the targets that describe a group and version in the
// same words: clusters of a fleet differ little, and their kinds would be most
// of what an agent keeps of them.
type tables struct {
	known *lru.Cache[[sha256.Size]byte, table]
}

func newTables() *tables {
	known, err := lru.New[[sha256.Size]byte, table](sharedTables)
	if err != nil {
		panic(err) // only of a size that is not positive
	}
	return &tables{known: known}
}

// of is the table that the server's answer describes.
func (t *tables) of(answer []byte) (table, error) {
	sum := sha256.Sum256(answer)
	if found, ok := t.known.Get(sum); ok {
		return found, nil
	}
	if len(answer) > mostKinds {
		return nil, &tooMuchError{mostKinds}
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, err
	}
	made := table{}
	for _, resource := range list.APIResources {
		if strings.Contains(resource.Name, "/") {
			continue // a subresource
		}
		scope := apimeta.RESTScopeRoot
		if resource.Namespaced {
			scope = apimeta.RESTScopeNamespace
		}
		made[strings.Clone(resource.Kind)] = kindEntry{resource: strings.Clone(resource.Name), scope: scope}
	}
	if len(answer) <= mostShared {
		t.known.Add(sum, made)
	}
	return made, nil
}

// kinds is the RESTMapper of one target. It asks for a group and version when it
// is first needed, and again for a kind that it does not know, and after a Reset:
// definitions come, change and go at any time. It answers questions by kind alone;
// the embedded mapper knows nothing, and says so to questions by resource. It is
// safe for concurrent use.
type kinds struct {
	apimeta.MultiRESTMapper
	server rest.Interface
	shared *tables

	// asking lets one caller ask the server at a time.
	asking sync.Mutex
	mu     sync.RWMutex
	known  map[schema.GroupVersion]table
}

// Reset implements meta.ResettableRESTMapper: the server is asked anew. What is being
// read meanwhile is forgotten as well, for it may be older.
func (k *kinds) Reset() {
	k.asking.Lock()
	defer k.asking.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known = map[schema.GroupVersion]table{}
}

// RESTMapping implements meta.RESTMapper: the mapping of the first version that
// has the kind, or without versions, of the server's preferred one first.
func (k *kinds) RESTMapping(of schema.GroupKind, versions ...string) (*apimeta.RESTMapping, error) {
	found, err := k.mappings(of, versions, true)
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// RESTMappings implements meta.RESTMapper.
func (k *kinds) RESTMappings(of schema.GroupKind, versions ...string) ([]*apimeta.RESTMapping, error) {
	return k.mappings(of, versions, false)
}

func (k *kinds) mappings(of schema.GroupKind, versions []string, first bool) ([]*apimeta.RESTMapping, error) {
	ctx, cancel := context.WithTimeout(context.Background(), discoveryTimeout)
	defer cancel()
	unknown := &apimeta.NoKindMatchError{GroupKind: of, SearchedVersions: versions}
	if of.Group != "" && len(validation.IsDNS1123Subdomain(of.Group)) > 0 {
		return nil, unknown // it would be another path of the server
	}
	if len(versions) == 0 {
		var err error
		if versions, err = k.versions(ctx, of.Group); err != nil {
			return nil, err
		}
	}
	var found []*apimeta.RESTMapping
	for _, version := range versions {
		mapping, err := k.mapping(ctx, of.WithVersion(version))
		if err != nil {
			return nil, err
		}
		if mapping == nil {
			continue
		}
		if found = append(found, mapping); first {
			break
		}
	}
	if len(found) == 0 {
		return nil, unknown
	}
	return found, nil
}

// mapping is nil for a kind that the server does not have.
func (k *kinds) mapping(ctx context.Context, of schema.GroupVersionKind) (*apimeta.RESTMapping, error) {
	if len(validation.IsDNS1123Label(of.Version)) > 0 {
		return nil, nil
	}
	gv := of.GroupVersion()
	k.mu.RLock()
	seen := k.known[gv]
	k.mu.RUnlock()
	entry, ok := seen[of.Kind]
	if !ok {
		now, err := k.read(ctx, gv, seen)
		if err != nil {
			return nil, err
		}
		if entry, ok = now[of.Kind]; !ok {
			return nil, nil
		}
	}
	return &apimeta.RESTMapping{Resource: gv.WithResource(entry.resource), GroupVersionKind: of, Scope: entry.scope}, nil
}

// read asks the server for a group and version, unless another caller has done
// so since the table was seen. Of what the server does not have it is empty.
func (k *kinds) read(ctx context.Context, gv schema.GroupVersion, seen table) (table, error) {
	k.asking.Lock()
	defer k.asking.Unlock()
	k.mu.RLock()
	now, ok := k.known[gv]
	k.mu.RUnlock()
	if ok && !maps.Equal(now, seen) {
		return now, nil
	}
	answer, err := k.server.Get().AbsPath(pathOf(gv.Group), gv.Version).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		answer, err = []byte("{}"), nil
	}
	if err == nil {
		now, err = k.shared.of(answer)
	}
	if err != nil {
		return nil, fmt.Errorf("read the kinds of %s: %w", gv, err)
	}
	k.mu.Lock()
	k.known[gv] = now
	k.mu.Unlock()
	return now, nil
}

// versions are those of a group, the server's preferred one first. It has none
// of a group that is not there.
func (k *kinds) versions(ctx context.Context, group string) ([]string, error) {
	if group == "" {
		return []string{"v1"}, nil
	}
	answer, err := k.server.Get().AbsPath(pathOf(group)).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	var described metav1.APIGroup
	if err == nil {
		err = json.Unmarshal(answer, &described)
	}
	if err != nil {
		return nil, fmt.Errorf("read the versions of %s: %w", group, err)
	}
	versions := []string{described.PreferredVersion.Version}
	for _, served := range described.Versions {
		if served.Version != versions[0] {
			versions = append(versions, served.Version)
		}
	}
	return versions, nil
}

func pathOf(group string) string {
	if group == "" {
		return "/api"
	}
	return "/apis/" + group
}
