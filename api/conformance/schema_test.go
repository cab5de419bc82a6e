package conformance

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// Elements of a path that stand for the items of a list and of a map.
const (
	item  = "[0]"
	value = "[key]"
)

// property is one place in a schema.
type property struct {
	path   []string
	schema *apiextensionsv1.JSONSchemaProps
}

// field is the property's name as an API server writes it.
func (p property) field() string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.Join(p.path, "."), "."+item, item), "."+value, ".key")
}

// properties lists what is at and below a schema, in alphabetical order.
func properties(schema *apiextensionsv1.JSONSchemaProps, path ...string) []property {
	all := []property{{path: path, schema: schema}}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		inner := schema.Properties[name]
		all = append(all, properties(&inner, append(slices.Clone(path), name)...)...)
	}
	if schema.Items != nil {
		all = append(all, properties(schema.Items.Schema, append(slices.Clone(path), item)...)...)
	}
	if schema.AdditionalProperties != nil {
		all = append(all, properties(schema.AdditionalProperties.Schema, append(slices.Clone(path), value)...)...)
	}
	return all
}

// absent takes the place of a value that is to be missing.
type absent struct{}

// set returns a copy of a value in which the place at the path has another
// value. What is missing on the way is made; a list on the way gets one item.
func set(in any, path []string, to any) any {
	if len(path) == 0 {
		return to
	}
	if path[0] == item {
		return []any{set(nil, path[1:], to)}
	}
	fields, _ := in.(map[string]any)
	fields = maps.Clone(fields)
	if fields == nil {
		fields = map[string]any{}
	}
	name := strings.Trim(path[0], "[]")
	if _, missing := to.(absent); missing && len(path) == 1 {
		delete(fields, name)
		return fields
	}
	fields[name] = set(fields[name], path[1:], to)
	return fields
}

// examples of what the patterns ask for.
var examples = map[string]string{
	`^cluster\.x-k8s\.io/`:                            "cluster.x-k8s.io/v1beta2",
	`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`:                "1m0s",
	`^([0-9]+(\.[0-9]+)?(ms|s|m))+$`:                  "1m0s",
	`^(http|https|ssh)://.*$`:                         "https://example.com",
	`^(http|https|oci)://.*$`:                         "https://example.com",
	`^(http|https)://.*$`:                             "https://example.com",
	`^oci://.*$`:                                      "oci://example.com",
	`^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$`: "sha256:0123",
	`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`:        "Succeeded",
	`^[\-._a-zA-Z0-9]+$`:                              "values.yaml",
	`^([a-zA-Z0-9_\-.\\\/]|\[[0-9]{1,5}\])+$`:         "image.tag",
	`^[1-9][0-9]{0,2}(\.[0-9]{1,3})?$`:                "1.5",
	`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$`: "Ready",
}

// full is a value with every field of a schema. It obeys types, enums and
// patterns; rules across fields it does not.
func full(schema *apiextensionsv1.JSONSchemaProps) any {
	switch {
	case len(schema.Enum) > 0:
		return decode(schema.Enum[0].Raw)
	case schema.Type == "array":
		return []any{full(schema.Items.Schema)}
	case schema.Type == "object" && schema.AdditionalProperties != nil:
		return map[string]any{"key": full(schema.AdditionalProperties.Schema)}
	case schema.Type == "object":
		fields := map[string]any{}
		for name, inner := range schema.Properties {
			fields[name] = full(&inner)
		}
		return fields
	case schema.Type == "integer":
		return float64(1)
	case schema.Type == "boolean":
		return true
	case schema.Format == "date-time":
		return "2026-01-02T03:04:05Z"
	case schema.Pattern != "":
		return examples[schema.Pattern]
	case schema.Type == "string":
		// A duration without a pattern is one as well.
		return "1m0s"
	default:
		return map[string]any{"any": []any{"thing", float64(1), nil}}
	}
}

func decode(raw []byte) any {
	var decoded any
	if err := json.Unmarshal(raw, &decoded); err != nil {
		panic(err)
	}
	return decoded
}
