package render

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"github.com/fluxcd/pkg/envsubst/parse"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Limits of what variables may make of one object. What is beyond them is a
// bomb: expressions nested in each other, or values that multiply.
const (
	mostExpressions = 20_000
	mostSubstituted = 64 << 20
	// mostTrimming is how many characters may be compared in a whole set of objects to
	// find what to trim: each beginning of a value is held against the pattern at each
	// of its places.
	mostTrimming = 2_000_000_000
)

// variableName is what a variable may be called.
var variableName = regexp.MustCompile(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`)

// errSubstituted says that a substitution was given up.
var errSubstituted = fmt.Errorf("variables make it larger than %d bytes", mostSubstituted)

// Variables are what ${...} in the objects stands for.
type Variables struct {
	// Values by name. Line breaks in them are left out, as in Flux.
	Values map[string]string
	// Always fills in defaults in the text even if there are no values.
	Always bool
	// Lenient takes an undefined variable for an empty one instead of failing.
	Lenient bool
}

// digest identifies the variables.
func (v *Variables) digest() string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%t %t\n", v.Always, v.Lenient)
	for _, name := range slices.Sorted(maps.Keys(v.Values)) {
		fmt.Fprintf(sum, "%q=%q\n", name, v.Values[name])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// fill returns the objects with variables replaced, up to so many bytes of them
// together. Objects without any are those that were given.
func (v *Variables) fill(objects []*unstructured.Unstructured, most int) ([]*unstructured.Unstructured, error) {
	for name := range v.Values {
		if !variableName.MatchString(name) {
			return nil, fmt.Errorf("postBuild: '%s' var name is invalid, must match '%s'", abbreviated(name), variableName)
		}
	}
	if len(v.Values) == 0 && !v.Always {
		return objects, nil
	}
	filled, sum := make([]*unstructured.Unstructured, len(objects)), int64(0)
	seen, trimming := make(map[string]bool, len(objects)), mostTrimming
	for i, obj := range objects {
		made, err := v.fillOne(obj, &trimming)
		if err != nil {
			return nil, fmt.Errorf("postBuild: %s: %w", nameOf(obj), err)
		}
		id := made.GetAPIVersion() + "/" + nameOf(made)
		if seen[id] {
			return nil, fmt.Errorf("postBuild: variables make two objects %s", nameOf(made))
		}
		seen[id] = true
		if made != obj {
			sum += sizeOf(made.Object)
		}
		if sum > int64(most) {
			return nil, fmt.Errorf("postBuild: variables make the objects larger than %d bytes together", most)
		}
		filled[i] = made
	}
	return filled, nil
}

// fillOne substitutes in the text of an object, as Flux does: a value that looks
// like a number becomes one.
func (v *Variables) fillOne(obj *unstructured.Unstructured, trimming *int) (*unstructured.Unstructured, error) {
	if disabled(obj, "kustomize.toolkit.fluxcd.io/substitute") {
		return obj, nil
	}
	text, err := yaml.Marshal(obj.Object)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(string(text), "$") {
		return obj, nil
	}
	replaced, err := v.expand(string(text), trimming)
	if err != nil {
		return nil, err
	}
	raw, err := toJSON(replaced)
	if err != nil {
		return nil, err
	}
	made := &unstructured.Unstructured{}
	if err := made.UnmarshalJSON(raw); err != nil || made.GetName() == "" {
		return nil, errors.New("with the variables filled in it is no Kubernetes object any more")
	}
	return made, nil
}

// toJSON parses an object with the variables filled in, which may be YAML of a
// tenant's making.
func toJSON(replaced string) ([]byte, error) {
	if values([]byte(replaced)) > maxValues {
		return nil, fmt.Errorf("with the variables filled in it has more than %d values", maxValues)
	}
	found, err := aliasNodes([]byte(replaced))
	if err == nil && found.aliased.bytes > mostSubstituted {
		return nil, errSubstituted
	}
	var raw []byte
	if err == nil {
		raw, err = yaml.YAMLToJSON([]byte(replaced))
	}
	if err != nil {
		return nil, errors.New("with the variables filled in it is no YAML any more: quote them in the text")
	}
	return raw, nil
}

// expand replaces the expressions of a text, within bounds. Trimming is what is left
// of mostTrimming.
func (v *Variables) expand(text string, trimming *int) (replaced string, err error) {
	defer func() {
		if recover() != nil { // as of ${v:1:9223372036854775807}
			replaced, err = "", errors.New("variable substitution: the numbers of a function are out of bounds")
		}
	}()
	if strings.Count(text, "${") > mostExpressions {
		return "", fmt.Errorf("it has more than %d expressions ${...}", mostExpressions)
	}
	tree, err := parse.Parse(text)
	if err != nil {
		return "", fmt.Errorf("variable substitution: %w", err)
	}
	needs := needed{values: v.Values, trimming: trimming}
	needs.size(tree.Root)
	switch {
	case needs.bytes > mostSubstituted:
		return "", errSubstituted
	case *trimming < 0:
		return "", fmt.Errorf("variable %s is too long to be trimmed by a pattern so often", needs.trimmed)
	}
	replaced, err = envsubst.Eval(text, func(name string) (string, bool) {
		value, defined := v.Values[name]
		return strings.ReplaceAll(value, "\n", ""), defined || v.Lenient
	})
	if err != nil {
		return "", fmt.Errorf("variable substitution: %w", err)
	}
	return replaced, nil
}

// needed adds up what the expressions of a text ask for, at most.
type needed struct {
	values map[string]string
	// bytes are written for all of them, those inside of others included.
	bytes int
	// trimming is what is left of mostTrimming, and trimmed the variable that used it up.
	trimming *int
	trimmed  string
}

// size is how long a part of the text becomes, at most and not above what is allowed.
func (n *needed) size(part parse.Node) int {
	size := 0
	switch part := part.(type) {
	case *parse.ListNode:
		for _, inner := range part.Nodes {
			size = min(size+n.size(inner), mostSubstituted+1)
		}
		return size // whose bytes are those of its parts
	case *parse.TextNode:
		size = len(part.Value)
	case *parse.FuncNode:
		size = n.function(part)
	}
	size = min(size, mostSubstituted+1)
	n.bytes = min(n.bytes+size, mostSubstituted+1)
	return size
}

// function is the size of an expression.
func (n *needed) function(f *parse.FuncNode) int {
	value := len(n.values[f.Param])
	size, last := value, 0
	for _, arg := range f.Args {
		last = n.size(arg)
		size += last
	}
	switch f.Name {
	case "//":
		// The last argument may come between all characters.
		size += value * last
	case "#", "##", "%", "%%":
		if len(f.Args) > 0 {
			n.trim(f.Param, min(value, 1<<20), last)
		}
	}
	return size
}

// trim counts what is compared to trim a value.
func (n *needed) trim(name string, value, pattern int) {
	if *n.trimming -= value * value * min(value, pattern+1); *n.trimming < 0 {
		*n.trimming, n.trimmed = -1, name
	}
}
