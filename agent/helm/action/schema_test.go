package action

import (
	"encoding/json"
	"fmt"
	"slices"
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

// numbers is a list of them in JSON, and in values.
func numbers(many int, step float64) (text string, values []any) {
	values = make([]any, many)
	for i := range values {
		values[i] = float64(i) * step
	}
	raw, _ := json.Marshal(values) // they are numbers
	return string(raw), values
}

// names are so many.
func names(many int) []any {
	made := make([]any, many)
	for i := range made {
		made[i] = fmt.Sprint("name", i)
	}
	return made
}

// keys is an object of so many.
func keys(many int) map[string]any {
	made := map[string]any{}
	for i := range many {
		made[fmt.Sprint("key", i)] = true
	}
	return made
}

// A part of a schema may be held against a value in a million ways, and its failure may
// take as much memory.
func TestSchemasWithAPartThatIsTooMuch(t *testing.T) {
	many, _ := numbers(200_000, 1)
	_, halves := numbers(200_000, 0.5)
	deep := any(make([]any, 20_000))
	for range 5_000 {
		deep = []any{deep}
	}
	patterns := map[string]any{}
	for i := range 2_000 {
		patterns[fmt.Sprintf("^x{%d}$", i%20)+fmt.Sprint(i)] = true
	}
	of := func(part any) string {
		text, _ := json.Marshal(map[string]any{"properties": map[string]any{"a": part}}) // it has nothing but JSON
		return string(text)
	}
	for name, tried := range map[string]struct {
		schema string
		value  any
	}{
		"enum":                 {`{"properties": {"a": {"items": {"enum": ` + many + `}}}}`, halves},
		"enum that fits":       {`{"properties": {"a": {"items": {"enum": ` + many + `}}}}`, []any(slices.Repeat([]any{199_999.0}, 200_000))},
		"const":                {`{"properties": {"a": {"items": {"anyOf": [` + strings.Repeat(`{"const": 0.1},`, 10_000) + `{"const": 0.2}]}}}}`, halves},
		"type":                 {`{"properties": {"a": {"items": {"anyOf": [` + strings.Repeat(`{"type": "string"},`, 10_000) + `{"type": "null"}]}}}}`, halves},
		"false":                {`{"properties": {"a": {"items": {"anyOf": [` + strings.Repeat(`false,`, 10_000) + `false]}}}}`, halves},
		"patternProperties":    {of(map[string]any{"patternProperties": patterns}), keys(100_000)},
		"pattern":              {of(map[string]any{"pattern": strings.Repeat("(a?){1000}", 100) + "b"}), strings.Repeat("a", 1<<20)},
		"patterns that are":    {of(map[string]any{"allOf": slices.Repeat([]any{map[string]any{"pattern": strings.Repeat("a{1000}", 100)}}, 1000)}), ""},
		"required":             {of(map[string]any{"items": map[string]any{"required": names(20_000)}}), slices.Repeat([]any{map[string]any{"c": true}}, 1000)},
		"additionalProperties": {`{"properties": {"a": {"anyOf": [` + strings.Repeat(`{"additionalProperties": false},`, 10_000) + `false]}}}`, keys(100_000)},
		"depth":                {`{"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}}`, deep},
	} {
		t.Run(name, func(t *testing.T) {
			session := &Session{ctx: t.Context()}
			NewWithT(t).Expect(session.validate(chartOf("app", tried.schema), map[string]any{"a": tried.value})).To(MatchError(HaveSuffix("app:\n" + tooMuch)))
		})
	}
}

// What the rules are called by in errors, and that they hold.
func TestTheRulesOfASchema(t *testing.T) {
	g := NewWithT(t)
	session := &Session{ctx: t.Context()}
	app := chartOf("app", `{"properties": {
		"zone": {"enum": ["a", "b", 3, null, {"c": [1]}]}, "fixed": {"const": {"a": 1}}, "never": false, "name": {"type": ["string", "null"], "pattern": "^[a-z]+$"}
	}, "patternProperties": {"^x-": {"type": "integer"}}, "required": ["name"]}`)
	for _, zone := range []any{"a", "b", 3.0, nil, map[string]any{"c": []any{1.0}}} {
		g.Expect(session.validate(app, map[string]any{"zone": zone, "fixed": map[string]any{"a": 1.0}, "name": "abc", "x-1": 1.0})).To(Succeed())
	}
	for message, wrong := range map[string]map[string]any{
		"- at '/zone': it does not meet 'enum'":         {"name": "a", "zone": "c"},
		"- at '/fixed': it does not meet 'const'":       {"name": "a", "fixed": map[string]any{"a": 2.0}},
		"- at '/never': false schema":                   {"name": "a", "never": 1.0},
		"- at '/name': got number, want null or string": {"name": 1.0},
		"- at '/name': it does not meet 'pattern'":      {"name": "A"},
		"- at '/x-1': got string, want integer":         {"name": "a", "x-1": "1"},
		"- at '/': missing property 'name'":             {},
	} {
		g.Expect(session.validate(app, wrong)).To(MatchError(HaveSuffix("app:\n" + message)))
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
