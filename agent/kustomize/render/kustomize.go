package render

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/types"
)

// objects builds the directory, the short way where that leads to the same, and
// says whether it was short.
func (r *Renderer) objects(t *tree, dir string, k *types.Kustomization) (found []*unstructured.Unstructured, short bool, err error) {
	if !r.options.noShortWay {
		if found, ok := t.direct(dir, k); ok {
			r.shortcuts.Inc()
			if r.options.wrong != nil {
				found = r.options.wrong(found)
			}
			return found, true, nil
		}
		if errors.Is(t.refusal, ErrLong) {
			return nil, false, ErrLong
		}
		t.again()
	}
	t.counts = true
	found, err = r.run(t, dir)
	return found, false, err
}

// run runs kustomize. What it built is bounded in bytes: transformers put one text into
// many objects.
func (r *Renderer) run(t *tree, dir string) ([]*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	sum := 0
	err := r.options.Builder.Run(t.ctx, t, "/"+dir, func(name string, raw []byte) error {
		if sum += len(raw); sum > t.most.bytes {
			return fmt.Errorf("the objects that were built have more than %d bytes: make several Kustomizations of them", t.most.bytes)
		}
		obj := &unstructured.Unstructured{}
		if err := obj.UnmarshalJSON(raw); err != nil {
			return fmt.Errorf("%s: it is no Kubernetes object: apiVersion and kind have to be set", name)
		}
		if isObject(obj) {
			found = append(found, obj)
		}
		return nil
	})
	switch {
	case t.refusal != nil:
		// What kustomize made of it is further from the cause.
		return nil, t.refusal
	case err != nil:
		return nil, withoutContents(err)
	}
	return found, nil
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

// isObject is false for what Flux leaves out: documents that kustomize itself is
// configured by, and those that lack a part of an object's identity. kustomize has
// refused most of the latter before.
func isObject(obj *unstructured.Unstructured) bool {
	return obj.GetAPIVersion() != "" && obj.GetKind() != "" && obj.GetName() != "" &&
		!strings.HasPrefix(obj.GetAPIVersion(), "kustomize.config.k8s.io/")
}
