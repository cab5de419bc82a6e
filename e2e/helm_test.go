package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// chartFiles are a chart that shows its values on the target.
func chartFiles(name, version string) map[string]string {
	return map[string]string{
		"Chart.yaml":  fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version),
		"values.yaml": "image: {tag: none}\nreplicaCount: 1\nservice: {type: ClusterIP}\n",
		"templates/shown.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n" +
			"data: {tag: {{ .Values.image.tag | quote }}, replicas: {{ .Values.replicaCount | quote }}, service: {{ .Values.service.type }}}\n",
	}
}

// helmRepository serves a Helm repository with one package.
func helmRepository(t *testing.T, name, version string) string {
	t.Helper()
	g := NewWithT(t)
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zipped)
	for path, content := range chartFiles(name, version) {
		g.Expect(archive.WriteHeader(&tar.Header{Name: name + "/" + path, Mode: 0o644, Size: int64(len(content))})).To(Succeed())
		_, err := archive.Write([]byte(content))
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(archive.Close()).To(Succeed())
	g.Expect(zipped.Close()).To(Succeed())
	file := name + "-" + version + ".tgz"
	index := fmt.Sprintf("apiVersion: v1\nentries:\n  %s:\n  - name: %s\n    version: %s\n    apiVersion: v2\n    urls: [%s]\n", name, name, version, file)
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/index.yaml":
			_, _ = w.Write([]byte(index))
		case "/" + file:
			_, _ = w.Write(packed.Bytes())
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(served.Close)
	return served.URL
}

// manifest reads a manifest of the requirements into the tenant's namespace.
func (n *tenant) manifest(file string, change map[string]any) *unstructured.Unstructured {
	n.t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "api", "conformance", "testdata", "manifests", file))
	n.Expect(err).NotTo(HaveOccurred())
	obj := &unstructured.Unstructured{}
	n.Expect(yaml.Unmarshal(content, &obj.Object)).To(Succeed(), file)
	obj.SetNamespace(n.namespace)
	for field, value := range change {
		n.Expect(unstructured.SetNestedField(obj.Object, value, "spec", field)).To(Succeed())
	}
	return obj
}

// The two releases of the requirements: a chart of a repository, and one in a Git
// repository, in the version of the API that they are written in and in the
// current one.
func TestReleasesOfTheRequirements(t *testing.T) {
	for _, version := range []string{"v2beta1", "v2"} {
		t.Run(version, func(t *testing.T) {
			files := map[string]string{}
			for path, content := range chartFiles("my-app", "0.1.0") {
				files["charts/my-app/"+path] = content
			}
			n := newTenant(t, files)
			n.cluster("one")
			target := map[string]any{"secretRef": map[string]any{"name": "one"}}
			git := n.source()
			git.Name = "my-repo"
			n.create(git, n.manifest("02-helmrepository-bitnami.yaml", map[string]any{"url": helmRepository(t, "nginx", "13.2.20")}))
			releases := map[string]*unstructured.Unstructured{
				"nginx":  n.manifest("06-helmrelease-nginx.yaml", map[string]any{"kubeConfig": target}),
				"my-app": n.manifest("07-helmrelease-my-app.yaml", map[string]any{"kubeConfig": target}),
			}
			for name, obj := range releases {
				obj.SetAPIVersion("helm.toolkit.fluxcd.io/" + version)
				n.create(obj)
				n.Expect(obj.GetName()).To(Equal(name))
			}
			for name, obj := range releases {
				n.Eventually(func() string { return n.readyOf(obj) }).Should(HavePrefix("True InstallSucceeded: Helm install succeeded for release "+n.namespace+"/"+name+".v1"), name)
			}
			n.Expect(n.data("nginx")).To(Equal(map[string]string{"tag": "none", "replicas": "3", "service": "LoadBalancer"}))
			n.Expect(n.data("my-app")).To(Equal(map[string]string{"tag": "v1.0.0", "replicas": "1", "service": "ClusterIP"}))

			files["charts/my-app/Chart.yaml"] = chartFiles("my-app", "0.2.0")["Chart.yaml"]
			n.commit(files)
			n.Expect(shared.onHub.Get(t.Context(), client.ObjectKeyFromObject(git), git)).To(Succeed())
			n.Eventually(func() string { return n.readyOf(releases["my-app"]) }).Should(
				HavePrefix("True UpgradeSucceeded: Helm upgrade succeeded for release " + n.namespace + "/my-app.v2 with chart my-app@0.2.0"))

			for name, obj := range releases {
				n.Expect(shared.onHub.Delete(t.Context(), obj)).To(Succeed())
				n.Eventually(func() bool {
					return apierrors.IsNotFound(shared.onHub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj))
				}).Should(BeTrue(), name)
				n.Expect(n.data(name)).To(BeNil())
			}
			var records corev1.SecretList
			n.Expect(shared.onTarget.List(t.Context(), &records, client.InNamespace(n.namespace), client.MatchingLabels{"owner": "helm"})).To(Succeed())
			n.Expect(records.Items).To(BeEmpty())
		})
	}
}

// readyOf is the Ready condition of an object whatever its kind.
func (n *tenant) readyOf(obj *unstructured.Unstructured) string {
	n.t.Helper()
	n.Expect(shared.onHub.Get(n.t.Context(), client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	conditions, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	for _, item := range conditions {
		if condition, ok := item.(map[string]any); ok && condition["type"] == "Ready" {
			return fmt.Sprintf("%s %s: %s", condition["status"], condition["reason"], condition["message"])
		}
	}
	return ""
}
