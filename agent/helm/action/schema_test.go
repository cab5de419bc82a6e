package action

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"helm.sh/helm/v3/pkg/chart"
)

// chartOf is a chart of that name with the schema and the subcharts.
func chartOf(name, schema string, subcharts ...*chart.Chart) *chart.Chart {
	made := &chart.Chart{Metadata: &chart.Metadata{Name: name}}
	if schema != "" {
		made.Schema = []byte(schema)
	}
	made.AddDependency(subcharts...)
	return made
}

// chained are definitions of which each has the next one, by a reference, at each
// NEXT.
func chained(format string) string {
	const many = 40
	var all strings.Builder
	for i := range many {
		next := fmt.Sprintf(`{"$ref": "#/definitions/d%d"}`, i+1)
		fmt.Fprintf(&all, `"d%d": %s, `, i, strings.ReplaceAll(format, "NEXT", next))
	}
	fmt.Fprintf(&all, `"d%d": {"maxProperties": 100000}`, many)
	return `"definitions": {` + all.String() + `}`
}

// nested is an object in an object, and so on.
func nested(deep int) map[string]any {
	values := map[string]any{}
	for range deep {
		values = map[string]any{"a": values, "b": []any{values}}
	}
	return values
}

const tooMuch = "its values.schema.json is, with all that its references expand to, too much to hold these values against: " +
	"simplify it, or set disableSchemaValidation to do without"

// A schema of a few KB must not keep an agent busy for ever.
func TestSchemasWhoseReferencesExplode(t *testing.T) {
	first := `{"$ref": "#/definitions/d0", `
	for name, schema := range map[string]string{
		"allOf":             first + chained(`{"allOf": [NEXT, NEXT]}`) + "}",
		"allOf of draft 7":  `{"$schema": "http://json-schema.org/draft-07/schema#", "allOf": [{"$ref": "#/definitions/d0"}], ` + chained(`{"allOf": [NEXT, NEXT]}`) + "}",
		"anyOf that fails":  first + strings.Replace(chained(`{"anyOf": [NEXT, NEXT]}`), `"maxProperties": 100000`, `"type": "string"`, 1) + "}",
		"oneOf":             first + chained(`{"oneOf": [NEXT, NEXT]}`) + "}",
		"not":               first + chained(`{"allOf": [{"not": NEXT}, {"not": NEXT}]}`) + "}",
		"if and then":       first + chained(`{"if": NEXT, "then": NEXT}`) + "}",
		"if and else":       first + chained(`{"if": {"not": NEXT}, "else": NEXT}`) + "}",
		"properties":        first + chained(`{"properties": {"a": NEXT}, "patternProperties": {"^a": NEXT}}`) + "}",
		"failed properties": `{"not": {"$ref": "#/definitions/d0"}, ` + strings.Replace(chained(`{"properties": {"a": NEXT}, "patternProperties": {"^a": NEXT}}`), `"maxProperties": 100000`, `"maxProperties": 0`, 1) + "}",
		"dependentSchemas":  first + chained(`{"dependentSchemas": {"a": NEXT, "b": NEXT}}`) + "}",
		"dependencies":      `{"$schema": "http://json-schema.org/draft-07/schema#", "allOf": [{"$ref": "#/definitions/d0"}], ` + chained(`{"dependencies": {"a": NEXT, "b": NEXT}}`) + "}",
		"items":             first + chained(`{"properties": {"b": {"items": NEXT, "contains": NEXT}}}`) + "}",
		"unevaluated":       first + chained(`{"allOf": [{"unevaluatedProperties": NEXT}, {"unevaluatedProperties": NEXT}]}`) + "}",
		"$dynamicRef":       `{"$dynamicAnchor": "n", "properties": {"a": {"$dynamicRef": "#n"}}, "patternProperties": {"^a": {"$dynamicRef": "#n"}}}`,
		"$recursiveRef":     `{"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveAnchor": true, "properties": {"a": {"$recursiveRef": "#"}}, "patternProperties": {"^a": {"$recursiveRef": "#"}}}`,
		"itself":            `{"properties": {"a": {"$ref": "#"}}, "additionalProperties": true, "patternProperties": {"^a": {"$ref": "#"}}}`,
		// What is at the anchor is reached by no reference but the dynamic one.
		"$dynamicRef to another resource": `{"$id": "https://example.com/a", "$ref": "other", "$defs": {"there": {"$dynamicAnchor": "n", "$ref": "#/definitions/d0"}, ` +
			`"other": {"$id": "other", "$dynamicRef": "#n", "$defs": {"n": {"$dynamicAnchor": "n"}}}}, ` + chained(`{"allOf": [NEXT, NEXT]}`) + "}",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			session := &Session{ctx: t.Context()}
			g.Expect(json.Valid([]byte(schema))).To(BeTrue())
			g.Expect(session.validate(chartOf("app", schema), nested(45))).To(MatchError(HaveSuffix("in the following chart(s):\napp:\n" + tooMuch)))
		})
	}
}

