package render

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/headwater-dev/headwater/agent/openapi"
)

// buildTimeout is how long one build may keep the others waiting. It takes
// effect when the next file is read.
const buildTimeout = time.Minute

// errOwnSchema says that a build found a kustomization that sets openapi.
var errOwnSchema = errors.New("openapi: the build has to be alone")

// objects builds the directory, the short way where that leads to the same, and
// says whether it was short.
func (r *Renderer) objects(t *tree, dir string, k *types.Kustomization) (found []*unstructured.Unstructured, short bool, err error) {
	if !r.options.noShortWay {
		if found, ok := t.direct(dir, k); ok {
			r.shortcuts.Inc()
			return found, true, nil
		}
		t.again()
	}
	ctx, cancel := context.WithTimeout(t.ctx, buildTimeout)
	defer cancel()
	t.ctx, t.counts = ctx, true
	resources, err := beside(t, dir)
	if errors.Is(err, errOwnSchema) {
		t.again()
		t.alone = true
		resources, err = alone(t, dir)
	}
	if err != nil {
		return nil, false, withoutContents(err)
	}
	found, err = objects(resources, t.most.bytes)
	return found, false, err
}

// beside builds beside others.
func beside(t *tree, dir string) (resources resmap.ResMap, err error) {
	openapi.Shared(func() { resources, err = run(t, dir) })
	return resources, err
}

// alone builds while nobody else does.
func alone(t *tree, dir string) (resources resmap.ResMap, err error) {
	openapi.Alone(func() { resources, err = run(t, dir) })
	return resources, err
}

// run runs kustomize and survives its panics.
func run(t *tree, dir string) (resources resmap.ResMap, err error) {
	defer func() {
		if crash := recover(); crash != nil {
			resources, err = nil, fmt.Errorf("kustomize crashed on these files: %v", crash)
		}
		if t.refusal != nil {
			// What kustomize made of it is further from the cause.
			resources, err = nil, t.refusal
		}
	}()
	options := &krusty.Options{LoadRestrictions: types.LoadRestrictionsNone, PluginConfig: types.DisabledPluginConfig()}
	return krusty.MakeKustomizer(options).Run(t, "/"+dir)
}

// quotes are the words after which kustomize's errors quote what they are about:
// a file, a patch or a literal that may be a Secret's.
func quotes() []string {
	return []string{
		"node contents", "literal sources", "invalid literal source", "[patch: ",
		"must specify one of patch and path in", "patch and path can't be set at the same time",
		"illegally repeats the key", "is out of bounds for value", "nodes unequal", "Too many possible referral targets",
	}
}

// configQuote is a transformer's configuration, with the patch that it is about.
var configQuote = regexp.MustCompile("(?s) with config: `.*`")

// invalidLine is a line of an env file, as numbers and as it is.
var invalidLine = regexp.MustCompile(`(?s)line \[[0-9 ]*\] has invalid utf8 bytes.*`)

// withoutContents cuts off what kustomize quotes in an error.
func withoutContents(err error) error {
	if err == nil {
		return nil
	}
	before := err.Error()
	text := configQuote.ReplaceAllString(before, "")
	text = invalidLine.ReplaceAllLiteralString(text, "a line has invalid utf8 bytes")
	cut := text != before
	for _, quote := range quotes() {
		if at := strings.Index(text, quote); at >= 0 {
			text, cut = text[:at]+quote, true
		}
	}
	if !cut {
		return err
	}
	return errors.New(strings.TrimRight(strings.TrimSuffix(strings.TrimSuffix(text, "node contents"), "[patch: "), " :;[\n"))
}

// objects turns what kustomize rendered into objects, of so many bytes together:
// transformers put one text into many of them.
func objects(resources resmap.ResMap, most int) ([]*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	sum := 0
	for _, res := range resources.Resources() {
		obj, size, err := toObject(res)
		if err != nil {
			return nil, err
		}
		if sum += size; sum > most {
			return nil, fmt.Errorf("the objects that were built have more than %d bytes: make several Kustomizations of them", most)
		}
		if isObject(obj) {
			found = append(found, obj)
		}
	}
	return found, nil
}

func toObject(res *resource.Resource) (made *unstructured.Unstructured, size int, err error) {
	raw, err := res.MarshalJSON()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", res.CurId(), err)
	}
	made = &unstructured.Unstructured{}
	if err := made.UnmarshalJSON(raw); err != nil {
		return nil, 0, fmt.Errorf("%s: it is no Kubernetes object: apiVersion and kind have to be set", res.CurId())
	}
	return made, len(raw), nil
}

// isObject is false for what Flux leaves out: documents that kustomize itself is
// configured by, and those that lack a part of an object's identity. kustomize has
// refused most of the latter before.
func isObject(obj *unstructured.Unstructured) bool {
	return obj.GetAPIVersion() != "" && obj.GetKind() != "" && obj.GetName() != "" &&
		!strings.HasPrefix(obj.GetAPIVersion(), "kustomize.config.k8s.io/")
}
