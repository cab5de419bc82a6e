package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/e2e/stack"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// manifestsDir holds the manifests of the requirements.
const manifestsDir = "../api/conformance/testdata/manifests"

// document is the world of the requirements: a hub that deploys to itself, two
// remote clusters, and repositories with what the manifests name.
type document struct {
	*WithT
	t       *testing.T
	repo    *testenv.Repository
	remotes map[string]client.Client
}

// TestTheDocument plays the document of the requirements: its eleven manifests,
// with other hosts and credentials and nothing else changed.
func TestTheDocument(t *testing.T) {
	d := newDocument(t)
	for _, part := range []struct {
		name string
		play func(*document)
	}{
		{"the sources are ready", (*document).sources},
		{"a Kustomization applies, and checks Deployment and Service", (*document).kustomization},
		{"the same on two remote clusters", (*document).elsewhere},
		{"charts from a repository and from Git are released", (*document).releases},
		{"a new tag becomes a commit, and the new image everywhere", (*document).images},
		{"what the document asks with kubectl", (*document).commands},
		{"the conditions", (*document).conditions},
	} {
		passed := t.Run(part.name, func(t *testing.T) {
			within := *d
			within.t, within.WithT = t, NewWithT(t)
			within.SetDefaultEventuallyTimeout(patience)
			within.SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
			part.play(&within)
		})
		if !passed {
			return // the others build on it
		}
	}
}

func newDocument(t *testing.T) *document {
	t.Helper()
	g := NewWithT(t)
	d := &document{WithT: g, t: t, remotes: map[string]client.Client{"prod-eu": shared.onTarget}}
	us, err := testenv.Start(t.Context(), testenv.Options{Name: "prod-us", ControllerManager: true, Kubelet: true})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(us.Stop)
	d.remotes["prod-us"], err = us.Client(shared.onHub.Scheme())
	g.Expect(err).NotTo(HaveOccurred())
	for name, plane := range map[string]*testenv.ControlPlane{"prod-eu": shared.target, "prod-us": us} {
		content, err := plane.Kubeconfig()
		g.Expect(err).NotTo(HaveOccurred())
		d.create(&corev1.Secret{ObjectMeta: inSystem(name), Data: map[string][]byte{"value": content}})
	}
	// The optional part of config/rbac: agents may deploy to the hub itself.
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "document"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
	}
	for agent := range shared.agents {
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: stack.Namespace, Name: "headwater-" + agent})
	}
	d.create(binding)
	d.publish()
	return d
}

