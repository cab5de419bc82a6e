package expr_test

import (
	"context"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/agent/expr"
	"github.com/headwater-dev/headwater/api/meta"
)

func compiler(t testing.TB) *expr.Compiler {
	t.Helper()
	made, err := expr.NewCompiler()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return made
}

func TestConditionsOverSelfAndDep(t *testing.T) {
	values := map[string]any{
		"self": map[string]any{"metadata": map[string]any{"labels": map[string]any{"version": "2"}}},
		"dep": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"version": "2"}, "generation": int64(3)},
			"status": map[string]any{"observedGeneration": int64(3), "conditions": []any{
				map[string]any{"type": "Ready", "status": "True"},
			}},
		},
	}
	for name, c := range map[string]struct {
		text string
		want bool
		err  string
	}{
		"the same label":         {text: `self.metadata.labels['version'] == dep.metadata.labels['version']`, want: true},
		"a condition":            {text: `dep.status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')`, want: true},
		"false":                  {text: `dep.metadata.generation == 4`},
		"numbers of two types":   {text: `dep.metadata.generation < 3.5`, want: true},
		"an optional field":      {text: `dep.?spec.?paused.orValue(true)`, want: true},
		"the strings extension":  {text: `'a,b'.split(',').size() == 2`, want: true},
		"a field that is absent": {text: `dep.spec.paused`, err: "no such key: spec"},
		"no bool at run time":    {text: `dep.metadata.generation`, err: "neither true nor false"},
		"too much work": {
			text: `[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, ` +
				`[1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, [1,2,3,4,5,6,7,8,9,10].all(g, dep.metadata.generation + a + b + c + d + e + f + g > 0)))))))`,
			err: "cost limit exceeded",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			condition, err := compiler(t).CompileReady(c.text)
			g.Expect(err).NotTo(HaveOccurred())
			got, err := condition.Holds(t.Context(), values)
			if c.err != "" {
				g.Expect(err).To(MatchError(ContainSubstring(c.err)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(c.want))
		})
	}
}

// Each of these would take gigabytes, or minutes, in one call.
func TestCallsThatAreTooMuch(t *testing.T) {
	long := strings.Repeat("a", 900_000)
	many := make([]any, 300_000)
	for i := range many {
		many[i] = "x"
	}
	values := map[string]any{"self": map[string]any{"long": long, "many": many}}
	word := strings.Repeat("b", 15_000)
	for name, text := range map[string]string{
		"replace":         `self.long.replace('a', '` + word + `') == ''`,
		"replace nothing": `self.long.replace('', '` + word + `') == ''`,
		"replace some":    `self.long.replace('a', '` + word + `', 100000) == ''`,
		"join":            `self.many.join('` + word + `') == ''`,
		"join texts":      `[self.long, self.long].join() == ''`,
		"format":          `'%s%s'.format([self.long, self.long]) == ''`,
		"format a list":   `'%s'.format([[[self.long], {'x': self.long}]]) == ''`,
		"matches":         `self.long.matches('(a?){500}')`,
		"a long pattern":  `self.long.matches('` + word + `')`,
		"contains":        `sets.contains(self.many, self.many)`,
		"intersects":      `sets.intersects(self.many, self.many)`,
		"equivalent":      `sets.equivalent(self.many, self.many)`,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			condition, err := compiler(t).CompileReady(text)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = condition.Holds(t.Context(), values)
			g.Expect(err).To(MatchError(Or(ContainSubstring("that are allowed"), ContainSubstring("cost limit exceeded"))))
		})
	}
}

