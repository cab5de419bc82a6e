package kustomize

import (
	"testing"

	. "github.com/onsi/gomega"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

const (
	// badValue is refused by the server alone; badField shows in its schema.
	badValue = "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: NS}\nspec: {ports: [{port: 0}]}\n"
	badField = "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: NS}\nspec: {port: 80}\n"
)

func TestValidation(t *testing.T) {
	for _, c := range []struct {
		how, bad, want string
		applied        bool
	}{
		{"none", badField, "False ReconciliationFailed: Service/NS/bad apply failed (", true},
		{"client", badField, "False ReconciliationFailed: Service/NS/bad validation failed: .spec.port: field not declared in schema", false},
		{"client", badValue, "False ReconciliationFailed: Service/NS/bad apply failed (Invalid): ", true},
		{"server", badValue, "False ReconciliationFailed: Service/NS/bad dry-run failed (Invalid): ", false},
	} {
		t.Run(c.how, func(t *testing.T) {
			e := newEnv(t)
			e.push("1", "one.yaml", configMap("one", "NS", "a"), "bad.yaml", c.bad)
			e.kustomization("web", func(obj *kustomizev1.Kustomization) { obj.Spec.Validation = c.how })
			e.start()
			e.becomes("web", c.want)
			e.Expect(e.object("v1", "ConfigMap", "one") != nil).To(Equal(c.applied))
			e.push("2", "one.yaml", configMap("one", "NS", "b"))
			e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
			e.Expect(e.value()).To(Equal("b"))
			e.Expect(e.inventory()).To(Equal([]string{"NS_one__ConfigMap"}))
		})
	}
}
