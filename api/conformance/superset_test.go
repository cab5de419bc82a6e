package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// extensions are the fields that Flux 2.9 does not have: ours, and those of the
// older versions.
var extensions = map[string][]string{
	"buckets.source.toolkit.fluxcd.io":         {"spec.accessFrom"},
	"gitrepositories.source.toolkit.fluxcd.io": {"spec.accessFrom", "spec.gitImplementation"},
	"helmcharts.source.toolkit.fluxcd.io":      {"spec.accessFrom", "spec.valuesFile", "status.observedVerification"},
	"ocirepositories.source.toolkit.fluxcd.io": {"status.observedVerification"},
	"helmreleases.helm.toolkit.fluxcd.io": {
		"spec.chart.spec.valuesFile",
		"spec.postRenderers[0].kustomize.patchesJson6902",
		"spec.postRenderers[0].kustomize.patchesStrategicMerge",
	},
	"kustomizations.kustomize.toolkit.fluxcd.io": {
		"spec.patchesJson6902", "spec.patchesStrategicMerge", "spec.validation",
		"status.target", "status.waitingSince",
	},
	"imageupdateautomations.image.toolkit.fluxcd.io": {"status.skipped"},
}

func TestOursAreASupersetOfFlux(t *testing.T) {
	g := NewWithT(t)
	ours := readCRDs(g, bases)
	for name, flux := range readCRDs(g, "testdata/flux") {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(ours).To(HaveKey(name))
			g.Expect(differences(flux, ours[name])).To(BeEmpty())
			added := additions(storage(flux).Schema.OpenAPIV3Schema, storage(ours[name]).Schema.OpenAPIV3Schema)
			g.Expect(added).To(ConsistOf(extensions[name]), "fields that Flux does not have")
		})
	}
}

// The comparison is worth something only if it finds what is wrong: each of
// these changes to our own CRDs has to be seen.
func TestTheComparisonSeesEveryDifference(t *testing.T) {
	const name = "helmreleases.helm.toolkit.fluxcd.io"
	type (
		crd    = apiextensionsv1.CustomResourceDefinition
		schema = apiextensionsv1.JSONSchemaProps
	)
	spec := func(change func(*schema)) func(*crd) {
		return func(c *crd) {
			root := storage(c).Schema.OpenAPIV3Schema
			inner := root.Properties["spec"]
			change(&inner)
			root.Properties["spec"] = inner
		}
	}
	field := func(name string, change func(*schema)) func(*crd) {
		return spec(func(s *schema) {
			inner := s.Properties[name]
			change(&inner)
			s.Properties[name] = inner
		})
	}
	g := NewWithT(t)
	flux, right := readCRDs(g, "testdata/flux")[name], readCRDs(g, bases)[name]
	g.Expect(differences(flux, right)).To(BeEmpty())
	for what, change := range map[string]func(*crd){
		"a field is missing":      spec(func(s *schema) { delete(s.Properties, "persistentClient") }),
		"a field is required":     spec(func(s *schema) { s.Required = append(s.Required, "chart") }),
		"a field is not required": spec(func(s *schema) { s.Required = nil }),
		"a rule is missing":       spec(func(s *schema) { s.XValidations = nil }),
		"a rule is added": spec(func(s *schema) {
			s.XValidations = append(s.XValidations, apiextensionsv1.ValidationRule{Rule: "false"})
		}),
		"a rule's message differs":   spec(func(s *schema) { s.XValidations[0].Message = "no" }),
		"a type differs":             field("suspend", func(s *schema) { s.Type = "string" }),
		"a pattern differs":          field("interval", func(s *schema) { s.Pattern = "^.*$" }),
		"an enum lacks a value":      field("postRenderStrategy", func(s *schema) { s.Enum = s.Enum[1:] }),
		"an upper bound differs":     field("releaseName", func(s *schema) { s.MaxLength = new(int64) }),
		"a lower bound differs":      field("releaseName", func(s *schema) { s.MinLength = nil }),
		"a default is added":         field("timeout", func(s *schema) { s.Default = &apiextensionsv1.JSON{Raw: []byte(`"5m"`)} }),
		"unknown fields are dropped": field("values", func(s *schema) { s.XPreserveUnknownFields = nil }),
		"an inner field is missing":  field("chartRef", func(s *schema) { delete(s.Properties, "kind") }),
		"an item differs":            field("valuesFrom", func(s *schema) { s.Items.Schema.Required = nil }),
		"a short name is missing":    func(c *crd) { c.Spec.Names.ShortNames = nil },
		"a category is missing":      func(c *crd) { c.Spec.Names.Categories = c.Spec.Names.Categories[1:] },
		"a column differs":           func(c *crd) { storage(c).AdditionalPrinterColumns[0].JSONPath = ".no" },
		"a column is missing":        func(c *crd) { storage(c).AdditionalPrinterColumns = nil },
		"there is no status":         func(c *crd) { storage(c).Subresources = nil },
		"the version differs":        func(c *crd) { storage(c).Name = "v3" },
		"the scope differs":          func(c *crd) { c.Spec.Scope = "Cluster" },
		"the annotation is missing":  func(c *crd) { c.Annotations = nil },
	} {
		t.Run(what, func(t *testing.T) {
			wrong := right.DeepCopy()
			change(wrong)
			NewWithT(t).Expect(differences(flux, wrong)).NotTo(BeEmpty())
		})
	}
}

