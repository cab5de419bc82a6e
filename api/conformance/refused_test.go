package conformance

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// violation is a value that one validation of a property has to refuse.
type violation struct {
	name  string
	value any
	// field that the refusal names, and what it says of it.
	field string
	says  string
	cause field.ErrorType
}

// Every validation of every field refuses what it is there for, and says which
// field that is. The sample of the kind is valid; in it one value is made bad.
func TestEveryValidationRefusesAndNamesTheField(t *testing.T) {
	c := kube(t)
	for name, crd := range readCRDs(NewWithT(t), bases) {
		t.Run(name, func(t *testing.T) {
			valid := sample(NewWithT(t), crd.Spec.Names.Kind)
			valid.SetName("refused")
			stored := valid.DeepCopy()
			NewWithT(t).Expect(c.Create(t.Context(), stored)).To(Succeed())
			remove(t, c, stored)
			root := storage(crd).Schema.OpenAPIV3Schema
			for _, p := range properties(root) {
				for _, v := range violations(p) {
					bad := &unstructured.Unstructured{Object: set(valid.Object, p.path, v.value).(map[string]any)}
					expectRefused(t, v, submit(t, c, bad, stored))
				}
			}
		})
	}
}

// submit sends the object, or the status if that is what was changed, without
// keeping it.
func submit(t *testing.T, c client.Client, bad, stored *unstructured.Unstructured) error {
	if bad.Object["status"] == nil {
		return c.Create(t.Context(), bad, client.DryRunAll)
	}
	bad.SetResourceVersion(stored.GetResourceVersion())
	return c.Status().Update(t.Context(), bad, client.DryRunAll)
}

func expectRefused(t *testing.T, v violation, err error) {
	t.Helper()
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Details == nil {
		t.Errorf("%s of %s: %#v gets %v, want a refusal", v.name, v.field, v.value, err)
		return
	}
	for _, cause := range status.ErrStatus.Details.Causes {
		if cause.Field == v.field && cause.Type == metav1.CauseType(v.cause) && strings.Contains(cause.Message, v.says) {
			return
		}
	}
	t.Errorf("%s of %s: %#v gets %v, want one for %s that says %q", v.name, v.field, v.value, err, v.cause, v.says)
}

// violations has one bad value for each validation of a property of spec or
// status.
func violations(p property) []violation {
	if len(p.path) == 0 || p.path[0] != "spec" && p.path[0] != "status" {
		return nil
	}
	s, at := p.schema, p.field()
	all := []violation{}
	switch {
	case s.Format == "date-time":
		all = append(all, violation{"format", "yesterday", at, "must be of type date-time", field.ErrorTypeTypeInvalid})
	case s.Type != "":
		all = append(all, violation{"type", otherThan(s.Type), at, "must be of type " + s.Type, field.ErrorTypeTypeInvalid})
	}
	if len(s.Enum) > 0 {
		all = append(all, violation{"enum", "nonsense", at, "supported values: ", field.ErrorTypeNotSupported})
	}
	if s.Pattern != "" {
		all = append(all, violation{"pattern", "?!", at, "should match '" + s.Pattern + "'", field.ErrorTypeInvalid})
	}
	if s.MinLength != nil {
		all = append(all, violation{"minLength", "", at, fmt.Sprintf("at least %d chars", *s.MinLength), field.ErrorTypeInvalid})
	}
	if s.MaxLength != nil {
		all = append(all, violation{"maxLength", strings.Repeat("a", int(*s.MaxLength)+1), at, fmt.Sprintf("may not be more than %d", *s.MaxLength), field.ErrorTypeTooLong})
	}
	if s.Minimum != nil {
		all = append(all, violation{"minimum", *s.Minimum - 1, at, fmt.Sprintf("greater than or equal to %v", *s.Minimum), field.ErrorTypeInvalid})
	}
	if s.MaxItems != nil {
		items := make([]any, *s.MaxItems+1)
		for i := range items {
			items[i] = full(s.Items.Schema)
		}
		all = append(all, violation{"maxItems", items, at, fmt.Sprintf("at most %d items", *s.MaxItems), field.ErrorTypeTooMany})
	}
	if s.XListType != nil && *s.XListType == "map" {
		all = append(all, violation{"keys", []any{full(s.Items.Schema), full(s.Items.Schema)}, at + "[1]", "", field.ErrorTypeDuplicate})
	}
	return append(all, missingFields(s, at)...)
}

func missingFields(s *apiextensionsv1.JSONSchemaProps, at string) []violation {
	var all []violation
	for _, name := range s.Required {
		if s.Properties[name].Default != nil {
			continue // the API server fills it in
		}
		some := full(s).(map[string]any)
		delete(some, name)
		all = append(all, violation{"required", some, at + "." + name, "", field.ErrorTypeRequired})
	}
	return all
}

func otherThan(kind string) any {
	if kind == "string" {
		return int64(7)
	}
	return "text"
}