// Each step of these is cheap. Together they make a value that cannot be gone
// through, because lists share their elements, or they keep gigabytes.
func TestExpressionsThatMakeTooMuch(t *testing.T) {
	lists := "[1]" + strings.Repeat(".map(a, [a,a,a,a,a,a,a,a,a,a])", 20)
	sums := "[[1]]" + strings.Repeat(".map(a, a + a)", 40)
	maps := "[{'x': 1}]" + strings.Repeat(".map(a, {'x': a, 'y': a})", 40)
	optionals := "[1]" + strings.Repeat(".map(a, [optional.of(a), optional.of(a)])", 40)
	hundred := "[" + strings.Repeat("1,", 99) + "1]"
	often := func(made string) string { return hundred + ".map(i, " + hundred + ".map(j, " + made + ")) == []" }
	values := map[string]any{"long": strings.Repeat("abc ", 75_000)}
	for name, text := range map[string]string{
		"equal":           lists + ".all(a, a == a)",
		"not equal":       lists + ".all(a, a != a)",
		"equal sums":      sums + ".all(a, a == a)",
		"equal maps":      maps + ".all(a, a == a)",
		"equal optionals": optionals + ".all(a, a == a)",
		"in":              lists + ".all(a, a in [a])",
		"the older in":    lists + ".all(a, _in_(a, [a]))",
		"contains":        lists + ".all(a, sets.contains([a], [a]))",
		"intersects":      lists + ".all(a, sets.intersects([a], [a]))",
		"equivalent":      lists + ".all(a, sets.equivalent([a], [a]))",
		"an absent key":   lists + ".all(a, {'x': 1}[a] == 1)",
		"a bad index":     lists + ".all(a, [1][a] == 1)",
		"no optional":     lists + ".all(a, [?a] == [])",
		"json":            lists + ".all(a, json.encode(a) != '')",
		"much json":       "[1,2,3,4].map(k, [long,long,long,long]).all(a, json.encode(a) != '')",
		"base64.decode":   often("base64.decode(long.replace(' ', 'd'))"),
		"base64.encode":   often("base64.encode(bytes(long))"),
		"format":          often("'%s'.format([long])"),
		"replace":         often("long.replace('b', 'c')"),
		"join":            often("[long, long].join()"),
		"upperAscii":      often("long.upperAscii()"),
		"reverse":         often("long.reverse()"),
		"split":           often("long.split(' ')"),
		"indexOf":         "(long + long).indexOf(long + 'd') == 0",
		"lastIndexOf":     "(long + long).lastIndexOf(long + 'd') == 0",
		"often compared":  "[" + hundred + ".map(i, " + hundred + ")].all(a, " + hundred + ".all(i, " + hundred + ".all(j, a == a)))",
		"often contained": "[[" + hundred + ".map(i, " + hundred + ")]].all(a, " + hundred + ".all(i, " + hundred + ".all(j, sets.contains(a, a))))",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			condition, err := compiler(t).Compile(text)
			g.Expect(err).NotTo(HaveOccurred())
			ended := make(chan error, 1)
			go func() {
				_, err := condition.Holds(t.Context(), values)
				ended <- err
			}()
			g.Eventually(ended, "30s").Should(Receive(&err))
			g.Expect(err).To(MatchError(Or(ContainSubstring("that are allowed"), ContainSubstring("cost limit exceeded"))))
		})
	}
}

// The checker has no context, and goes through types that double with each loop.
func TestTypesThatAreTooMuch(t *testing.T) {
	g := NewWithT(t)
	made, ended := compiler(t), make(chan error, 1)
	go func() {
		_, err := made.CompileReady("[1]" + strings.Repeat(".map(a, {a: a})", 40) + " != []")
		ended <- err
	}()
	g.Eventually(ended, "1m").Should(Receive(MatchError(ContainSubstring("more than the 8 keys of maps that are allowed to be computed"))))
	_, err := made.CompileReady("{dep.metadata.name: 1}[self.metadata.name] == 1")
	g.Expect(err).NotTo(HaveOccurred())
}

func TestComparisonsAreThoseOfTheLanguage(t *testing.T) {
	values := map[string]any{"list": []any{"x", int64(1), map[string]any{"a": []any{true}}}, "map": map[string]any{"a": "b"}, "text": "x"}
	for text, want := range map[string]bool{
		`list == ['x', 1, {'a': [true]}]`:                         true,
		`list != ['x', 1, {'a': [false]}]`:                        true,
		`list == map || map != map`:                               false,
		`text in list && 1.0 in list`:                             true,
		`{'a': [true]} in list && 'a' in map`:                     true,
		`'b' in map || 'y' in list`:                               false,
		`map.?nope == optional.none() && text == 'x'`:             true,
		`1 == 1.0 && 1u == 1 && null == null && dyn(null) != 'x'`: true,
		`map.nope == 1 || true`:                                   true,
	} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			condition, err := compiler(t).Compile(text)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(condition.Holds(t.Context(), values)).To(Equal(want))
		})
	}
}

