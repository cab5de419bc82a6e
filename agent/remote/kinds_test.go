package remote

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// kindsOf is a mapper of the server, and the number of requests it has sent.
func kindsOf(t *testing.T, config *rest.Config, shared *tables) (*kinds, *atomic.Int32) {
	t.Helper()
	g := NewWithT(t)
	var sent atomic.Int32
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counter{next, &sent} })
	described, err := discovery.NewDiscoveryClientForConfig(config)
	g.Expect(err).NotTo(HaveOccurred())
	return &kinds{server: described.RESTClient(), shared: shared, known: map[schema.GroupVersion]table{}}, &sent
}

type counter struct {
	next http.RoundTripper
	sent *atomic.Int32
}

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.sent.Add(1)
	return c.next.RoundTrip(r)
}

func TestKindsAreTheServers(t *testing.T) {
	g := NewWithT(t)
	config := shared.ControlPlane(t).Config()
	through, err := rest.HTTPClientFor(config)
	g.Expect(err).NotTo(HaveOccurred())
	oracle, err := apiutil.NewDynamicRESTMapper(config, through)
	g.Expect(err).NotTo(HaveOccurred())
	everything, err := discovery.NewDiscoveryClientForConfig(config)
	g.Expect(err).NotTo(HaveOccurred())
	_, lists, err := everything.ServerGroupsAndResources()
	g.Expect(err).NotTo(HaveOccurred())

	ours, _ := kindsOf(t, config, newTables())
	compared := 0
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		g.Expect(err).NotTo(HaveOccurred())
		for _, resource := range list.APIResources {
			kind := schema.GroupKind{Group: gv.Group, Kind: resource.Kind}
			for _, versions := range [][]string{{gv.Version}, {"v0", gv.Version}, nil} {
				want, wantErr := oracle.RESTMapping(kind, versions...)
				got, err := ours.RESTMapping(kind, versions...)
				g.Expect(apimeta.IsNoMatchError(err)).To(Equal(apimeta.IsNoMatchError(wantErr)), "%s %v", kind, versions)
				g.Expect(got).To(Equal(want), "%s %v", kind, versions)
				compared++
			}
		}
	}
	g.Expect(compared).To(BeNumerically(">", 100))
}

func TestTargetsAlikeShareTheirKinds(t *testing.T) {
	g := NewWithT(t)
	config, common := shared.ControlPlane(t).Config(), newTables()
	one, asked := kindsOf(t, config, common)
	other, _ := kindsOf(t, config, common)
	for _, kind := range []string{"ConfigMap", "Secret", "Namespace"} {
		for _, mapper := range []*kinds{one, other} {
			_, err := mapper.RESTMapping(schema.GroupKind{Kind: kind}, "v1")
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	g.Expect(asked.Load()).To(Equal(int32(1)), "one question for a group and version")
	v1 := schema.GroupVersion{Version: "v1"}
	g.Expect(reflect.ValueOf(one.known[v1]).UnsafePointer()).To(Equal(reflect.ValueOf(other.known[v1]).UnsafePointer()))
}

func TestADefinitionThatComesLaterIsFound(t *testing.T) {
	g := NewWithT(t)
	config := shared.ControlPlane(t).Config()
	mapper, _ := kindsOf(t, config, newTables())
	late := schema.GroupKind{Group: "late.example.com", Kind: "Comer"}
	_, err := mapper.RESTMapping(late, "v1")
	g.Expect(apimeta.IsNoMatchError(err)).To(BeTrue(), "%v", err)

	scheme := runtime.NewScheme()
	g.Expect(apiextensionsv1.AddToScheme(scheme)).To(Succeed())
	admin, err := client.New(config, client.Options{Scheme: scheme})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(admin.Create(t.Context(), &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "comers.late.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: late.Group, Scope: apiextensionsv1.ClusterScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: late.Kind, ListKind: "ComerList", Plural: "comers", Singular: "comer"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
			}},
		},
	})).To(Succeed())
	g.Eventually(func() (*apimeta.RESTMapping, error) { return mapper.RESTMapping(late, "v1") }, "20s").Should(Equal(&apimeta.RESTMapping{
		Resource:         schema.GroupVersionResource{Group: late.Group, Version: "v1", Resource: "comers"},
		GroupVersionKind: late.WithVersion("v1"), Scope: apimeta.RESTScopeRoot,
	}))
}

// A group that a tenant wrote must not become another path of the server, and a
// server that cannot say is not one that has no such kind: what it has would be
// taken for gone.
func TestKindsThatCannotBeRead(t *testing.T) {
	g := NewWithT(t)
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/apis/garbled.example.com/v1" {
			_, _ = w.Write([]byte(`{"resources": 1}`))
			return
		}
		http.Error(w, "unavailable", http.StatusServiceUnavailable)
	}))
	t.Cleanup(sick.Close)
	mapper, asked := kindsOf(t, &rest.Config{Host: sick.URL}, newTables())
	for _, odd := range []schema.GroupVersionKind{
		{Group: "..", Version: "v1", Kind: "Secret"},
		{Group: "a/../../api", Version: "v1", Kind: "Secret"},
		{Group: "apps", Version: "..", Kind: "Secret"},
		{Group: "apps", Version: "", Kind: "Secret"},
	} {
		_, err := mapper.RESTMapping(odd.GroupKind(), odd.Version)
		g.Expect(apimeta.IsNoMatchError(err)).To(BeTrue(), "%s: %v", odd, err)
	}
	g.Expect(asked.Load()).To(BeZero())
	for _, sick := range []schema.GroupVersionKind{
		{Group: "down.example.com", Version: "v1", Kind: "Metric"},
		{Group: "garbled.example.com", Version: "v1", Kind: "Metric"},
	} {
		_, err := mapper.RESTMapping(sick.GroupKind(), sick.Version)
		g.Expect(err).To(MatchError(ContainSubstring("read the kinds of " + sick.GroupVersion().String())))
		g.Expect(apimeta.IsNoMatchError(err)).To(BeFalse())
	}
}

// A server may describe more kinds than there are, under one name after another.
func TestKindsWithoutEnd(t *testing.T) {
	g := NewWithT(t)
	longest := mostShared
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"resources":[{"name":"things","kind":"Thing"},{"name":"%s/status"}]}`, strings.Repeat("x", longest))
	}))
	t.Cleanup(server.Close)
	common := newTables()
	ours, _ := kindsOf(t, &rest.Config{Host: server.URL}, common)
	_, err := ours.RESTMapping(schema.GroupKind{Group: "example.com", Kind: "Thing"}, "v1")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(common.known.Len()).To(BeZero(), "it outlasts the target")
	longest = mostKinds
	_, err = ours.RESTMapping(schema.GroupKind{Group: "example.com", Kind: "Thing"}, "v2")
	g.Expect(err).To(MatchError(ContainSubstring("the target's answer is longer than 4 MiB")))
}
