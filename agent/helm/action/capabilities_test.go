package action

import (
	"net/http"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	helmaction "helm.sh/helm/v3/pkg/action"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared testenv.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// throughProxy is a target that tells what it is asked.
func throughProxy(t *testing.T) (*testenv.Proxy, *rest.Config) {
	t.Helper()
	g, control := NewWithT(t), shared.ControlPlane(t)
	_, err := control.ServiceAccount(t.Context(), "default", "prod", []rbacv1.PolicyRule{
		{NonResourceURLs: []string{"*"}, Verbs: []string{"get"}},
	})
	g.Expect(err).NotTo(HaveOccurred())
	token, err := control.Token(t.Context(), "default", "prod", time.Hour)
	g.Expect(err).NotTo(HaveOccurred())
	proxy, err := control.Proxy("prod")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(proxy.Stop)
	data, err := proxy.Kubeconfig(token)
	g.Expect(err).NotTo(HaveOccurred())
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	g.Expect(err).NotTo(HaveOccurred())
	return proxy, config
}

func TestCapabilitiesAreReadWhenTheyHaveChanged(t *testing.T) {
	g := NewWithT(t)
	proxy, config := throughProxy(t)
	kinds := NewKinds()
	one, err := NewDiscovery(config, kinds)
	g.Expect(err).NotTo(HaveOccurred())
	asked := func() (said []string) {
		for _, record := range proxy.Records() {
			said = append(said, record.Path+" "+http.StatusText(record.Status))
		}
		proxy.Reset()
		return said
	}

	first, err := one.capabilities.now(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(asked()).To(Equal([]string{"/version OK", "/apis OK", "/api OK"}))
	itself, err := helmaction.GetVersionSet(one)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(first.APIVersions).To(ConsistOf([]string(itself)), "what Helm reads itself")
	served, err := one.ServerVersion()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(first.KubeVersion.String()).To(Equal(served.GitVersion))

	asked()
	again, err := one.capabilities.now(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(asked()).To(Equal([]string{"/apis Not Modified"}))
	g.Expect(again).To(Equal(first))

	// Another target of the same words shares what they mean.
	other, err := NewDiscovery(config, kinds)
	g.Expect(err).NotTo(HaveOccurred())
	same, err := other.capabilities.now(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(&same.APIVersions[0]).To(BeIdenticalTo(&first.APIVersions[0]))

	// What is defined is known from when it is served.
	g.Expect(first.APIVersions.Has("action.example.com/v1/Thing")).To(BeFalse())
	hub, err := client.New(shared.ControlPlane(t).Config(), client.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "things.action.example.com"},
		"spec": map[string]any{
			"group": "action.example.com", "scope": "Namespaced",
			"names": map[string]any{"plural": "things", "kind": "Thing"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}},
			}},
		},
	}}
	g.Expect(hub.Create(t.Context(), definition)).To(Succeed())
	fresh, err := NewDiscovery(shared.ControlPlane(t).Config(), NewKinds())
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() bool {
		fresh.Forget()
		set, err := helmaction.GetVersionSet(fresh)
		return err == nil && set.Has("action.example.com/v1/Thing")
	}, "30s", "20ms").Should(BeTrue())
	asked()
	now, err := one.capabilities.now(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(now.APIVersions.Has("action.example.com/v1/Thing")).To(BeTrue())
	g.Expect(asked()).To(Equal([]string{"/apis OK", "/api OK"}))
}