// publish fills what the manifests refer to, and makes the Secrets that they
// name.
func (d *document) publish() {
	d.t.Helper()
	var err error
	d.repo, err = shared.git.Repository(d.t.Context(), "kubernetes-manifests")
	d.Expect(err).NotTo(HaveOccurred())
	d.commit("Add web-app", map[string]string{
		"apps/web-app/kustomization.yaml": "namespace: default\nresources: [deployment.yaml]\n",
		"apps/web-app/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-app
spec:
  selector: {matchLabels: {app: web-app}}
  template:
    metadata: {labels: {app: web-app}}
    spec:
      containers:
      - name: web-app
        image: ` + d.image("1.0.0") + ` # {"$imagepolicy": "flux-system:web-app"}
`,
	})
	charts, err := shared.git.Repository(d.t.Context(), "my-repo")
	d.Expect(err).NotTo(HaveOccurred())
	files := map[string]string{}
	for path, content := range chart("my-app", "0.3.0", "my-app") {
		files["charts/my-app/"+path] = content
	}
	_, err = charts.Commit(d.t.Context(), "Add my-app", files)
	d.Expect(err).NotTo(HaveOccurred())
	d.Expect(shared.outside.publishChart("nginx", "13.2.20", chart("nginx", "13.2.20", "nginx"))).To(Succeed())
	d.Expect(shared.outside.bucket.CreateBucket("my-manifests-bucket")).To(Succeed())
	body := configMap("from-a-bucket", "1")
	_, err = shared.outside.bucket.PutObject("my-manifests-bucket", "a.yaml", map[string]string{"Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT"}, strings.NewReader(body), int64(len(body)), nil)
	d.Expect(err).NotTo(HaveOccurred())
	d.push("manifests", "latest")
	d.push("web-app", "1.0.0")

	login, err := json.Marshal(map[string]any{"auths": map[string]any{shared.outside.Host: map[string]string{"username": outsideUser, "password": outsidePassword}}})
	d.Expect(err).NotTo(HaveOccurred())
	registry := func(name string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: inSystem(name), Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: login}}
	}
	d.create(registry("oci-credentials"), registry("registry-credentials"),
		&corev1.Secret{ObjectMeta: inSystem("git-credentials"), StringData: map[string]string{"username": outsideUser, "password": outsidePassword}},
		&corev1.Secret{ObjectMeta: inSystem("s3-credentials"), StringData: map[string]string{"accesskey": outsideKey, "secretkey": "s3cret"}})
}

func inSystem(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: stack.Namespace, Name: name}
}

func (d *document) image(tag string) string { return shared.outside.Host + "/your-org/web-app:" + tag }

func (d *document) push(repository, tag string) {
	d.t.Helper()
	_, err := shared.outside.registry.Push("your-org/"+repository, tag, map[string]string{"a.yaml": configMap("from-a-registry", tag)})
	d.Expect(err).NotTo(HaveOccurred())
}

func (d *document) commit(message string, files map[string]string) {
	d.t.Helper()
	_, err := d.repo.Commit(d.t.Context(), message, files)
	d.Expect(err).NotTo(HaveOccurred())
}

// create makes objects on the hub that end with the test.
func (d *document) create(objects ...client.Object) {
	d.t.Helper()
	for _, object := range objects {
		d.Expect(shared.onHub.Create(d.t.Context(), object)).To(Succeed())
	}
}

// manifest reads one of the eleven.
func (d *document) manifest(number int) *unstructured.Unstructured {
	d.t.Helper()
	files, err := filepath.Glob(filepath.Join(manifestsDir, fmt.Sprintf("%02d-*.yaml", number)))
	d.Expect(err).NotTo(HaveOccurred())
	d.Expect(files).To(HaveLen(1))
	content, err := os.ReadFile(files[0])
	d.Expect(err).NotTo(HaveOccurred())
	text := strings.NewReplacer(
		"https://github.com/", shared.outside.URL+"/",
		"https://charts.bitnami.com/", shared.outside.URL+"/",
		"s3.amazonaws.com", shared.outside.Host,
		"oci://ghcr.io/", "oci://"+shared.outside.Host+"/",
		"docker.io/", shared.outside.Host+"/",
	).Replace(string(content))
	object := &unstructured.Unstructured{}
	d.Expect(yaml.Unmarshal([]byte(text), &object.Object)).To(Succeed())
	return object
}

// apply is kubectl apply --server-side with strict validation.
func (d *document) apply(object *unstructured.Unstructured) {
	d.t.Helper()
	d.Expect(shared.onHub.Patch(d.t.Context(), object.DeepCopy(), client.Apply, //nolint:staticcheck // Client.Apply has no field validation
		client.FieldOwner("kubectl"), client.FieldValidation(metav1.FieldValidationStrict))).To(Succeed())
}

// merge is kubectl patch --type merge.
func (d *document) merge(fragment *unstructured.Unstructured) {
	d.t.Helper()
	patch, err := json.Marshal(fragment.Object)
	d.Expect(err).NotTo(HaveOccurred())
	d.Expect(shared.onHub.Patch(d.t.Context(), fragment.DeepCopy(), client.RawPatch(types.MergePatchType, patch),
		client.FieldValidation(metav1.FieldValidationStrict))).To(Succeed())
}

// request asks for a reconcile at once, as flux reconcile does.
func (d *document) request(object *unstructured.Unstructured) {
	d.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, time.Now().Format(time.RFC3339Nano))
	d.Expect(shared.onHub.Patch(d.t.Context(), object.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch)))).To(Succeed())
}

// condition shows one of an object's, as "status reason: message".
func (d *document) condition(of *unstructured.Unstructured, kind string) string {
	found := &unstructured.Unstructured{}
	found.SetGroupVersionKind(of.GroupVersionKind())
	d.Expect(shared.onHub.Get(d.t.Context(), client.ObjectKeyFromObject(of), found)).To(Succeed())
	conditions, _, _ := unstructured.NestedSlice(found.Object, "status", "conditions")
	for _, one := range conditions {
		if c, _ := one.(map[string]any); c["type"] == kind {
			return fmt.Sprintf("%v %v: %v", c["status"], c["reason"], c["message"])
		}
	}
	return ""
}

func (d *document) ready(of *unstructured.Unstructured, want OmegaMatcher) {
	d.t.Helper()
	d.Eventually(func() string { return d.condition(of, meta.ReadyCondition) }).Should(want, of.GetKind()+" "+of.GetName())
}

// runs waits for the image of web-app on a cluster, in Pods that are available.
func (d *document) runs(on client.Client, tag string) {
	d.t.Helper()
	d.Eventually(func(g Gomega) {
		var found appsv1.Deployment
		g.Expect(on.Get(d.t.Context(), client.ObjectKey{Namespace: "default", Name: "web-app"}, &found)).To(Succeed())
		g.Expect(found.Spec.Template.Spec.Containers[0].Image).To(Equal(d.image(tag)))
		g.Expect(found.Status.ObservedGeneration).To(Equal(found.Generation))
		g.Expect(found.Status.AvailableReplicas).To(Equal(int32(1)))
	}).Should(Succeed())
}

// sources are Git over smart HTTP, an index of charts, S3 and OCI.
func (d *document) sources() {
	for number := 1; number <= 4; number++ {
		d.apply(d.manifest(number))
	}
	for number := 1; number <= 4; number++ {
		d.ready(d.manifest(number), HavePrefix("True Succeeded: stored artifact"))
	}
}

func (d *document) kustomization() {
	web := d.manifest(5)
	d.apply(web)
	d.ready(web, HavePrefix("True ReconciliationSucceeded: Applied revision: main@sha1:"))
	d.runs(shared.onHub, "1.0.0")

	// The health checks of the fragment ask for a Service, which is not in Git
	// yet.
	d.merge(d.manifest(11))
	d.ready(web, MatchRegexp("^(Unknown|False) .*Service/default/web-app"))
	d.commit("Add the Service", map[string]string{
		"apps/web-app/kustomization.yaml": "namespace: default\nresources: [deployment.yaml, service.yaml]\n",
		"apps/web-app/service.yaml":       "apiVersion: v1\nkind: Service\nmetadata: {name: web-app}\nspec: {selector: {app: web-app}, ports: [{port: 80}]}\n",
	})
	d.request(d.manifest(1))
	d.ready(web, HavePrefix("True ReconciliationSucceeded"))
	d.Expect(shared.onHub.Get(d.t.Context(), client.ObjectKey{Namespace: "default", Name: "web-app"}, &corev1.Service{})).To(Succeed())
}

// elsewhere is the document's Kustomization once more for each remote cluster.
func (d *document) elsewhere() {
	for name, cluster := range d.remotes {
		web := d.remote(name)
		d.apply(web)
		d.ready(web, HavePrefix("True ReconciliationSucceeded"))
		d.runs(cluster, "1.0.0")
	}
}

func (d *document) remote(cluster string) *unstructured.Unstructured {
	web := d.manifest(5)
	web.SetName("web-app-" + cluster)
	d.Expect(unstructured.SetNestedField(web.Object, cluster, "spec", "kubeConfig", "secretRef", "name")).To(Succeed())
	checks, _, err := unstructured.NestedSlice(d.manifest(11).Object, "spec", "healthChecks")
	d.Expect(err).NotTo(HaveOccurred())
	d.Expect(unstructured.SetNestedSlice(web.Object, checks, "spec", "healthChecks")).To(Succeed())
	return web
}

// releases are of a packaged chart and of one in a Git repository, to which the
// document refers without a manifest.
func (d *document) releases() {
	repo := d.manifest(1)
	repo.SetName("my-repo")
	d.Expect(unstructured.SetNestedField(repo.Object, shared.outside.URL+"/your-org/my-repo", "spec", "url")).To(Succeed())
	d.apply(repo)
	d.apply(d.manifest(6))
	d.apply(d.manifest(7))

	d.Eventually(func() error { return d.balance("nginx") }).Should(Succeed(), "there is no cloud that would give the Service an address")
	d.ready(d.manifest(6), MatchRegexp(`^True InstallSucceeded: .*nginx@13\.2\.20`))
	d.ready(d.manifest(7), MatchRegexp(`^True InstallSucceeded: .*my-app@0\.3\.0`))
	for name, want := range map[string]struct {
		replicas int32
		image    string
	}{"nginx": {3, "nginx:latest"}, "my-app": {1, "my-app:v1.0.0"}} {
		var found appsv1.Deployment
		d.Expect(shared.onHub.Get(d.t.Context(), client.ObjectKey{Namespace: stack.Namespace, Name: name}, &found)).To(Succeed())
		d.Expect(*found.Spec.Replicas).To(Equal(want.replicas))
		d.Expect(found.Status.AvailableReplicas).To(Equal(want.replicas))
		d.Expect(found.Spec.Template.Spec.Containers[0].Image).To(Equal(want.image))
		// What helm list -A reads.
		var stored corev1.SecretList
		d.Expect(shared.onHub.List(d.t.Context(), &stored, client.MatchingLabels{"owner": "helm", "name": name, "status": "deployed"})).To(Succeed())
		d.Expect(stored.Items).To(HaveLen(1))
	}
}

// balance gives a Service of the type LoadBalancer an address, as a cloud does.
func (d *document) balance(name string) error {
	service := &corev1.Service{ObjectMeta: inSystem(name)}
	if err := shared.onHub.Get(d.t.Context(), client.ObjectKeyFromObject(service), service); err != nil {
		return err
	}
	d.Expect(service.Spec.Type).To(Equal(corev1.ServiceTypeLoadBalancer))
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	return shared.onHub.Status().Update(d.t.Context(), service)
}

func (d *document) images() {
	before, err := d.repo.Head(d.t.Context())
	d.Expect(err).NotTo(HaveOccurred())
	for number := 8; number <= 10; number++ {
		d.apply(d.manifest(number))
	}
	d.ready(d.manifest(8), HavePrefix("True Succeeded: successful scan: found 1 tags"))
	d.ready(d.manifest(9), MatchRegexp("^True Succeeded: .*1.0.0"))
	d.ready(d.manifest(10), HavePrefix("True Succeeded: repository up-to-date"))

	d.push("web-app", "2.0.0") // which the policy's range leaves out
	d.push("web-app", "1.1.0")
	d.request(d.manifest(8))
	d.ready(d.manifest(9), MatchRegexp("^True Succeeded: .*1.1.0"))
	d.Eventually(func() ([]string, error) { return d.repo.Messages(d.t.Context(), before) }).Should(
		Equal([]string{"Update image: " + d.image("1.1.0")}))

	d.request(d.manifest(1)) // which its interval does as well, in a minute
	for name, cluster := range d.remotes {
		d.runs(cluster, "1.1.0")
		d.ready(d.remote(name), HavePrefix("True ReconciliationSucceeded"))
	}
	d.runs(shared.onHub, "1.1.0")
	d.ready(d.manifest(5), HavePrefix("True ReconciliationSucceeded"))
}

// commands are kubectl get and kubectl describe: the API server's tables, and
// objects with their events.
func (d *document) commands() {
	for resource, columns := range map[string][]string{
		"source.toolkit.fluxcd.io/v1beta2/gitrepositories": {"Name", "URL", "Age", "Ready", "Status"},
		"kustomize.toolkit.fluxcd.io/v1/kustomizations":    {"Name", "Age", "Ready", "Status"},
		"helm.toolkit.fluxcd.io/v2beta1/helmreleases":      {"Name", "Age", "Ready", "Status"},
		"source.toolkit.fluxcd.io/v1beta2/buckets":         {"Name", "Endpoint", "Age", "Ready", "Status"},
	} {
		table := d.table(resource)
		ready := 0
		var names []string
		for i, column := range table.ColumnDefinitions {
			names = append(names, column.Name)
			if column.Name == "Ready" {
				ready = i
			}
		}
		d.Expect(names).To(Equal(columns))
		d.Expect(table.Rows).NotTo(BeEmpty())
		for _, row := range table.Rows {
			d.Expect(row.Cells[ready]).To(Equal("True"), fmt.Sprint(row.Cells...))
		}
	}
	for _, number := range []int{1, 5, 6, 7} {
		object := d.manifest(number)
		var events corev1.EventList
		d.Expect(shared.onHub.List(d.t.Context(), &events, client.InNamespace(stack.Namespace), client.MatchingFields{
			"involvedObject.kind": object.GetKind(), "involvedObject.name": object.GetName(),
		})).To(Succeed())
		d.Expect(events.Items).NotTo(BeEmpty(), "kubectl describe shows events of "+object.GetKind())
	}
}

func (d *document) table(resource string) metav1.Table {
	d.t.Helper()
	kube, err := rest.HTTPClientFor(shared.hub.Config())
	d.Expect(err).NotTo(HaveOccurred())
	group, resource, _ := strings.Cut(resource, "/")
	version, resource, _ := strings.Cut(resource, "/")
	address := strings.Join([]string{shared.hub.URL, "apis", group, version, "namespaces", stack.Namespace, resource}, "/")
	request, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, address, http.NoBody)
	d.Expect(err).NotTo(HaveOccurred())
	request.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	response, err := kube.Do(request)
	d.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	d.Expect(err).NotTo(HaveOccurred())
	var table metav1.Table
	d.Expect(json.Unmarshal(content, &table)).To(Succeed(), string(content))
	return table
}

// conditions are the document's four: what is not true is absent.
func (d *document) conditions() {
	web := d.manifest(5)
	d.Expect(d.condition(web, meta.ReadyCondition)).To(HavePrefix("True "))
	for _, absent := range []string{meta.ReconcilingCondition, meta.StalledCondition, meta.SuspendedCondition} {
		d.Eventually(func() string { return d.condition(web, absent) }).Should(BeEmpty())
	}
	suspend := func(value string) {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":`+value+`}}`))
		d.Expect(shared.onHub.Patch(d.t.Context(), web.DeepCopy(), patch)).To(Succeed())
	}
	suspend("true")
	d.Eventually(func() string { return d.condition(web, meta.SuspendedCondition) }).Should(HavePrefix("True "))
	suspend("false")
	d.Eventually(func() string { return d.condition(web, meta.SuspendedCondition) }).Should(BeEmpty())
}
