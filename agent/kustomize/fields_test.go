package kustomize

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// implemented is what this version does, field by field and value by value.
// Everything else in the CRD has to stall.
var implemented = []string{
	"sourceRef.apiVersion", "sourceRef.kind=GitRepository", "sourceRef.kind=OCIRepository", "sourceRef.kind=Bucket", "sourceRef.kind=ExternalArtifact", "sourceRef.name", "sourceRef.namespace",
	"path", "targetNamespace",
	"interval", "retryInterval", "timeout", "suspend",
	"kubeConfig.secretRef.name", "kubeConfig.secretRef.key", "kubeConfig.configMapRef.name",
	"prune", "deletionPolicy=MirrorPrune", "deletionPolicy=Delete", "deletionPolicy=WaitForTermination", "deletionPolicy=Orphan", "dependsOn", "serviceAccountName", "ignore", "healthCheckExprs", "force", "validation=none", "validation=client", "validation=server",
	"namePrefix", "nameSuffix", "commonMetadata.labels", "commonMetadata.annotations", "patches", "patchesStrategicMerge", "patchesJson6902", "images",
	"components", "ignoreMissingComponents", "buildMetadata",
	"postBuild.substitute", "postBuild.substituteFrom", "postBuild.substituteStrategy",
	"decryption.provider", "decryption.secretRef.name", "decryption.serviceAccountName",
	"wait", "healthChecks",
}

func TestEveryFieldOfTheCRDIsImplementedOrStalls(t *testing.T) {
	g := NewWithT(t)
	raw, err := os.ReadFile("../../config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var crd apiextensionsv1.CustomResourceDefinition
	g.Expect(yaml.Unmarshal(raw, &crd)).To(Succeed())
	at := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == "v1" })
	spec := crd.Spec.Versions[at].Schema.OpenAPIV3Schema.Properties["spec"]

	seen := map[string]bool{}
	walk("", spec, func(path string, schema apiextensionsv1.JSONSchemaProps) {
		for _, value := range samples(path, schema) {
			spelled := fmt.Sprintf("%s=%v", path, value)
			t.Run(spelled, func(t *testing.T) {
				g := NewWithT(t)
				err := unsupported(with(t, path, value))
				switch {
				case slices.Contains(implemented, path):
					seen[path] = true
					g.Expect(err).NotTo(HaveOccurred())
				case slices.Contains(implemented, spelled):
					seen[spelled] = true
					g.Expect(err).NotTo(HaveOccurred())
				default:
					first, _, _ := strings.Cut(path, ".")
					g.Expect(err).To(MatchError(ContainSubstring("spec." + first)))
				}
			})
		}
	})
	for _, path := range implemented {
		g.Expect(seen).To(HaveKey(path), "it is not in the CRD")
	}
}

// walk visits the fields below an object, down to those that are no objects
// with fields of their own.
func walk(prefix string, schema apiextensionsv1.JSONSchemaProps, visit func(string, apiextensionsv1.JSONSchemaProps)) {
	for name, property := range schema.Properties {
		if len(property.Properties) > 0 {
			walk(prefix+name+".", property, visit)
			continue
		}
		visit(prefix+name, property)
	}
}

// samples are values that a field may have.
func samples(path string, schema apiextensionsv1.JSONSchemaProps) []any {
	if path == "sourceRef.apiVersion" {
		return []any{"source.toolkit.fluxcd.io/v1"}
	}
	var values []any
	for _, value := range schema.Enum {
		values = append(values, strings.Trim(string(value.Raw), `"`))
	}
	switch {
	case len(values) > 0:
		return values
	case schema.Type == "boolean" && schema.Default != nil:
		return []any{true, false}
	case schema.Type == "array":
		return []any{[]any{sample(*schema.Items.Schema)}}
	}
	return []any{sample(schema)}
}

// sample is one value of the schema, with all its fields.
func sample(schema apiextensionsv1.JSONSchemaProps) any {
	switch {
	case schema.Type == "object" && schema.AdditionalProperties != nil:
		return map[string]any{"key": "value"}
	case schema.Type == "object":
		fields := map[string]any{}
		for name, property := range schema.Properties {
			fields[name] = sample(property)
		}
		return fields
	case schema.Type == "array":
		return []any{sample(*schema.Items.Schema)}
	case schema.Type == "boolean":
		return true
	case schema.Pattern != "":
		return "5m"
	}
	return "text"
}

// with is a Kustomization whose spec sets one field beyond what it has to.
func with(t *testing.T, path string, value any) *kustomizev1.Kustomization {
	t.Helper()
	g := NewWithT(t)
	spec := map[string]any{
		"interval":  "10m",
		"prune":     true,
		"sourceRef": map[string]any{"kind": "GitRepository", "name": "repo"},
	}
	g.Expect(unstructured.SetNestedField(spec, value, strings.Split(path, ".")...)).To(Succeed())
	obj := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "web"}}
	content := map[string]any{"spec": spec}
	g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(content, obj, true)).To(Succeed())
	return obj
}

func TestForeignSourceKindsStall(t *testing.T) {
	g := NewWithT(t)
	g.Expect(unsupported(with(t, "sourceRef.kind", "HelmChart"))).To(MatchError(
		"spec.sourceRef.kind: HelmChart is not implemented by this version: use a GitRepository, OCIRepository, Bucket or ExternalArtifact"))
	g.Expect(unsupported(with(t, "sourceRef.apiVersion", "example.com/v1"))).To(MatchError(ContainSubstring("spec.sourceRef.apiVersion: example.com/v1")))
}
