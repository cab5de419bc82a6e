package action

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	helmaction "helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

const (
	// sharedSets bounds how many sets of kinds are kept to be shared.
	sharedSets = 128
	// versionAge is how old the knowledge of a server's version may be: kinds of
	// the core group come with another one.
	versionAge = 10 * time.Second
	// capabilitiesTimeout is how long a server may take to say what it has.
	capabilitiesTimeout = 15 * time.Second
	// maxKinds is how large the description of a server's kinds may be, in bytes.
	maxKinds = 64 << 20
)

// Kinds are sets of kinds as charts see them, shared by the servers that describe
// theirs in the same words. It is safe for concurrent use.
type Kinds struct {
	known *lru.Cache[[sha256.Size]byte, chartutil.VersionSet]
}

// NewKinds makes an empty one.
func NewKinds() *Kinds {
	known, err := lru.New[[sha256.Size]byte, chartutil.VersionSet](sharedSets)
	if err != nil {
		panic(err) // only of a size that is not positive
	}
	return &Kinds{known: known}
}

// of are the kinds that a server describes in these answers.
func (k *Kinds) of(core, named []byte) (chartutil.VersionSet, error) {
	hash := sha256.New()
	for _, answer := range [][]byte{core, named} {
		sum := sha256.Sum256(answer)
		hash.Write(sum[:])
	}
	sum := [sha256.Size]byte(hash.Sum(nil))
	if found, ok := k.known.Get(sum); ok {
		return found, nil
	}
	var all described
	for _, answer := range [][]byte{core, named} {
		if err := all.add(answer); err != nil {
			return nil, err
		}
	}
	made, err := helmaction.GetVersionSet(&all)
	if err == nil {
		made = slices.Clip(made)
		k.known.Add(sum, made)
	}
	return made, err
}

// described is what a server has said of its kinds, for Helm to read. Of groups
// whose own server does not answer it has the name alone, as Helm does.
type described struct {
	discovery.ServerResourcesInterface
	groups    []*metav1.APIGroup
	resources []*metav1.APIResourceList
}

func (d *described) add(answer []byte) error {
	var list apidiscoveryv2.APIGroupDiscoveryList
	if err := json.Unmarshal(answer, &list); err != nil {
		return err
	}
	groups, resources, _ := discovery.SplitGroupsAndResources(list)
	for i := range groups.Groups {
		d.groups = append(d.groups, &groups.Groups[i])
	}
	for _, of := range resources {
		d.resources = append(d.resources, of)
	}
	return nil
}

// ServerGroupsAndResources implements discovery.ServerResourcesInterface.
func (d *described) ServerGroupsAndResources() ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	return d.groups, d.resources, nil
}

// capabilities are what charts may know of one server. It asks for its kinds each
// time, and reads them where the server says that they have changed: what
// another release has just defined is there for the next. It is safe for
// concurrent use.
type capabilities struct {
	server rest.Interface
	client *http.Client
	kinds  *Kinds

	mu    sync.Mutex
	known learned
}

// learned is what is known of a server.
type learned struct {
	// asked is when the version was.
	asked   time.Time
	version version.Info
	// tag is the server's name for the state of its kinds.
	tag   string
	kinds chartutil.VersionSet
}

// now are the capabilities at this time, nil of a server that does not describe
// all its kinds at once, or does not name their state.
func (c *capabilities) now(ctx context.Context) (*chartutil.Capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, capabilitiesTimeout)
	defer cancel()
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	if err := c.renew(ctx, &known); err != nil || known.tag == "" {
		return nil, err
	}
	c.mu.Lock()
	c.known = known
	c.mu.Unlock()
	return &chartutil.Capabilities{
		KubeVersion: chartutil.KubeVersion{Version: known.version.GitVersion, Major: known.version.Major, Minor: known.version.Minor},
		APIVersions: known.kinds,
		HelmVersion: chartutil.DefaultCapabilities.HelmVersion,
	}, nil
}

func (c *capabilities) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = learned{}
}

// renew brings what is known up to date.
func (c *capabilities) renew(ctx context.Context, known *learned) error {
	if time.Since(known.asked) > versionAge {
		began := time.Now()
		answer, err := c.server.Get().AbsPath("/version").Do(ctx).Raw()
		var found version.Info
		if err == nil {
			err = json.Unmarshal(answer, &found)
		}
		if err != nil {
			return fmt.Errorf("version of the server: %w", err)
		}
		if found != known.version {
			known.version, known.tag = found, ""
		}
		known.asked = began
	}
	named, tag, err := c.read(ctx, "/apis", known.tag)
	if err != nil || tag != "" && tag == known.tag {
		return err
	}
	known.tag = tag
	if tag == "" {
		return nil
	}
	core, tag, err := c.read(ctx, "/api", "")
	if err != nil {
		return err
	}
	if tag == "" {
		known.tag = ""
		return nil
	}
	if known.kinds, err = c.kinds.of(core, named); err != nil {
		return fmt.Errorf("kinds of the server: %w", err)
	}
	return nil
}

// read asks for the kinds under a path, unless they are in the state of the tag:
// then that is returned with no answer. The tag is empty where the server does
// not describe them all at once.
func (c *capabilities) read(ctx context.Context, path, seen string) (answer []byte, tag string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server.Get().AbsPath(path).URL().String(), nil)
	if err != nil {
		return nil, "", fmt.Errorf("kinds of the server: %w", err)
	}
	request.Header.Set("Accept", discovery.AcceptV2+","+discovery.AcceptV1)
	if seen != "" {
		request.Header.Set("If-None-Match", seen)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, "", fmt.Errorf("kinds of the server: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusNotModified:
		return nil, seen, nil
	case http.StatusOK:
	default:
		return nil, "", fmt.Errorf("kinds of the server: %w", apierrors.NewGenericServerResponse(
			response.StatusCode, "get", schema.GroupResource{}, path, "", 0, false))
	}
	answer, err = io.ReadAll(io.LimitReader(response.Body, maxKinds))
	if err != nil {
		return nil, "", fmt.Errorf("kinds of the server: %w", err)
	}
	if !strings.Contains(response.Header.Get("Content-Type"), "as=APIGroupDiscoveryList") {
		return nil, "", nil
	}
	return answer, response.Header.Get("Etag"), nil
}
