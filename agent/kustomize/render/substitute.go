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

// replaceAll is the one function whose result can be longer than its parts.
var replaceAll = regexp.MustCompile(`\$\{[^}/]*//`)

// trimmed finds the variables from which something is taken away by a pattern.
var trimmed = regexp.MustCompile(`\$\{([_[:alpha:]][_[:alpha:][:digit:]]*)[#%]`)

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

// fill returns the objects with variables replaced. Objects without any are
// those that were given.
func (v *Variables) fill(objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	for name := range v.Values {
		if !variableName.MatchString(name) {
			return nil, fmt.Errorf("postBuild: '%s' var name is invalid, must match '%s'", abbreviated(name), variableName)
		}
	}
	if len(v.Values) == 0 && !v.Always {
		return objects, nil
	}
	filled := make([]*unstructured.Unstructured, len(objects))
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
	multiplies := replaceAll.MatchString(text)
	trims := map[string]bool{}
	for _, found := range trimmed.FindAllStringSubmatch(text, -1) {
		trims[found[1]] = true
	}
	size, exceeded := len(text), error(nil)
	replaced, err = envsubst.Eval(text, func(name string) (string, bool) {
		value, defined := v.Values[name]
		value = strings.ReplaceAll(value, "\n", "")
		size += len(value)
		if multiplies {
			size += len(value) * len(text)
		}
		if trims[name] && exceeded == nil {
			*trimming -= len(value) * len(value) * len(value)
		}
		switch {
		case exceeded != nil:
		case size > mostSubstituted:
			exceeded = errSubstituted
		case *trimming < 0:
			exceeded = fmt.Errorf("variable %s is too long to be trimmed by a pattern so often", name)
		default:
			return value, defined || v.Lenient
		}
		return "", false
	})
	if exceeded != nil {
		return "", exceeded
	}
	if err != nil {
		return "", fmt.Errorf("variable substitution: %w", err)
	}
	return replaced, nil
}
