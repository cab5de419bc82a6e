package e2e

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

// What an object depends on may be another agent's, which has it in no cache of
// the agent that waits.
func TestADependencyMayBeAnotherAgents(t *testing.T) {
	n := newTenant(t, map[string]string{
		"app/app.yaml":   configMap("app", "1"),
		"base/base.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: base, annotations: {testenv.headwater.dev/never-ready: \"true\"}}\nspec: {containers: [{name: base, image: \"base:1\"}]}\n",
	})
	app, base := n.kustomization("app", "a"), n.kustomization("base", "b")
	app.Spec.Path, app.Spec.DependsOn = "./app", []meta.DependencyReference{{Name: "base"}}
	base.Spec.Path, base.Spec.Wait = "./base", true
	n.create(base, app)
	n.apart("a", "b")
	n.create(n.source())
	n.becomes(base, And(HavePrefix("Unknown Progressing"), ContainSubstring("Pod/"+n.namespace+"/base")))
	n.request(app)
	n.becomes(app, Equal("False DependencyNotReady: dependency '"+n.namespace+"/base' is not ready"))
	n.Expect(n.data("app")).To(BeNil())
	n.Expect(n.labelOf("app")).To(Equal("agent-0"))
	n.Expect(n.labelOf("base")).To(Equal("agent-1"))

	n.commit(map[string]string{"base/base.yaml": configMap("base", "1")})
	n.becomes(base, HavePrefix("True "))
	n.request(app)
	n.becomes(app, HavePrefix("True ReconciliationSucceeded"))
	n.Expect(n.data("app")).To(HaveKeyWithValue("value", "1"))
}

// The same of releases.
func TestAReleaseMayDependOnAnotherAgents(t *testing.T) {
	files := map[string]string{}
	for path, content := range chartFiles("my-app", "0.1.0") {
		files["charts/my-app/"+path] = content
	}
	n := newTenant(t, files)
	git := n.source()
	git.Name = "my-repo"
	release := func(name, cluster string) *unstructured.Unstructured {
		obj := n.manifest("07-helmrelease-my-app.yaml", map[string]any{"kubeConfig": map[string]any{"secretRef": map[string]any{"name": cluster}}})
		obj.SetAPIVersion("helm.toolkit.fluxcd.io/v2")
		obj.SetName(name)
		return obj
	}
	app, base := release("app", "a"), release("base", "b")
	n.Expect(unstructured.SetNestedSlice(app.Object, []any{map[string]any{"name": "base"}}, "spec", "dependsOn")).To(Succeed())
	n.Expect(unstructured.SetNestedSlice(base.Object, []any{map[string]any{"kind": "Secret", "name": "later"}}, "spec", "valuesFrom")).To(Succeed())
	n.create(git, base, app)
	n.apart("a", "b")
	n.Eventually(func() string { return n.readyOf(base) }).Should(And(HavePrefix("False "), ContainSubstring("later")))
	n.request(app)
	n.Eventually(func() string { return n.readyOf(app) }).Should(
		Equal("False DependencyNotReady: dependency '" + n.namespace + "/base' is not ready"))

	n.create(&corev1.Secret{ObjectMeta: n.meta("later"), Data: map[string][]byte{"values.yaml": []byte("replicaCount: 2")}})
	n.request(base)
	n.Eventually(func() string { return n.readyOf(base) }).Should(HavePrefix("True InstallSucceeded"))
	n.request(app)
	n.Eventually(func() string { return n.readyOf(app) }).Should(HavePrefix("True InstallSucceeded"))
}

// apart gives two targets, which something names, to the two agents.
func (n *tenant) apart(first, second string) {
	n.t.Helper()
	for cluster, agent := range map[string]string{first: "agent-0", second: "agent-1"} {
		n.cluster(cluster)
		n.Eventually(func() string { return n.agentOf(cluster) }).ShouldNot(BeEmpty())
		n.move(cluster, agent)
		n.Eventually(func() string { return n.agentOf(cluster) }).Should(Equal(agent))
	}
}

// labelOf is the agent that a Kustomization is routed to.
func (n *tenant) labelOf(name string) string {
	n.t.Helper()
	ks := &kustomizev1.Kustomization{ObjectMeta: n.meta(name)}
	n.Expect(shared.onHub.Get(n.t.Context(), client.ObjectKeyFromObject(ks), ks)).To(Succeed())
	return ks.Labels[meta.AgentLabel]
}