// differences lists what Flux's CRD has and ours has not, or has differently.
// Fields that ours has besides are none; that they are optional is a part of
// the comparison of what is required.
func differences(flux, ours *apiextensionsv1.CustomResourceDefinition) []string {
	var found []string
	differ := func(what string, want, got any) {
		if !reflect.DeepEqual(want, got) {
			found = append(found, fmt.Sprintf("%s: Flux has %v, ours is %v", what, want, got))
		}
	}
	differ("group", flux.Spec.Group, ours.Spec.Group)
	differ("names", flux.Spec.Names, ours.Spec.Names)
	differ("scope", flux.Spec.Scope, ours.Spec.Scope)
	for key, want := range flux.Annotations {
		differ("annotation "+key, want, ours.Annotations[key])
	}
	want, got := storage(flux), storage(ours)
	differ("version", want.Name, got.Name)
	differ("columns", want.AdditionalPrinterColumns, got.AdditionalPrinterColumns)
	differ("subresources", want.Subresources, got.Subresources)
	mine := map[string]*apiextensionsv1.JSONSchemaProps{}
	for _, p := range properties(got.Schema.OpenAPIV3Schema) {
		mine[p.field()] = p.schema
	}
	for _, p := range properties(want.Schema.OpenAPIV3Schema) {
		if mine[p.field()] == nil {
			found = append(found, p.field()+" is missing")
			continue
		}
		differ(p.field(), attributes(p.schema), attributes(mine[p.field()]))
	}
	return found
}

// additions lists the highest fields of ours that Flux does not have.
func additions(flux, ours *apiextensionsv1.JSONSchemaProps, path ...string) []string {
	var added []string
	for _, name := range slices.Sorted(maps.Keys(ours.Properties)) {
		at := property{path: append(slices.Clone(path), name)}
		theirs, ok := flux.Properties[name]
		if !ok {
			added = append(added, at.field())
			continue
		}
		mine := ours.Properties[name]
		added = append(added, additions(&theirs, &mine, at.path...)...)
	}
	if ours.Items != nil && flux.Items != nil {
		added = append(added, additions(flux.Items.Schema, ours.Items.Schema, append(slices.Clone(path), item)...)...)
	}
	return added
}

// attributes are what a schema says of one place: all but words, and what is
// below it.
func attributes(schema *apiextensionsv1.JSONSchemaProps) string {
	shallow := schema.DeepCopy()
	shallow.Description = ""
	shallow.Properties = nil
	shallow.Items = nil
	shallow.AdditionalProperties = nil
	slices.Sort(shallow.Required)
	encoded, err := json.Marshal(shallow)
	if err != nil {
		panic(err)
	}
	return string(encoded)
}
