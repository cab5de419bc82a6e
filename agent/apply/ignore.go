package apply

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/headwater-dev/headwater/api/meta"
)

// Ignore is a rule that leaves fields of some objects to others.
type Ignore struct {
	// paths are JSON pointers, as their tokens.
	paths   [][]string
	matches func(*unstructured.Unstructured) bool
}

// ParseIgnore reads rules. An error names the entry, counted from zero.
func ParseIgnore(rules []meta.IgnoreRule) ([]Ignore, error) {
	parsed := make([]Ignore, len(rules))
	for i, rule := range rules {
		for _, text := range rule.Paths {
			path, err := parsePointer(text)
			if err != nil {
				return nil, fmt.Errorf("[%d].paths: %q: %w", i, text, err)
			}
			parsed[i].paths = append(parsed[i].paths, path)
		}
		matches, err := selects(rule.Target)
		if err != nil {
			return nil, fmt.Errorf("[%d].target.%w", i, err)
		}
		parsed[i].matches = matches
	}
	return parsed, nil
}

// parsePointer splits a JSON pointer. Those to what an object is known by are
// refused.
func parsePointer(text string) ([]string, error) {
	if !strings.HasPrefix(text, "/") || text == "/" {
		return nil, errors.New("want a JSON pointer such as /spec/replicas")
	}
	tokens := strings.Split(text[1:], "/")
	for i, token := range tokens {
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
	}
	switch {
	case tokens[0] == "apiVersion", tokens[0] == "kind",
		tokens[0] == "metadata" && (len(tokens) == 1 || tokens[1] == "name" || tokens[1] == "namespace"):
		return nil, errors.New("it is what the object is known by, and cannot be ignored")
	}
	return tokens, nil
}

// selects is what a selector says of an object. Without one it is all.
func selects(target *meta.Selector) (func(*unstructured.Unstructured) bool, error) {
	if target == nil {
		return func(*unstructured.Unstructured) bool { return true }, nil
	}
	var texts [5]*regexp.Regexp
	for i, part := range []struct{ field, pattern string }{
		{"group", target.Group}, {"version", target.Version}, {"kind", target.Kind}, {"namespace", target.Namespace}, {"name", target.Name},
	} {
		if part.pattern == "" {
			continue
		}
		compiled, err := regexp.Compile("^(?:" + part.pattern + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.field, err)
		}
		texts[i] = compiled
	}
	ofLabels, err := labels.Parse(target.LabelSelector)
	if err != nil {
		return nil, fmt.Errorf("labelSelector: %w", err)
	}
	ofAnnotations, err := labels.Parse(target.AnnotationSelector)
	if err != nil {
		return nil, fmt.Errorf("annotationSelector: %w", err)
	}
	return func(obj *unstructured.Unstructured) bool {
		gvk := obj.GroupVersionKind()
		for i, value := range []string{gvk.Group, gvk.Version, gvk.Kind, obj.GetNamespace(), obj.GetName()} {
			if texts[i] != nil && !texts[i].MatchString(value) {
				return false
			}
		}
		return ofLabels.Matches(labels.Set(obj.GetLabels())) && ofAnnotations.Matches(labels.Set(obj.GetAnnotations()))
	}, nil
}

// Leave returns the objects as they are to be applied where the rules of Ignore leave
// fields to others: of those that are there already, such a field stays as it
// is. New objects get all that their manifest says. It reads the objects that
// rules are for, and changes none of its arguments.
func (a *Applier) Leave(ctx context.Context, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	if len(a.Ignore) == 0 {
		return objects, nil
	}
	left := slices.Clone(objects)
	errs := a.parallel(ctx, len(objects), func(i int) error {
		var paths [][]string
		for _, rule := range a.Ignore {
			if rule.matches(objects[i]) {
				paths = append(paths, rule.paths...)
			}
		}
		if len(paths) == 0 || a.Owner.excluded(objects[i]) {
			return nil
		}
		live, err := a.get(ctx, RefTo(objects[i]))
		if err != nil || live == nil {
			return err
		}
		left[i] = leaving(objects[i], live, paths, a.Owner)
		return nil
	})
	if len(errs) > 0 {
		return nil, joined(errs)
	}
	return left, nil
}