func TestCallsThatAreNotTooMuch(t *testing.T) {
	values := map[string]any{"self": map[string]any{"long": strings.Repeat("a", 900_000), "list": []any{"x", "y"}}}
	for name, text := range map[string]string{
		"replace":      `self.long.replace('b', 'c').size() == 900000`,
		"replace some": `'aaa'.replace('a', 'b', 2) == 'bba' && 'ab'.replace('', '-') == '-a-b-'`,
		"join":         `self.list.join(', ') == 'x, y' && self.list.join() == 'xy'`,
		"format":       `'%s is %d of %s'.format(['a', 1, self.list]) == 'a is 1 of [x, y]'`,
		"matches":      `self.long.matches('^a+$') && matches('abc', 'b')`,
		"encoders":     `base64.encode(base64.decode('aGk=')) == 'aGk=' && json.encode({'a': [1]}) == '{"a":[1]}'`,
		"indexOf":      `self.long.indexOf('b') == -1 && 'aba'.lastIndexOf('a') == 2`,
		"comparisons":  `self == self && self.list in [self.list] && 'list' in self && [self.list] != []`,
		"sets":         `sets.contains(self.list, ['x']) && sets.intersects(self.list, ['y', 'z']) && sets.equivalent(self.list, ['y', 'x'])`,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			condition, err := compiler(t).CompileReady(text)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(condition.Holds(t.Context(), values)).To(BeTrue())
		})
	}
}

func TestExpressionsThatDoNotCompile(t *testing.T) {
	for name, c := range map[string]struct{ text, err string }{
		"empty":            {"", "parse the CEL expression"},
		"a syntax error":   {"self.", "parse the CEL expression"},
		"no bool":          {"'text'", "it has to be true or false"},
		"another variable": {"other.x", "undeclared reference to 'other'"},
		"too long":         {"'" + strings.Repeat("a", 20000) + "' == ''", "more than the 16384"},
		"too deep":         {strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000), "recursion limit"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := compiler(t).CompileReady(c.text)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.err)))
		})
	}
}

func TestAnEvaluationEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	list := make([]any, 100_000)
	for i := range list {
		list[i] = int64(i)
	}
	condition, err := compiler(t).Compile("list.all(x, x >= 0)")
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = condition.Holds(ctx, map[string]any{"list": list})
	g.Expect(err).To(MatchError(ContainSubstring("interrupted")))
}

// Tenants write as many as they like: 16 KiB of text are a megabyte when compiled.
func TestLongExpressionsAreNotKept(t *testing.T) {
	g := NewWithT(t)
	made := compiler(t)
	for text, kept := range map[string]bool{"true": true, "[" + strings.Repeat("1,", 5000) + "1] != []": false} {
		for name, compile := range map[string]func(string) (*expr.Condition, error){"health": made.Compile, "ready": made.CompileReady} {
			first, err := compile(text)
			g.Expect(err).NotTo(HaveOccurred())
			second, err := compile(text)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(first == second).To(Equal(kept), name)
			g.Expect(second.Holds(t.Context(), nil)).To(BeTrue())
		}
	}
}

