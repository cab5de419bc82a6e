package kustomize

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// storesIn defines Stores of a group, in versions of which the first is stored.
func storesIn(group, scope string, versions ...string) string {
	text := "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: stores." + group + "}\nspec:\n  group: " + group +
		"\n  names: {kind: Store, plural: stores}\n  scope: " + scope + "\n  versions:"
	for i, version := range versions {
		text += fmt.Sprintf("\n  - {name: %s, served: true, storage: %t, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}", version, i == 0)
	}
	return text + "\n"
}

// storesAre waits until the target serves Stores in a version, or does not.
func (e *env) storesAre(served bool, group, version string) {
	e.Eventually(func() (bool, error) {
		fresh, err := client.New(shared.ControlPlane(e.t).Config(), client.Options{})
		if err != nil {
			return false, err
		}
		_, err = fresh.RESTMapper().RESTMapping(schema.GroupKind{Group: group, Kind: "Store"}, version)
		return err == nil, nil
	}, within).Should(Equal(served))
}

// A definition loses the version that this agent has applied, by other hands than
// ours: what is taken out of the manifest goes out of the object all the same.
func TestAVersionThatADefinitionLoses(t *testing.T) {
	e := newEnv(t)
	group := e.namespace + ".example.com"
	e.create(storesIn(group, "Namespaced", "v1", "v1beta1"))
	e.storesAre(true, group, "v1beta1")
	e.push("1", "store.yaml", "apiVersion: "+group+"/v1beta1\nkind: Store\nmetadata: {name: main, namespace: NS}\nspec: {size: 3, color: red}\n")
	e.kustomization("web")
	e.start()
	e.becomes("web", "True")

	definition := &unstructured.Unstructured{}
	definition.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	e.Expect(e.hub.Get(t.Context(), client.ObjectKey{Name: "stores." + group}, definition)).To(Succeed())
	versions, _, err := unstructured.NestedSlice(definition.Object, "spec", "versions")
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(unstructured.SetNestedSlice(definition.Object, versions[:1], "spec", "versions")).To(Succeed())
	e.Expect(e.hub.Update(t.Context(), definition)).To(Succeed())
	e.storesAre(false, group, "v1beta1")

	e.push("2", "store.yaml", "apiVersion: "+group+"/v1\nkind: Store\nmetadata: {name: main, namespace: NS}\nspec: {size: 3}\n")
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(e.object(group+"/v1", "Store", "main").Object["spec"]).To(Equal(map[string]any{"size": int64(3)}))
}