func TestASubchartWhoseSchemaExplodes(t *testing.T) {
	g := NewWithT(t)
	session := &Session{ctx: t.Context()}
	app := chartOf("app", `{"type": "object"}`, chartOf("database", `{"$ref": "#/definitions/d0", `+chained(`{"allOf": [NEXT, NEXT]}`)+"}"))
	g.Expect(session.validate(app, map[string]any{"database": map[string]any{}})).To(MatchError(HaveSuffix("in the following chart(s):\ndatabase:\n" + tooMuch)))
}

// The compiler compares each part with all others, and keeps its path.
func TestSchemasThatAreTooLarge(t *testing.T) {
	for name, schema := range map[string]string{
		"parts": `{"allOf": [` + strings.Repeat("true, ", 100_000) + `{}]}`,
		"paths": `{"properties": {"` + strings.Repeat("a", 1<<20) + `": {"allOf": [` + strings.Repeat("{}, ", 1000) + `{}]}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			session := &Session{ctx: t.Context()}
			NewWithT(t).Expect(session.validate(chartOf("app", schema), map[string]any{})).To(MatchError(HaveSuffix("app:\n" + tooMuch)))
		})
	}
}

// A large chart has thousands of definitions, refers to the same ones from many
// places, and some of them to themselves.
func TestALargeSchemaAndItsValues(t *testing.T) {
	g := NewWithT(t)
	const services, fields = 400, 5
	definitions := map[string]any{
		"quantity": map[string]any{"anyOf": []any{map[string]any{"type": "string", "minLength": 1}, map[string]any{"type": "number"}}},
		"JSONSchemaProps": map[string]any{
			"properties": map[string]any{
				"type":       map[string]any{"enum": []any{"object", "string"}},
				"properties": map[string]any{"additionalProperties": map[string]any{"$ref": "#/definitions/JSONSchemaProps"}},
				"items":      map[string]any{"oneOf": []any{map[string]any{"$ref": "#/definitions/JSONSchemaProps"}, map[string]any{"type": "array"}}},
				"not":        map[string]any{"$ref": "#/definitions/JSONSchemaProps"},
			},
			"additionalProperties": false,
		},
	}
	properties, values := map[string]any{}, map[string]any{}
	for i := range services {
		own, given := map[string]any{}, map[string]any{}
		for j := range fields {
			below := fmt.Sprintf("service%d-%d", i, j)
			definitions[below] = map[string]any{"allOf": []any{map[string]any{"$ref": "#/definitions/quantity"}}}
			own[below], given[below] = map[string]any{"$ref": "#/definitions/" + below}, "100m"
		}
		name := fmt.Sprintf("service%d", i)
		definitions[name] = map[string]any{"type": "object", "properties": own, "additionalProperties": false}
		properties[name], values[name] = map[string]any{"$ref": "#/definitions/" + name}, given
	}
	properties["schema"] = map[string]any{"$ref": "#/definitions/JSONSchemaProps"}
	deep := map[string]any{"type": "string"}
	for range 50 {
		deep = map[string]any{"type": "object", "properties": map[string]any{"one": deep, "two": map[string]any{"type": "string"}}, "items": deep["items"]}
		if deep["items"] == nil {
			delete(deep, "items")
		}
	}
	values["schema"] = deep
	schema, err := json.Marshal(map[string]any{
		"$schema": "http://json-schema.org/draft-07/schema#", "definitions": definitions, "properties": properties, "additionalProperties": false,
	})
	g.Expect(err).NotTo(HaveOccurred())
	session := &Session{ctx: t.Context()}
	g.Expect(session.validate(chartOf("app", string(schema)), values)).To(Succeed())

	values["service7"].(map[string]any)["service7-1"] = true
	g.Expect(session.validate(chartOf("app", string(schema)), values)).To(MatchError(ContainSubstring("at '/service7/service7-1': got boolean, want string")))
}