func TestHealth(t *testing.T) {
	checks := []meta.CustomHealthCheck{
		{APIVersion: "example.com/v1", Kind: "Store", HealthCheckExpressions: meta.HealthCheckExpressions{
			InProgress: "status.phase == 'Working'",
			Failed:     "status.phase in ['Broken', 'Both']",
			Current:    "status.phase in ['Done', 'Both']",
		}},
		{APIVersion: "example.com/v1alpha1", HealthCheckExpressions: meta.HealthCheckExpressions{Current: "has(spec.done)"}},
	}
	for name, c := range map[string]struct{ object, want, err string }{
		"in progress":             {object: "kind: Store\nstatus: {phase: Working}", want: "InProgress"},
		"failed":                  {object: "kind: Store\nstatus: {phase: Broken}", want: "Failed"},
		"failed goes first":       {object: "kind: Store\nstatus: {phase: Both}", want: "Failed"},
		"current":                 {object: "kind: Store\nstatus: {phase: Done}", want: "Current"},
		"none of them":            {object: "kind: Store\nstatus: {phase: Odd}", want: "InProgress"},
		"an older generation":     {object: "kind: Store\nmetadata: {generation: 2}\nstatus: {phase: Done, observedGeneration: 1}", want: "InProgress"},
		"the newest generation":   {object: "kind: Store\nmetadata: {generation: 2}\nstatus: {phase: Done, observedGeneration: 2}", want: "Current"},
		"no status yet":           {object: "kind: Store", want: "Unknown", err: "no such attribute"},
		"another kind, the group": {object: "kind: Other\nspec: {done: yes}", want: "Current"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			rules, err := compiler(t).Rules(checks)
			g.Expect(err).NotTo(HaveOccurred())
			raw, err := yaml.YAMLToJSON([]byte("apiVersion: example.com/v1\n" + c.object))
			g.Expect(err).NotTo(HaveOccurred())
			obj := &unstructured.Unstructured{}
			g.Expect(obj.UnmarshalJSON(raw)).To(Succeed())
			got, err := rules.For(obj.GroupVersionKind().GroupKind()).Status(t.Context(), obj)
			g.Expect(got.String()).To(Equal(c.want))
			if c.err == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(ContainSubstring(c.err)))
			}
		})
	}
	g := NewWithT(t)
	rules, err := compiler(t).Rules(checks)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(rules.For(schema.GroupKind{Group: "apps", Kind: "Deployment"})).To(BeNil())
}

func TestHealthChecksThatAreNotValid(t *testing.T) {
	done := meta.HealthCheckExpressions{Current: "true"}
	for name, c := range map[string]struct {
		checks []meta.CustomHealthCheck
		err    string
	}{
		"no current":       {[]meta.CustomHealthCheck{{APIVersion: "a.b/v1", Kind: "C"}}, "[0].current: parse the CEL expression"},
		"a syntax error":   {[]meta.CustomHealthCheck{{APIVersion: "a.b/v1", Kind: "C", HealthCheckExpressions: meta.HealthCheckExpressions{Current: "true", Failed: "("}}}, "[0].failed: parse"},
		"twice":            {[]meta.CustomHealthCheck{{APIVersion: "a.b/v1", Kind: "C", HealthCheckExpressions: done}, {APIVersion: "a.b/v2", Kind: "C", HealthCheckExpressions: done}}, `[1]: there is an entry for the group "a.b" and kind "C" already`},
		"a bad apiVersion": {[]meta.CustomHealthCheck{{APIVersion: "a/b/c", HealthCheckExpressions: done}}, "[0].apiVersion: unexpected GroupVersion string"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := compiler(t).Rules(c.checks)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.err)))
		})
	}
}

func FuzzCompile(f *testing.F) {
	for _, seed := range []string{"true", "dep.status.conditions.all(e, e.status == 'True')", "self.x[", "[[[[", "'\\u0000'", "dep.?a.?b.orValue(1) == 1", "dep['" + strings.Repeat("a", 4000) + "']"} {
		f.Add(seed)
	}
	made := compiler(f)
	f.Fuzz(func(t *testing.T, text string) {
		condition, err := made.CompileReady(text)
		if err != nil {
			return
		}
		if _, err = condition.Holds(t.Context(), map[string]any{"self": map[string]any{}, "dep": map[string]any{}}); err != nil {
			g := NewWithT(t)
			g.Expect(err).To(MatchError(And(HavePrefix("evaluate the CEL expression"), Not(ContainSubstring("internal error")))))
			g.Expect(len(err.Error())).To(BeNumerically("<", 2000))
		}
	})
}

// The error of an evaluation comes once for each object: it names the expression
// and does not repeat all of it.
func TestALongExpressionIsNotQuotedWhole(t *testing.T) {
	g := NewWithT(t)
	condition, err := compiler(t).CompileReady("dep.nope == '" + strings.Repeat("é", 4000) + "'")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = condition.Holds(t.Context(), map[string]any{"self": map[string]any{}, "dep": map[string]any{}})
	g.Expect(err).To(MatchError(And(HavePrefix("evaluate the CEL expression \"dep.nope == 'éé"), HaveSuffix("...\": no such key: nope"))))
	g.Expect(len(err.Error())).To(BeNumerically("<", 200))
}
