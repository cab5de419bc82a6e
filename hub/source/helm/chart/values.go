package chart

import (
	"errors"
	"fmt"
	"maps"

	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// ErrNoValues says that a values file does not exist.
var ErrNoValues = errors.New("it does not exist")

// MergeValues puts the values files over each other, the last one on top, and in
// the place of the chart's values.yaml. read returns one of them, or an error
// that wraps ErrNoValues; with ignoreMissing such a file is left out. It returns
// which files were merged. When none was, the chart stays as it is.
func (c *Chart) MergeValues(paths []string, ignoreMissing bool, read func(path string) ([]byte, error)) (merged []string, err error) {
	values := map[string]any{}
	for _, path := range paths {
		content, err := read(path)
		if ignoreMissing && errors.Is(err, ErrNoValues) {
			continue
		}
		layer := map[string]any{}
		if err == nil {
			err = unmarshal(content, &layer)
		}
		if err != nil {
			return nil, fmt.Errorf("spec.valuesFiles: %q: %s", path, reconcile.OneLine(err))
		}
		values = merge(values, layer)
		merged = append(merged, path)
	}
	if len(merged) == 0 {
		return nil, nil
	}
	text, err := yaml.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("spec.valuesFiles: %w", err)
	}
	c.Files[valuesFile] = text
	return merged, nil
}

// merge is base with over on top: maps are merged, all else is replaced, also by
// null.
func merge(base, over map[string]any) map[string]any {
	merged := maps.Clone(base)
	for key, value := range over {
		lower, isMap := merged[key].(map[string]any)
		upper, both := value.(map[string]any)
		if isMap && both {
			value = merge(lower, upper)
		}
		merged[key] = value
	}
	return merged
}
