package render

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headwater-dev/headwater/api/meta"
)

func configMap(data string) map[string][]byte {
	return files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\ndata:\n  x: "+data+"\n")
}

func fill(t *testing.T, files map[string][]byte, variables *Variables) ([]*unstructured.Unstructured, error) {
	t.Helper()
	r, err := New(Options{Builder: builder})
	if err != nil {
		t.Fatal(err)
	}
	return r.Render(t.Context(), Request{Open: have(files), Variables: variables})
}

func TestSubstitution(t *testing.T) {
	values := map[string]string{"v": "Hello", "n": "3", "b": "true", "nl": "one\ntwo", "e": ""}
	for text, want := range map[string]any{
		"${v}":              "Hello",
		"'<${v}>'":          "<Hello>",
		"$v":                "$v",
		"$${v}":             "${v}",
		"'${n}'":            int64(3),
		"'${b}'":            true,
		"'\"${n}\"'":        "\"3\"",
		"'n${n}'":           "n3",
		"${nl}":             "onetwo",
		"${gone:-default}":  "default",
		"${gone:=default}":  "default",
		"${gone=default}":   "default",
		"${v^^}":            "HELLO",
		"${v,,}":            "hello",
		"${v,}":             "hello",
		"'n${#v}'":          "n5",
		"${v:1}":            "ello",
		"${v:1:2}":          "el",
		"${v#He}":           "llo",
		"${v%lo}":           "Hel",
		"${v%%l*}":          "He",
		"${v/l/L}":          "HeLlo",
		"${v//l/L}":         "HeLLo",
		"${v/#H/J}":         "Jello",
		"${v/%o/a}":         "Hella",
		"${gone:-${v}}":     "Hello",
		"'<${e}>'":          "<>",
		"${gone:?an error}": "an error",
	} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			objects, err := fill(t, configMap(text), &Variables{Values: values})
			g.Expect(err).NotTo(HaveOccurred())
			got, _, _ := unstructured.NestedFieldNoCopy(objects[0].Object, "data", "x")
			g.Expect(got).To(Equal(want))
		})
	}
}

func TestSubstitutionRefuses(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name, text string
		values     map[string]string
		want       string
	}{
		{"an undefined variable", "${gone}", map[string]string{"v": "1"}, `postBuild: ConfigMap/b/a: variable substitution: variable not set (strict mode): "gone"`},
		{"an undefined variable in a function", "${gone^^}", map[string]string{"v": "1"}, `"gone"`},
		{"a bad name", "x", map[string]string{"a-b": "1"}, "postBuild: 'a-b' var name is invalid"},
		{"an expression without an end", "${v", map[string]string{"v": "1"}, "ConfigMap/b/a: variable substitution"},
		{"a value that breaks the YAML", "${v}", map[string]string{"v": "hunter2: [ {"}, "ConfigMap/b/a: with the variables filled in it is no YAML any more"},
		{"numbers that overflow", "${v:1:9223372036854775807}", map[string]string{"v": "abc"}, "variable substitution: the numbers of a function are out of bounds"},
		{"a value in place of each of its characters", "${v//x/${v}}", map[string]string{"v": long[:32<<10]}, "variables make it larger than 67108864 bytes"},
		{"a value that takes hours to be trimmed", "${v%%*y}", map[string]string{"v": long}, "variable v is too long to be trimmed by a pattern so often"},
		{"values that take hours to be trimmed", strings.Repeat("${v#*y}", 5000), map[string]string{"v": long[:1000]}, "variable v is too long to be trimmed by a pattern so often"},
		{"a value whose aliases multiply", "${v}", map[string]string{"v": "{k: &a " + long + strings.Repeat(", *a", 100) + "}"}, "variables make it larger than 67108864 bytes"},
		{"a list whose aliases multiply", "${v}", map[string]string{"v": "[&a " + long + strings.Repeat(", *a", 100) + "]"}, "variables make it larger than 67108864 bytes"},
		{"values that add up", strings.Repeat("${v}", 100), map[string]string{"v": long}, "variables make it larger than 67108864 bytes"},
		{"values that multiply", "${v//x/" + strings.Repeat("y", 100) + "}", map[string]string{"v": long}, "variables make it larger than 67108864 bytes"},
		{"expressions in expressions", strings.Repeat("${a:-", 30_000), map[string]string{"v": "1"}, "more than 20000 expressions"},
		{"aliases in a value", "${v}", map[string]string{"v": bomb()}, "ConfigMap/b/a: variables make it larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := fill(t, configMap(c.text), &Variables{Values: c.values})
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
			g.Expect(len(err.Error())).To(BeNumerically("<", 300))
		})
	}
}