// leaving is the desired object without any wish about the fields: one that is the
// owner's when the object is applied gets the value that it has, and any other is not
// spoken of, so that whoever owns it goes on doing so alone.
func leaving(desired, live *unstructured.Unstructured, paths [][]string, owner Owner) *unstructured.Unstructured {
	desired = desired.DeepCopy()
	own := owner.owned(desired, live)
	for _, path := range paths {
		_, wanted := lookup(desired.Object, path)
		value, found := lookup(live.Object, path)
		switch ours := found && owns(own, path); {
		case ours && wanted:
			replace(desired.Object, path, value)
		case ours:
			keep(desired, live, path)
		case wanted:
			remove(desired.Object, path)
		}
	}
	return desired
}

// keep adds a field of the live object that the manifest does not have: an apply without
// it would take away what is the owner's. In items of lists it adds none.
func keep(desired, live *unstructured.Unstructured, path []string) {
	value, found, err := unstructured.NestedFieldCopy(live.Object, path...)
	if err == nil && found {
		_ = unstructured.SetNestedField(desired.Object, value, path...) // it fails where there is a list
	}
}

// owned are the fields of a live object that are the owner's when it is applied: its
// own, and those that the clean-up takes for it from others. Fields that cannot be read
// count as not owned.
func (o Owner) owned(desired, live *unstructured.Unstructured) *fieldpath.Set {
	own := fieldpath.NewSet()
	for _, entry := range live.GetManagedFields() {
		taken := o.isForeign(entry) && !o.merges(desired)
		if !taken && !o.isOurs(entry) {
			continue
		}
		set, err := fieldsOf(entry)
		if err != nil {
			continue
		}
		if taken {
			set, _ = o.divide(set)
		}
		own = own.Union(set)
	}
	return own
}

// owns says whether a set of fields has the path, or some of what is below it. In
// lists, whose items the set knows by their keys, the answer is yes.
func owns(set *fieldpath.Set, path []string) bool {
	for i, token := range path {
		name := token
		element := fieldpath.PathElement{FieldName: &name}
		below, inside := set.Children.Get(element)
		switch {
		case inside:
			set = below
		case set.Members.Has(element):
			return true
		default:
			// Not a field of the set: an item of a list, or nobody's.
			return i > 0 && isIndex(token) && (set.Members.Size() > 0 || !set.Children.Empty())
		}
	}
	return true
}

// isIndex says whether a token of a pointer counts the items of a list.
func isIndex(token string) bool {
	_, err := strconv.ParseUint(token, 10, 31)
	return err == nil
}

// lookup finds the value that a path leads to.
func lookup(value any, path []string) (any, bool) {
	for _, token := range path {
		switch container := value.(type) {
		case map[string]any:
			inner, ok := container[token]
			if !ok {
				return nil, false
			}
			value = inner
		case []any:
			index, err := strconv.Atoi(token)
			if err != nil || index < 0 || index >= len(container) {
				return nil, false
			}
			value = container[index]
		default:
			return nil, false
		}
	}
	return value, true
}

// replace puts a value where the path leads, which is there.
func replace(root map[string]any, path []string, value any) {
	parent, _ := lookup(root, path[:len(path)-1])
	switch container := parent.(type) {
	case map[string]any:
		container[path[len(path)-1]] = runtime.DeepCopyJSONValue(value)
	case []any:
		if index, err := strconv.Atoi(path[len(path)-1]); err == nil {
			container[index] = runtime.DeepCopyJSONValue(value)
		}
	}
}

// remove takes away what the path leads to. Items of lists stay: those after
// them would be taken for others.
func remove(root map[string]any, path []string) {
	parent, _ := lookup(root, path[:len(path)-1])
	if container, ok := parent.(map[string]any); ok {
		delete(container, path[len(path)-1])
	}
}
