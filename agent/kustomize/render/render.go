package render

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// buildTimeout is how long one build may keep the others waiting. It takes
// effect when the next file is read.
const buildTimeout = time.Minute

// ErrNoPath says that spec.path is not in the artifact.
var ErrNoPath = errors.New("kustomization path not found")

// Renderer turns files into objects. kustomize keeps its OpenAPI schema in
// variables of the process, so one build runs at a time. It is safe for
// concurrent use.
type Renderer struct {
	// most is what a build may use; the default where nothing is set.
	most limits

	mu sync.Mutex
}

// Request is what one build depends on.
type Request struct {
	// Files of the artifact by path.
	Files map[string][]byte
	// Path of the directory to build, as the spec has it.
	Path string
	// Namespace for all objects; empty to leave them as they are.
	Namespace string
}

// Render builds the objects. An empty directory is an empty set.
func (r *Renderer) Render(ctx context.Context, req Request) ([]*unstructured.Unstructured, error) {
	dir, err := entryPoint(req.Path)
	if err != nil {
		return nil, err
	}
	most := r.most
	if most == (limits{}) {
		most = defaultLimits()
	}
	t := newTree(ctx, req.Files, most)
	if !t.isDir(dir) {
		return nil, fmt.Errorf("%w: spec.path %q is no directory of the artifact", ErrNoPath, req.Path)
	}
	some, err := t.enter(dir, req.Namespace)
	if err != nil || !some {
		return nil, err
	}
	resources, err := r.build(t, "/"+dir)
	if err != nil {
		return nil, err
	}
	return objects(resources)
}

// entryPoint is the path of the directory to build, below the artifact's root.
// A leading slash means that root.
func entryPoint(specPath string) (string, error) {
	dir := path.Clean(strings.TrimLeft(specPath, "/"))
	if dir == ".." || strings.HasPrefix(dir, "../") {
		return "", fmt.Errorf("%w: spec.path %q leads out of the artifact", ErrNoPath, specPath)
	}
	return clean(dir), nil
}

// build runs kustomize, one build at a time, and survives its panics.
func (r *Renderer) build(t *tree, dir string) (resources resmap.ResMap, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.ctx, buildTimeout)
	defer cancel()
	t.ctx = ctx
	defer func() {
		if crash := recover(); crash != nil {
			resources, err = nil, fmt.Errorf("kustomize crashed on these files: %v", crash)
			openapi.ResetOpenAPI()
		}
		if t.refusal != nil {
			// What kustomize made of it is further from the cause.
			resources, err = nil, t.refusal
		}
		err = withoutContents(err)
	}()
	version := openapi.GetSchemaVersion()
	defer func() {
		if openapi.GetSchemaVersion() != version {
			// A kustomization brought a schema of its own: the next build,
			// maybe somebody else's, must not see it.
			openapi.ResetOpenAPI()
		}
	}()
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsNone
	return krusty.MakeKustomizer(options).Run(t, dir)
}

// quotes are the words after which kustomize's errors quote what they are about:
// a file, a patch or a literal that may be a Secret's.
func quotes() []string {
	return []string{
		"node contents", "literal sources", "invalid literal source", "[patch: ",
		"must specify one of patch and path in", "patch and path can't be set at the same time",
	}
}

// configQuote is a transformer's configuration, with the patch that it is about.
var configQuote = regexp.MustCompile("(?s) with config: `.*`")

// withoutContents cuts off what kustomize quotes in an error.
func withoutContents(err error) error {
	if err == nil {
		return nil
	}
	before := err.Error()
	text := configQuote.ReplaceAllString(before, "")
	cut := text != before
	for _, quote := range quotes() {
		if at := strings.Index(text, quote); at >= 0 {
			text, cut = text[:at]+quote, true
		}
	}
	if !cut {
		return err
	}
	return errors.New(strings.TrimRight(strings.TrimSuffix(text, "node contents"), " :;[\n"))
}

// objects turns what kustomize rendered into objects, without the documents
// that are none: kustomize's own configuration.
func objects(resources resmap.ResMap) ([]*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	for _, resource := range resources.Resources() {
		raw, err := resource.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", resource.CurId(), err)
		}
		obj := &unstructured.Unstructured{}
		if err := obj.UnmarshalJSON(raw); err != nil {
			return nil, fmt.Errorf("%s: %w", resource.CurId(), err)
		}
		if strings.HasPrefix(obj.GetAPIVersion(), "kustomize.config.k8s.io/") || obj.GetName() == "" {
			continue
		}
		found = append(found, obj)
	}
	return found, nil
}
