package action

import (
	"encoding/json"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// FuzzValidate: a schema is a chart's, and the values are anybody's. Holding the
// ones against the other ends within its budget, and by an error and not by a crash.
func FuzzValidate(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 1}}}`, `{"a": 0}`},
		{`{"properties": {"a": {"$ref": "#"}}, "patternProperties": {"^a": {"$ref": "#"}}}`, `{"a": {"a": {"a": {}}}}`},
		{`{"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}`, `{}`},
		{`{"patternProperties": {"(a{1,50}){1,20}$": {"pattern": "^(a|a)*$"}}, "additionalProperties": false}`, `{"aaaa": "aaaab"}`},
		{`{"$dynamicAnchor": "n", "properties": {"a": {"$dynamicRef": "#n"}}, "unevaluatedProperties": false}`, `{"a": {"b": 1}}`},
		{`{"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": ["b"], "c": {}}}`, `{"a": [1, null], "c": true}`},
		{`{"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveAnchor": true,
			"properties": {"a": {"$recursiveRef": "#"}}}`, `{"a": {"a": 1}}`},
		{`{"properties": {"a": {"enum": [1, "b", {"c": []}], "format": "date-time"}, "b": {"const": {"c": 1}}}}`, `{"a": {"c": []}, "b": 2}`},
		{`{"properties": {"a": {"contains": {"multipleOf": 0.01}, "uniqueItems": true, "minContains": 2}}}`, `{"a": [1, 1, 0.015, 1e300]}`},
		{`{"if": {"propertyNames": {"maxLength": 1}}, "then": {"not": {}}, "else": false}`, `{"a": ""}`},
		{`{"properties": {"a": {"contentEncoding": "base64", "contentMediaType": "application/json"}}}`, `{"a": "e30="}`},
		{`{"$ref": "#/definitions/d0", ` + chained(`{"allOf": [NEXT, NEXT]}`) + `}`, `{}`},
		{`{"$id": "urn:a", "$ref": "urn:b"}`, `{}`},
		{`{"$ref": "file:///etc/passwd"}`, `{}`},
		{`[{"$ref": 1}]`, `{}`},
		{`{`, `{}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, schema, values string) {
		var given map[string]any
		if json.Unmarshal([]byte(values), &given) != nil || leadsOut(schema) {
			return
		}
		g, ended := NewWithT(t), make(chan error, 1)
		go func() { ended <- validateOne(t.Context(), []byte(schema), given) }() // no timeout ends it
		var err error
		g.Eventually(ended, 3*validationTimeout).Should(Receive(&err))
		if err != nil {
			g.Expect(err.Error()).NotTo(ContainSubstring("crashed"))
		}
	})
}

// leadsOut says whether a schema may name an address that is fetched. Those of the
// drafts are in the library.
func leadsOut(schema string) bool {
	var parsed any
	if json.Unmarshal([]byte(schema), &parsed) != nil {
		return false
	}
	plain, err := json.Marshal(parsed)
	if err != nil {
		return true
	}
	text := string(plain)
	for _, draft := range []string{"2019-09", "2020-12"} {
		text = strings.ReplaceAll(text, `"$schema":"https://json-schema.org/draft/`+draft+`/schema"`, "")
	}
	return strings.Contains(strings.ToLower(text), "https:")
}
