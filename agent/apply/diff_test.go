package apply

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestDiffers(t *testing.T) {
	const live = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  namespace: shop
  resourceVersion: "10"
  generation: 1
  labels: {app: web}
  managedFields:
  - {manager: kustomize-controller, operation: Apply, apiVersion: v1, time: "2026-01-01T00:00:00Z", fieldsV1: {"f:data": {"f:x": {}}}}
  - {manager: someone, operation: Update, apiVersion: v1, fieldsV1: {"f:data": {"f:y": {}}}}
data: {x: "1", y: "2"}
status: {phase: new}
`
	for _, c := range []struct {
		name  string
		other string
		want  bool
	}{
		{"the same", live, false},
		{"server's own fields and status", `
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  namespace: shop
  resourceVersion: "11"
  generation: 2
  labels: {app: web}
  managedFields:
  - {manager: kustomize-controller, operation: Apply, apiVersion: v1, time: "2026-02-02T00:00:00Z", fieldsV1: {"f:data": {"f:x": {}}}}
data: {x: "1", y: "2"}
status: {phase: old}
`, false},
		{"a label", `
metadata:
  labels: {app: web, tier: front}
  managedFields:
  - {manager: kustomize-controller, operation: Apply, apiVersion: v1, fieldsV1: {"f:data": {"f:x": {}}}}
data: {x: "1", y: "2"}
`, true},
		{"a value", `
metadata:
  labels: {app: web}
  managedFields:
  - {manager: kustomize-controller, operation: Apply, apiVersion: v1, fieldsV1: {"f:data": {"f:x": {}}}}
data: {x: "1", y: "3"}
`, true},
		{"a field that is gone", `
metadata:
  labels: {app: web}
  managedFields:
  - {manager: kustomize-controller, operation: Apply, apiVersion: v1, fieldsV1: {"f:data": {"f:x": {}}}}
data: {x: "1"}
`, true},
		{"the same value, but ours now", `
metadata:
  labels: {app: web}
  managedFields:
  - {manager: kustomize-controller, operation: Apply, apiVersion: v1, fieldsV1: {"f:data": {"f:x": {}, "f:y": {}}}}
data: {x: "1", y: "2"}
`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := parse(t, "apiVersion: v1\nkind: ConfigMap\n"+strings.TrimPrefix(c.other, "\napiVersion: v1\nkind: ConfigMap"))
			NewWithT(t).Expect(differs(parse(t, live), other, "kustomize-controller")).To(Equal(c.want))
		})
	}
}

func TestErrorsOfSecretsShowNoData(t *testing.T) {
	g := NewWithT(t)
	invalid := func(kind string) error {
		return apierrors.NewInvalid(schema.GroupKind{Kind: kind}, "a", field.ErrorList{
			field.Invalid(field.NewPath("data").Key("x"), "hunter2", "must be good"),
		})
	}
	secret := &objectError{ref: RefTo(object("v1 Secret shop/a")), verb: "dry-run", err: invalid("Secret")}
	g.Expect(secret.Error()).To(Equal("Secret/shop/a dry-run failed (Invalid): data[...] FieldValueInvalid"))

	malformed := apierrors.NewBadRequest("Secret in version v1 cannot be handled: illegal base64 data: hunter2")
	secret.err = malformed
	g.Expect(secret.Error()).To(Equal("Secret/shop/a dry-run failed (BadRequest): the server's message is not shown, it may quote the data"))

	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "a", errors.New("no rights"))
	secret.err = forbidden
	g.Expect(secret.Error()).To(ContainSubstring("no rights"))

	other := &objectError{ref: RefTo(object("v1 ConfigMap shop/a")), verb: "apply", err: invalid("ConfigMap")}
	g.Expect(other.Error()).To(HavePrefix(`ConfigMap/shop/a apply failed (Invalid): ConfigMap "a" is invalid: data[x]: Invalid value: "hunter2"`))

	network := &objectError{ref: RefTo(object("v1 ConfigMap shop/a")), verb: "get", err: errors.New("connection refused")}
	g.Expect(network.Error()).To(Equal("ConfigMap/shop/a get failed: connection refused"))
}

func TestAdopt(t *testing.T) {
	owner := Owner{FieldManager: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io", Spare: []string{"reconcile.fluxcd.io/"}}
	entry := func(manager string, operation metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{
			Manager: manager, Operation: operation, APIVersion: "v1", FieldsType: "FieldsV1",
			FieldsV1: metav1.NewFieldsV1(fields),
		}
	}
	ours := entry("kustomize-controller", "Apply", `{"f:data":{"f:x":{}}}`)
	scaled := entry("kubectl", "Update", `{"f:spec":{"f:replicas":{}}}`)
	scaled.Subresource = "scale"

	for _, c := range []struct {
		name    string
		entries []metav1.ManagedFieldsEntry
		taken   bool
		want    []metav1.ManagedFieldsEntry
	}{
		{"nobody else", []metav1.ManagedFieldsEntry{ours}, false, []metav1.ManagedFieldsEntry{ours}},
		{
			"a controller stays", []metav1.ManagedFieldsEntry{ours, entry("hpa", "Update", `{"f:data":{"f:y":{}}}`)}, false,
			[]metav1.ManagedFieldsEntry{ours, entry("hpa", "Update", `{"f:data":{"f:y":{}}}`)},
		},
		{"a subresource stays", []metav1.ManagedFieldsEntry{ours, scaled}, false, []metav1.ManagedFieldsEntry{ours, scaled}},
		{
			"kubectl's fields become ours", []metav1.ManagedFieldsEntry{ours, entry("kubectl-edit", "Update", `{"f:data":{"f:y":{}}}`)}, true,
			[]metav1.ManagedFieldsEntry{entry("kustomize-controller", "Apply", `{"f:data":{"f:x":{},"f:y":{}}}`)},
		},
		{
			"never applied before", []metav1.ManagedFieldsEntry{entry("kubectl-create", "Update", `{"f:data":{"f:y":{}}}`)}, true,
			[]metav1.ManagedFieldsEntry{entry("kustomize-controller", "Apply", `{"f:data":{"f:y":{}}}`)},
		},
		{
			"spared annotations alone stay",
			[]metav1.ManagedFieldsEntry{ours, entry("kubectl-annotate", "Update", `{"f:metadata":{"f:annotations":{".":{},"f:reconcile.fluxcd.io/requestedAt":{}}}}`)}, false,
			[]metav1.ManagedFieldsEntry{ours, entry("kubectl-annotate", "Update", `{"f:metadata":{"f:annotations":{".":{},"f:reconcile.fluxcd.io/requestedAt":{}}}}`)},
		},
		{
			"spared annotations stay beside others that go",
			[]metav1.ManagedFieldsEntry{ours, entry("kubectl-annotate", "Update", `{"f:metadata":{"f:annotations":{"f:note":{},"f:reconcile.fluxcd.io/requestedAt":{}}}}`)}, true,
			[]metav1.ManagedFieldsEntry{
				entry("kubectl-annotate", "Update", `{"f:metadata":{"f:annotations":{"f:reconcile.fluxcd.io/requestedAt":{}}}}`),
				entry("kustomize-controller", "Apply", `{"f:data":{"f:x":{}},"f:metadata":{"f:annotations":{"f:note":{}}}}`),
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			got, taken, err := owner.adopt(c.entries)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(taken).To(Equal(c.taken))
			want, err := json.Marshal(c.want)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(json.Marshal(got)).To(MatchJSON(want))
		})
	}
}
