package conformance

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const (
	bases   = "../../config/crd/bases"
	samples = "../../config/samples"
	// namespace of the manifests and the samples.
	namespace = "flux-system"
)

var shared = testenv.Shared{Options: testenv.Options{Name: "conformance"}}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// install brings the CRDs to the API server, once.
var install sync.Once

// kube returns a client for an API server that serves our kinds. Field
// validation is strict: an unknown field is an error.
func kube(t *testing.T) client.Client {
	g := NewWithT(t)
	c, err := shared.ControlPlane(t).Client(allKinds(g))
	g.Expect(err).NotTo(HaveOccurred())
	install.Do(func() {
		g.Expect(c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
		for _, crd := range readCRDs(g, bases) {
			g.Expect(c.Create(t.Context(), crd)).To(Succeed())
		}
		for _, crd := range readCRDs(g, bases) {
			for _, version := range crd.Spec.Versions {
				list := &unstructured.UnstructuredList{}
				list.SetGroupVersionKind(schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.ListKind})
				g.Eventually(func() error { return c.List(t.Context(), list) }).
					WithTimeout(time.Minute).Should(Succeed(), crd.Name)
			}
		}
	})
	return client.WithFieldValidation(c, metav1.FieldValidationStrict)
}

func allKinds(g *WithT) *runtime.Scheme {
	scheme := runtime.NewScheme()
	builder := runtime.NewSchemeBuilder(clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, sourcev1.AddToScheme,
		kustomizev1.AddToScheme, helmv2.AddToScheme, imagev1.AddToScheme, fleetv1.AddToScheme)
	g.Expect(builder.AddToScheme(scheme)).To(Succeed())
	return scheme
}

// readCRDs returns the CRDs of a directory by their names.
func readCRDs(g *WithT, dir string) map[string]*apiextensionsv1.CustomResourceDefinition {
	crds := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, path := range files(g, dir) {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		g.Expect(yaml.UnmarshalStrict(read(g, path), crd)).To(Succeed(), path)
		crds[crd.Name] = crd
	}
	return crds
}

// readObjects returns the objects of a directory by their files' names.
func readObjects(g *WithT, dir string) map[string]*unstructured.Unstructured {
	objects := map[string]*unstructured.Unstructured{}
	for _, path := range files(g, dir) {
		if filepath.Base(path) != "kustomization.yaml" {
			objects[filepath.Base(path)] = object(g, string(read(g, path)))
		}
	}
	return objects
}

func object(g *WithT, manifest string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	g.Expect(yaml.UnmarshalStrict([]byte(manifest), u)).To(Succeed(), manifest)
	return u
}

// sample returns the sample of a kind.
func sample(g *WithT, kind string) *unstructured.Unstructured {
	for _, u := range readObjects(g, samples) {
		if u.GetKind() == kind {
			return u
		}
	}
	g.Expect(kind).To(BeEmpty(), "this kind has no sample")
	return nil
}

func files(g *WithT, dir string) []string {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(paths).NotTo(BeEmpty(), dir)
	return paths
}

func read(g *WithT, path string) []byte {
	content, err := os.ReadFile(path)
	g.Expect(err).NotTo(HaveOccurred())
	return content
}

// storage is the version of a CRD that is stored.
func storage(crd *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinitionVersion {
	for i := range crd.Spec.Versions {
		if crd.Spec.Versions[i].Storage {
			return &crd.Spec.Versions[i]
		}
	}
	return nil
}
