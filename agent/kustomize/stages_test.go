package kustomize

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

// What an administrator has put into a stage of its own is there for what comes
// after it: that is not made before the kind's objects are current.
func TestAnEarlyKindIsWaitedFor(t *testing.T) {
	e := newEnv(t)
	e.drift.EarlyKinds = []string{"apps/Deployment"}
	e.push("1", "web.yaml", deployment, "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	e.start()
	e.Eventually(func() *unstructured.Unstructured { return e.object("apps/v1", "Deployment", "web") }, "20s", "50ms").ShouldNot(BeNil())
	e.nothingBut("web")
	e.setReady("web")
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:1")
	e.Expect(e.value()).To(Equal("a"))
}

// Classes come before what names them, and are current by the user's own rules
// where there are any.
func TestAClassIsWaitedFor(t *testing.T) {
	e := newEnv(t)
	group := e.namespace + ".example.com"
	e.push("1", "one.yaml", configMap("one", "NS", "a"),
		"class.yaml", "{apiVersion: NS.example.com/v1, kind: StoreClass, metadata: {name: fast}}",
		"definition.yaml", `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: storeclasses.NS.example.com}
spec:
  group: NS.example.com
  names: {kind: StoreClass, plural: storeclasses}
  scope: Cluster
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`)
	e.kustomization("web", func(obj *kustomizev1.Kustomization) {
		obj.Spec.HealthCheckExprs = []meta.CustomHealthCheck{{APIVersion: group + "/v1", Kind: "StoreClass",
			HealthCheckExpressions: meta.HealthCheckExpressions{Current: "status.accepted"}}}
	})
	e.start()
	class := &unstructured.Unstructured{}
	class.SetAPIVersion(group + "/v1")
	class.SetKind("StoreClass")
	e.Eventually(func() error { return e.hub.Get(e.t.Context(), client.ObjectKey{Name: "fast"}, class) }, "20s", "50ms").Should(Succeed())
	e.nothingBut("fast")
	e.Expect(e.hub.Patch(e.t.Context(), class, client.RawPatch(types.MergePatchType, []byte(`{"status":{"accepted":true}}`)),
		client.FieldOwner("its-controller"))).To(Succeed())
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:1")
	e.Expect(e.value()).To(Equal("a"))
}

// nothingBut says that what comes after the object is not made.
func (e *env) nothingBut(object string) {
	e.t.Helper()
	e.ConsistentlyWithOffset(1, func() *unstructured.Unstructured { return e.object("v1", "ConfigMap", "one") }, "2s", "100ms").
		Should(BeNil(), "%s is not current yet", object)
}
