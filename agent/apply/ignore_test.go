package apply

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headwater-dev/headwater/api/meta"
)

func TestFieldsAreLeftToOthers(t *testing.T) {
	object := func(replicas int64, image string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"namespace": "a", "name": "web", "labels": map[string]any{"app": "web"}},
			"spec": map[string]any{"replicas": replicas, "template": map[string]any{"spec": map[string]any{
				"containers": []any{map[string]any{"name": "web", "image": image}},
			}}},
		}}
	}
	live := object(7, "live")
	live.SetManagedFields([]metav1.ManagedFieldsEntry{
		{Manager: "us", Operation: "Apply", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{},"f:name":{}}}}}},"f:metadata":{"f:labels":{"f:app":{}}}}`)},
		{Manager: "hpa", Operation: "Update", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`)},
	})
	for name, c := range map[string]struct {
		paths []string
		want  func(*unstructured.Unstructured)
	}{
		"another's field is not spoken of": {[]string{"/spec/replicas"}, func(o *unstructured.Unstructured) {
			unstructured.RemoveNestedField(o.Object, "spec", "replicas")
		}},
		"a field of ours stays as it is": {[]string{"/spec/template/spec/containers/0/image"}, func(o *unstructured.Unstructured) {
			*o = *object(3, "live")
		}},
		"a field that nobody wants":    {[]string{"/spec/paused", "/spec/replicas/x", "/spec/template/spec/containers/9/image"}, func(*unstructured.Unstructured) {}},
		"a field that is not there":    {[]string{"/metadata/labels/app"}, func(*unstructured.Unstructured) {}},
		"escaped tokens name no field": {[]string{"/metadata/labels/a~1b"}, func(*unstructured.Unstructured) {}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			desired, want := object(3, "wanted"), object(3, "wanted")
			c.want(want)
			var paths [][]string
			for _, text := range c.paths {
				path, err := parsePointer(text)
				g.Expect(err).NotTo(HaveOccurred())
				paths = append(paths, path)
			}
			g.Expect(leaving(desired, live, paths, Owner{FieldManager: "us"}).Object).To(Equal(want.Object))
			g.Expect(desired.Object).To(Equal(object(3, "wanted").Object), "the argument is not changed")
		})
	}
}

// No rule changes what an object is known by, says more than the manifest and the live
// object do, or changes either.
func FuzzIgnore(f *testing.F) {
	for _, seed := range []string{"/spec/replicas", "/metadata/labels/app", "/metadata", "/metadata/na~1me", "/metadata/name", "/", "//", "/spec/template/spec/containers/0", "/spec/list/-1/x", "/kind", "/~0~1", "/spec/list/0/name"} {
		f.Add(seed, "/spec", true)
		f.Add("/spec/list", seed, false)
	}
	object := func(value string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "Thing",
			"metadata": map[string]any{"namespace": "a", "name": "web", "labels": map[string]any{"app": value, "": value}},
			"spec":     map[string]any{"replicas": value, "list": []any{map[string]any{"name": value}, value}, "-1": value, "a/b": value, "~": value},
		}}
	}
	f.Fuzz(func(t *testing.T, one, other string, ours bool) {
		g := NewWithT(t)
		rules, err := ParseIgnore([]meta.IgnoreRule{{Paths: []string{one, other}}})
		if err != nil {
			return
		}
		desired, live := object("wanted"), object("live")
		if ours {
			live.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "us", Operation: "Apply", FieldsV1: metav1.NewFieldsV1(
				`{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:replicas":{},"f:list":{"k:{\"name\":\"live\"}":{".":{},"f:name":{}}}}}`)}})
		}
		before := live.DeepCopy()
		got := leaving(desired, live, rules[0].paths, Owner{FieldManager: "us"})
		g.Expect(RefTo(got)).To(Equal(RefTo(object("wanted"))))
		g.Expect(desired.Object).To(Equal(object("wanted").Object))
		g.Expect(live.Object).To(Equal(before.Object))
		g.Expect(got.GetLabels()["app"]).To(BeElementOf("wanted", "live", ""))
		if !ours {
			text, err := got.MarshalJSON()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(text)).NotTo(ContainSubstring("live"), "nobody's field is taken")
		}
	})
}

func TestRulesThatAreNotValid(t *testing.T) {
	for want, rule := range map[string]meta.IgnoreRule{
		`[0].paths: "spec.replicas": want a JSON pointer`: {Paths: []string{"spec.replicas"}},
		`[0].paths: "": want a JSON pointer`:              {Paths: []string{""}},
		`[0].paths: "/metadata/name": it is what the`:     {Paths: []string{"/metadata/name"}},
		`[0].target.kind: error parsing regexp`:           {Paths: []string{"/spec"}, Target: &meta.Selector{Kind: "("}},
		`[0].target.labelSelector: `:                      {Paths: []string{"/spec"}, Target: &meta.Selector{LabelSelector: "a in"}},
		`[0].target.annotationSelector: `:                 {Paths: []string{"/spec"}, Target: &meta.Selector{AnnotationSelector: "a in"}},
	} {
		_, err := ParseIgnore([]meta.IgnoreRule{rule})
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(want)))
	}
}

func TestSelectorsMatchTheWholeValue(t *testing.T) {
	g := NewWithT(t)
	obj := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"namespace": "a", "name": "web", "labels": map[string]any{"tier": "web"}, "annotations": map[string]any{"x": "y"}}}}
	for _, c := range []struct {
		selector meta.Selector
		want     bool
	}{
		{meta.Selector{}, true},
		{meta.Selector{Group: "apps", Version: "v1", Kind: "Deployment|StatefulSet", Namespace: "a", Name: "w.*"}, true},
		{meta.Selector{Kind: "Deploy"}, false},
		{meta.Selector{LabelSelector: "tier in (web, api)", AnnotationSelector: "x=y"}, true},
		{meta.Selector{LabelSelector: "tier!=web"}, false},
		{meta.Selector{AnnotationSelector: "!x"}, false},
	} {
		matches, err := selects(&c.selector)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(matches(obj)).To(Equal(c.want), "%+v", c.selector)
	}
}
