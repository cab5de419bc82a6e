package render

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	two       = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two, namespace: a}\ndata: {a: b}\n"
	namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
	crd       = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec:\n  group: example.com\n  names: {kind: Thing, plural: things}\n  scope: Namespaced\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]\n"
	thing     = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\nspec: {items: [{name: a}, {name: b}]}\n"
	listOf    = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: l1}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: l2}}\n"
	thingKind = `{"definitions": {"x": {"properties": {"spec": {"properties": {"items": {"items": {"type": "object"}, "type": "array", "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge"}}}}, "x-kubernetes-group-version-kind": [{"group": "example.com", "kind": "Thing", "version": "v1"}]}}}`
)

// data is a ConfigMap with one key, as YAML has it.
func data(value string) map[string][]byte {
	return files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: "+value+"\n")
}

// kustomized is a directory with a kustomization file.
func kustomized(kustomization string, pairs ...string) map[string][]byte {
	return files(append(pairs, "kustomization.yaml", kustomization)...)
}

// trees are directories, by what is odd about them; short says that they go the
// short way.
func trees() []sample {
	short := []sample{
		{name: "one object", files: files("a.yaml", one)},
		{name: "several files", files: files("a.yaml", one, "b.yml", two, "c.txt", "no")},
		{name: "directories", files: files("a/a.yaml", one, "b/c/d.yaml", two, "n.yaml", namespace)},
		{name: "documents", files: files("a.yaml", one+"---\n"+two)},
		{name: "documents with empty ones", files: files("a.yaml", "---\n---\n"+one+"---\n\n---\n# no\n---\n"+two+"---\n")},
		{name: "documents and comments after the line", files: files("a.yaml", "# first\n--- # sep\n"+one+"\n--- # next\n"+two)},
		{name: "documents with Windows line ends", files: files("a.yaml", strings.ReplaceAll(one+"---\n"+two, "\n", "\r\n"))},
		{name: "a List", files: files("a.yaml", listOf)},
		{name: "a List among documents", files: files("a.yaml", one+"---\n"+listOf)},
		{name: "an empty List", files: files("a.yaml", "apiVersion: v1\nkind: List\nitems: []\n", "b.yaml", one)},
		{name: "a ConfigMapList", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMapList\nmetadata: {name: x}\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: l1}}\n")},
		{name: "an object whose kind ends in List", files: files("a.yaml", "apiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: x}\nspec: {a: 1}\n")},
		{name: "an anchor", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: &n x, labels: {app: *n}}\n")},
		{name: "a merge key", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\nbase: &b {a: one, b: two}\ndata: {<<: *b, b: three}\n")},
		{name: "an anchor of a list", files: files("a.yaml", "apiVersion: example.com/v1\nkind: T\nmetadata: {name: x}\na: &l [1, two]\nb: *l\nc: {d: *l}\n")},
		{name: "anchors in documents", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: &a x}\ndata: {n: *a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: &a y}\ndata: {n: *a}\n")},
		{name: "comments", files: files("a.yaml", "# head\napiVersion: v1 # v\nkind: ConfigMap\n# before\nmetadata: {name: x} # after\n# foot\n")},
		{name: "comments in a list", files: files("a.yaml", "apiVersion: example.com/v1\nkind: T\nmetadata:\n  name: x\nlist:\n# one\n- a # a\n# two\n- b\n")},
		{name: "a comment for a value", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: \"# no comment\"\n  b: |\n    # nor this\n")},
		{name: "only comments", files: files("a.yaml", "# nothing\n", "b.yaml", one)},
		{name: "an empty file", files: files("a.yaml", "", "b.yaml", one)},
		{name: "a file of line breaks", files: files("a.yaml", "\n\n\n", "b.yaml", one)},
		{name: "a file of null", files: files("a.yaml", "null\n", "b.yaml", one)},
		{name: "nothing but empty files", files: files("a.yaml", "", "b.yaml", "---\n")},
		{name: "a CRD and its instance", files: files("a.yaml", crd, "b.yaml", thing)},
		{name: "an instance before its CRD", files: files("a.yaml", thing, "z.yaml", crd)},
		{name: "a CRD in a document", files: files("a.yaml", thing+"---\n"+crd)},
		{name: "sorted by kind", files: files("a.yaml", deployment, "b.yaml", one, "c.yaml", namespace, "d.yaml", thing)},
		{name: "webhooks last", files: files("a.yaml", "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: x}\n", "b.yaml", thing, "c.yaml", one)},
		{name: "two groups of a kind", files: files("a.yaml", "apiVersion: z.example.com/v1\nkind: T\nmetadata: {name: x}\n", "b.yaml", "apiVersion: a.example.com/v1\nkind: T\nmetadata: {name: x}\n")},
		{name: "Namespaces of two groups", files: files("a.yaml", "apiVersion: z.example.com/v1\nkind: Namespace\nmetadata: {name: x}\n", "b.yaml", namespace, "c.yaml", "apiVersion: a.example.com/v1\nkind: Namespace\nmetadata: {name: x}\n")},
		{name: "names that begin alike", files: files("a.yaml", strings.ReplaceAll(one, "one", "b-1")+"---\n"+strings.ReplaceAll(one, "one", "b")+"---\n"+strings.ReplaceAll(one, "namespace: a", "namespace: b"))},
		{name: "a kustomization of resources", files: kustomized("resources: [b.yaml, a.yaml]", "a.yaml", one, "b.yaml", two, "c.yaml", thing)},
		{name: "a kustomization of directories", files: kustomized("resources: [./x, y/]", "x/kustomization.yml", "resources: [a.yaml]", "x/a.yaml", one, "y/Kustomization", "resources: [b.yaml]", "y/b.yaml", two)},
		{name: "a kustomization with all its type", files: kustomized("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a.yaml]", "a.yaml", one)},
		{name: "a kustomization below plain files", files: files("a.yaml", one, "x/kustomization.yaml", "resources: [b.yaml]", "x/b.yaml", two, "x/c.yaml", thing)},
		{name: "annotations that are no strings", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  annotations: {b: 1, a: true}\n")},
		{name: "empty annotations", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, annotations: {}}\n", "b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y, annotations: }\n")},
		{name: "labels that are no strings", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {b: 1.0, a: yes}}\n")},
		{name: "a name that is a number", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"12\"}\n")},
		{name: "a duplicate of a group", files: files("a.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n", "b.yaml", "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: x}\n")},
		{name: "a Secret of bytes", files: files("a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {a: !!binary aGVsbG8=, b: aGVsbG8=}\n")},
		{name: "text of many lines", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: |\n    one\n      two\n  b: >-\n    one\n    two\n\n    three\n  c: |+\n    end\n\n")},
		{name: "tabs and other alphabets", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: \"\\t\\u00e4\\U0001F600\", b: 'äöü', c: \"a\\\n  b\"}\n")},
		{name: "a null in a list", files: files("a.yaml", "apiVersion: example.com/v1\nkind: T\nmetadata: {name: x}\nlist: [a, ~]\n")},
		{name: "no apiVersion", files: files("a.yaml", "kind: ConfigMap\nmetadata: {name: x}\n", "b.yaml", one)},
		{name: "JSON", files: files("a.yaml", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}}`)},
	}
	for name, value := range map[string]string{
		"digits": `"0123"`, "an octal number": `0123`, "a large number": `12345678901234567890`, "a decimal": `1.50`, "an exponent": `1e3`, "a hexadecimal": `0x1F`,
		"yes": `yes`, "a quoted true": `"true"`, "a null": `~`, "a date": `2001-01-01`, "a colon": `12:30:45`, "an underscore": `1_000`,
	} {
		short = append(short, sample{name: "a value of " + name, files: data(value)})
	}
	for i := range short {
		short[i].short = true
	}
	return append(short, []sample{
		{name: "a generator of files", files: kustomized("configMapGenerator: [{name: x, files: [a.txt]}]\nresources: [a.yaml]", "a.yaml", one, "a.txt", "hello")},
		{name: "a generator of literals", files: kustomized("secretGenerator: [{name: x, literals: [a=b]}]\nresources: [a.yaml]", "a.yaml", one)},
		{name: "a generator that merges", files: kustomized("configMapGenerator: [{name: two, namespace: a, behavior: merge, literals: [c=d]}]\nresources: [a]", "a/kustomization.yaml", "configMapGenerator: [{name: two, namespace: a, literals: [a=b]}]")},
		{name: "a replacement", files: kustomized("resources: [a.yaml]\nreplacements: [{source: {kind: ConfigMap, name: two, fieldPath: data.a}, targets: [{select: {kind: ConfigMap, name: two}, fieldPaths: [data.c], options: {create: true}}]}]", "a.yaml", two)},
		{name: "a replacement of a name", files: kustomized("resources: [a.yaml, b.yaml]\nreplacements: [{source: {kind: ConfigMap, name: two}, targets: [{select: {kind: ConfigMap, name: one}, fieldPaths: [metadata.labels.of], options: {create: true}}]}]", "a.yaml", two, "b.yaml", one)},
		{name: "a replacement from a file", files: kustomized("resources: [a.yaml]\nreplacements: [{path: r.yaml}]", "a.yaml", two, "r.yaml", "source: {kind: ConfigMap, name: two, fieldPath: data.a}\ntargets: [{select: {kind: ConfigMap}, fieldPaths: [data.a]}]\n")},
		{name: "a schema", files: kustomized("openapi: {path: s.json}\nresources: [a.yaml]\npatches: [{patch: \"apiVersion: example.com/v1\\nkind: Thing\\nmetadata: {name: t}\\nspec: {items: [{name: b, x: z}]}\"}]", "a.yaml", thing, "s.json", thingKind)},
		{name: "a schema and a CRD", files: kustomized("openapi: {path: s.json}\nresources: [a.yaml, crd.yaml]", "a.yaml", thing, "crd.yaml", crd, "s.json", thingKind)},
		{name: "a schema below", files: kustomized("resources: [x, b.yaml]", "b.yaml", one, "x/kustomization.yaml", "openapi: {path: s.json}\nresources: [a.yaml]", "x/a.yaml", thing, "x/s.json", thingKind)},
		{name: "a prefix", files: kustomized("namePrefix: p-\nresources: [a.yaml]", "a.yaml", one)},
		{name: "a namespace", files: kustomized("namespace: z\nresources: [a.yaml, n.yaml]", "a.yaml", one, "n.yaml", namespace)},
		{name: "labels", files: kustomized("labels: [{pairs: {a: b}}]\nresources: [a.yaml]", "a.yaml", deployment)},
		{name: "an order", files: kustomized("sortOptions: {order: fifo}\nresources: [a.yaml, b.yaml]", "a.yaml", deployment, "b.yaml", namespace)},
		{name: "bases", files: kustomized("bases: [x]", "x/kustomization.yaml", "resources: [a.yaml]\nnamePrefix: y-", "x/a.yaml", one)},
		{name: "what stays local", files: files("a.yaml", one, "b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y, annotations: {config.kubernetes.io/local-config: 'true'}}\n")},
		{name: "kustomize's annotations", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y, annotations: {internal.config.kubernetes.io/previousNames: z, config.kubernetes.io/origin: x}}\n")},
		{name: "one object twice", files: files("a.yaml", one, "b.yaml", one)},
		{name: "one object twice, by the default namespace", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: default}\n")},
		{name: "no name", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\n")},
		{name: "no kind", files: files("a.yaml", "apiVersion: v1\nmetadata: {name: x}\n")},
		{name: "no YAML", files: files("a.yaml", "a: [\n")},
		{name: "invalid UTF-8", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: \"\xff\xfe\"}\n")},
		{name: "infinity", files: data(".inf")},
		{name: "a key twice", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b, a: c}\n")},
	}...)
}

type sample struct {
	name  string
	files map[string][]byte
	short bool
}

// rendering is all that a caller sees: the objects in order, or that there are
// none because of an error.
func rendering(t *testing.T, o Options, files map[string][]byte) (text string, short bool) {
	t.Helper()
	o.Builder = builder
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := endured(t, r, Request{Open: have(files)})
	if err != nil {
		return "error: " + err.Error(), false
	}
	var lines []string
	for _, obj := range objects {
		lines = append(lines, asJSON(t, obj))
	}
	return strings.Join(lines, "\n"), testutil.ToFloat64(r.shortcuts) == 1
}

func asJSON(t *testing.T, obj *unstructured.Unstructured) string {
	t.Helper()
	raw, err := obj.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// disagreement renders both ways, of which the short one may have a wrong rule, and says
// where they differ.
func disagreement(t *testing.T, files map[string][]byte, wrong func([]*unstructured.Unstructured) []*unstructured.Unstructured) (difference string, short bool) {
	t.Helper()
	long, _ := rendering(t, Options{noShortWay: true}, files)
	got, short := rendering(t, Options{wrong: wrong}, files)
	if got != long {
		return fmt.Sprintf("the short way:\n%s\nkustomize:\n%s", got, long), short
	}
	return "", short
}

func TestTheShortWayLeadsToTheSame(t *testing.T) {
	taken := 0
	all := trees()
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			difference, short := disagreement(t, c.files, nil)
			g.Expect(difference).To(BeEmpty())
			g.Expect(short).To(Equal(c.short), "whether it takes the short way")
			if short {
				taken++
			}
		})
	}
	g := NewWithT(t)
	g.Expect(len(all)).To(BeNumerically(">=", 60))
	g.Expect(taken).To(BeNumerically(">=", len(all)/2))
}

// What holds the two ways against each other sees a short way that does something else.
func TestAWrongRuleIsSeen(t *testing.T) {
	each := func(change func(content map[string]any)) func([]*unstructured.Unstructured) []*unstructured.Unstructured {
		return func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
			for _, obj := range objects {
				change(obj.Object)
			}
			return objects
		}
	}
	values := func(text string, by any) func([]*unstructured.Unstructured) []*unstructured.Unstructured {
		return each(func(content map[string]any) {
			data, _ := content["data"].(map[string]any)
			for key, value := range data {
				if value == text {
					data[key] = by
				}
			}
		})
	}
	for name, wrong := range map[string]func([]*unstructured.Unstructured) []*unstructured.Unstructured{
		"the last object is lost": func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
			return objects[:max(0, len(objects)-1)]
		},
		"the first object comes twice": func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
			return slices.Concat(objects[:min(1, len(objects))], objects)
		},
		"two objects are swapped": func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
			if len(objects) > 1 {
				objects[0], objects[1] = objects[1], objects[0]
			}
			return objects
		},
		"objects are ordered by name": func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
			slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
			return objects
		},
		"empty annotations are kept": each(func(content map[string]any) {
			metadata, _ := content["metadata"].(map[string]any)
			if _, has := metadata["annotations"]; !has {
				metadata["annotations"] = map[string]any{}
			}
		}),
		"texts become numbers": values("0123", int64(123)),
		"texts become true":    values("true", true),
		"all are in a namespace": each(func(content map[string]any) {
			metadata, _ := content["metadata"].(map[string]any)
			metadata["namespace"] = "default"
		}),
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range trees() {
				if difference, _ := disagreement(t, c.files, wrong); difference != "" {
					return
				}
			}
			t.Error("no tree shows it")
		})
	}
}

func TestTheShortWayLeadsToTheSameForGeneratedTrees(t *testing.T) {
	g := NewWithT(t)
	random := rand.New(rand.NewPCG(1, 2))
	taken := 0
	const n = 60
	for range n {
		made := generate(random)
		difference, short := disagreement(t, made, nil)
		g.Expect(difference).To(BeEmpty(), "of %q", made)
		if short {
			taken++
		}
	}
	g.Expect(taken).To(BeNumerically(">=", n/2))
}

// generate makes a tree of odd pieces.
func generate(random *rand.Rand) map[string][]byte {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	made := map[string][]byte{}
	for i := range 1 + random.IntN(5) {
		var documents []string
		for j := range 1 + random.IntN(3) {
			name := fmt.Sprintf("%s-%d-%d", pick("a", "b", "z"), i, j)
			documents = append(documents, fmt.Sprintf("%sapiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n%s%sspec: {v: %s}\n",
				pick("", "# c\n"), pick("v1", "apps/v1", "example.com/v1"), pick("ConfigMap", "Namespace", "Deployment", "Thing", "ClusterRole"), name,
				pick("", "  namespace: n\n", "  namespace: default\n"), pick("", "  labels: {l: x}\n", "  annotations: {a: 1}\n", "  annotations: {}\n"),
				pick("1", "'1'", "1.0", "yes", "~", "[a, b]", "{c: 012}", "\"\\u00e4\"", "1e5", "2001-01-01")))
		}
		made[pick("", "d/", "e/f/")+fmt.Sprintf("%d", i)+pick(".yaml", ".yml")] = []byte(strings.Join(documents, "---\n"))
	}
	if random.IntN(3) == 0 {
		var names []string
		for name := range made {
			names = append(names, name)
		}
		made["kustomization.yaml"] = []byte(pick("", "", "namePrefix: p-\n") + "resources: [" + strings.Join(names, ", ") + "]\n")
	}
	return made
}

func BenchmarkBuild(b *testing.B) {
	source := have(files("a.yaml", namespace, "b.yaml", two, "c.yaml", deployment, "d.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"))
	for name, c := range map[string]struct {
		options Options
		request Request
	}{
		"kustomize": {Options{noShortWay: true}, Request{Open: source}},
		"direct":    {Options{}, Request{Open: source}},
		"cached":    {Options{}, Request{Digest: "sha256:1", Open: source}},
	} {
		b.Run(name, func(b *testing.B) {
			c.options.Builder = builder
			r, err := New(c.options)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := r.Render(b.Context(), c.request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