// bomb is one line of YAML that stands for 10^9 values.
func bomb() string {
	line := "{a0: &a0 [x,x,x,x,x,x,x,x,x,x]"
	for i := range 9 {
		below := "*a" + string(rune('0'+i))
		line += ", a" + string(rune('1'+i)) + ": &a" + string(rune('1'+i)) + " [" + strings.Repeat(below+",", 9) + below + "]"
	}
	return line + "}"
}

func TestSubstitutionStrategies(t *testing.T) {
	for _, c := range []struct {
		name      string
		variables *Variables
		want      string
	}{
		{"none asked for", nil, "${gone:-d}"},
		{"no variables", &Variables{}, "${gone:-d}"},
		{"always", &Variables{Always: true}, "d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			objects, err := fill(t, configMap("'${gone:-d}'"), c.variables)
			g.Expect(err).NotTo(HaveOccurred())
			got, _, _ := unstructured.NestedString(objects[0].Object, "data", "x")
			g.Expect(got).To(Equal(c.want))
		})
	}
}

func TestSubstitutionLenient(t *testing.T) {
	g := NewWithT(t)
	objects, err := fill(t, configMap("'<${gone}>'"), &Variables{Always: true, Lenient: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(asYAML(t, objects)).To(ContainSubstring("x: <>\n"))
}

func TestSubstitutionOptOut(t *testing.T) {
	for _, where := range []string{"labels", "annotations"} {
		t.Run(where, func(t *testing.T) {
			g := NewWithT(t)
			objects, err := fill(t, files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, "+where+
				": {kustomize.toolkit.fluxcd.io/substitute: disabled}}\ndata: {x: '${v}'}\n"), &Variables{Values: map[string]string{"v": "1"}})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(asYAML(t, objects)).To(ContainSubstring("x: ${v}\n"))
		})
	}
}

func TestVariablesMakeTwoOfOne(t *testing.T) {
	_, err := fill(t, files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '${v}x'}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ax}\n"),
		&Variables{Values: map[string]string{"v": "a"}})
	NewWithT(t).Expect(err).To(MatchError("postBuild: variables make two objects ConfigMap/ax"))
}

func TestCommonMetadata(t *testing.T) {
	g := NewWithT(t)
	r, err := New(Options{Builder: builder})
	g.Expect(err).NotTo(HaveOccurred())
	objects, err := r.Render(t.Context(), Request{
		Open: have(files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {team: x, app: y}}\n")),
		CommonMetadata: &meta.CommonMetadata{
			Labels:      map[string]string{"team": "z"},
			Annotations: map[string]string{"note": "n"},
		},
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects[0].GetLabels()).To(Equal(map[string]string{"team": "z", "app": "y"}))
	g.Expect(objects[0].GetAnnotations()).To(Equal(map[string]string{"note": "n"}))
}

// Each object stays below the limit of one, and all of them do not below that of all.
func TestVariablesMakeAllObjectsTooLarge(t *testing.T) {
	var objects strings.Builder
	for i := range 20 {
		fmt.Fprintf(&objects, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\ndata: {x: '%s'}\n", i, strings.Repeat("${v}", 50))
	}
	g := NewWithT(t)
	few := defaultLimits()
	few.bytes = 4 << 20
	r, err := New(Options{Builder: builder, most: few})
	g.Expect(err).NotTo(HaveOccurred())
	request := Request{Open: have(files("a.yaml", objects.String())), Variables: &Variables{Values: map[string]string{"v": strings.Repeat("x", 2<<10)}}}
	_, err = r.Render(t.Context(), request)
	g.Expect(err).NotTo(HaveOccurred(), "two megabytes")
	request.Variables.Values["v"] = strings.Repeat("x", 5<<10)
	_, err = r.Render(t.Context(), request)
	g.Expect(err).To(MatchError("postBuild: variables make the objects larger than 4194304 bytes together"))
}
