package render

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// into renders into a namespace, and says whether kustomize was spared.
func into(t *testing.T, o Options, files map[string][]byte, namespace string) (text string, spared bool) {
	t.Helper()
	o.Builder = builder
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := r.Render(t.Context(), Request{Open: have(files), Settings: Settings{TargetNamespace: namespace}})
	if err != nil {
		return "error: " + err.Error(), false
	}
	var lines []string
	for _, obj := range objects {
		lines = append(lines, asJSON(t, obj))
	}
	return strings.Join(lines, "\n"), testutil.ToFloat64(r.builds) == testutil.ToFloat64(r.shortcuts)
}

const (
	boundNamespace = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: b}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}\nsubjects: [{kind: ServiceAccount, name: default, namespace: a}]\n"
	routes         = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec: {defaultBackend: {service: {name: web, port: {number: 80}}}}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: a}\nspec: {ports: [{port: 80}]}\n"
)

func TestWhatIsPlacedIsWhatKustomizePlaces(t *testing.T) {
	all := append(trees(),
		sample{name: "a binding", files: files("a.yaml", boundNamespace)},
		sample{name: "one name in two namespaces", files: files("a.yaml", one+"---\n"+strings.ReplaceAll(one, "namespace: a", "namespace: b"))},
		sample{name: "an Ingress", files: files("a.yaml", routes)},
		sample{name: "an Ingress and a binding", files: files("a.yaml", routes+"---\n"+boundNamespace)},
		sample{name: "no namespace", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: ''}\n")},
		sample{name: "null for a namespace", files: files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: null}\n")},
	)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 60 {
		all = append(all, sample{name: fmt.Sprintf("generated %d", i), files: generate(random)})
	}
	placed := 0
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			for _, namespace := range []string{"elsewhere", "012"} {
				want, _ := into(t, Options{noShortWay: true}, c.files, namespace)
				got, spared := into(t, Options{}, c.files, namespace)
				g.Expect(got).To(Equal(want), "into %s", namespace)
				if spared {
					placed++
				}
			}
		})
	}
	NewWithT(t).Expect(placed).To(BeNumerically(">=", 30))
}

// One commit for many namespaces is built once, and nobody sees another's.
func TestNamespacesShareABuild(t *testing.T) {
	g := NewWithT(t)
	r, err := New(Options{Builder: builder})
	g.Expect(err).NotTo(HaveOccurred())
	for i := range 5 {
		namespace := fmt.Sprintf("team-%d", i)
		objects, err := r.Render(t.Context(), Request{Digest: "sha256:1", Open: have(files("a.yaml", routes)), Settings: Settings{TargetNamespace: namespace}})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(objects).To(HaveLen(2))
		for _, obj := range objects {
			g.Expect(obj.GetNamespace()).To(Equal(namespace))
			obj.SetLabels(map[string]string{"changed": "by " + namespace})
		}
	}
	g.Expect(testutil.ToFloat64(r.builds)).To(BeEquivalentTo(1))
	objects, err := r.Render(t.Context(), Request{Digest: "sha256:1", Open: have(files("a.yaml", routes))})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects[0].GetNamespace()).To(BeEmpty())
	g.Expect(objects[0].GetLabels()).To(BeEmpty())
	g.Expect(objects[1].GetNamespace()).To(Equal("a"))
}
