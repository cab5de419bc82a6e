package kustomize

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

const recordings = "testdata/flux-2.9"

// recorded reads what Flux has left in a cluster, as if it had been in the
// namespace of the test.
func (e *env) recorded(file string) []*unstructured.Unstructured {
	e.t.Helper()
	raw, err := os.ReadFile(filepath.Join(recordings, file))
	e.Expect(err).NotTo(HaveOccurred())
	text := strings.NewReplacer("amespace: bench", "amespace: "+e.namespace, "id: bench_", "id: "+e.namespace+"_").Replace(string(raw))
	raw, err = yaml.YAMLToJSON([]byte(text))
	e.Expect(err).NotTo(HaveOccurred())
	list := &unstructured.UnstructuredList{}
	e.Expect(list.UnmarshalJSON(raw)).To(Succeed())
	var objects []*unstructured.Unstructured
	for i := range list.Items {
		if list.Items[i].GetName() == "app-0000" || list.Items[i].GetKind() == "ConfigMap" {
			objects = append(objects, &list.Items[i])
		}
	}
	return objects
}

// restore makes an object as it was recorded: content, status, and who manages
// what since when.
func (e *env) restore(recorded *unstructured.Unstructured) {
	e.t.Helper()
	obj := recorded.DeepCopy()
	for _, field := range []string{"creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"} {
		unstructured.RemoveNestedField(obj.Object, "metadata", field)
	}
	// Addresses are of the cluster that they were given out in.
	unstructured.RemoveNestedField(obj.Object, "spec", "clusterIP")
	unstructured.RemoveNestedField(obj.Object, "spec", "clusterIPs")
	status := obj.Object["status"]
	e.Expect(e.hub.Create(e.t.Context(), obj)).To(Succeed())
	if status != nil {
		obj.Object["status"] = status
		e.Expect(e.hub.Status().Update(e.t.Context(), obj)).To(Succeed())
	}
	patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/metadata/managedFields", "value": recorded.GetManagedFields()}})
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(e.hub.Patch(e.t.Context(), obj, client.RawPatch(types.JSONPatchType, patch))).To(Succeed())
	e.Expect(obj.GetManagedFields()).To(Equal(recorded.GetManagedFields()))
}

// live reads an object that was recorded.
func (e *env) live(recorded *unstructured.Unstructured) *unstructured.Unstructured {
	e.t.Helper()
	obj := e.object(recorded.GetAPIVersion(), recorded.GetKind(), recorded.GetName())
	e.Expect(obj).NotTo(BeNil(), recorded.GetKind())
	return obj
}

// serve publishes the files of the recorded source as the revision, and says so
// in the status of the OCIRepository.
func (e *env) serve(revision string, edit *strings.Replacer) {
	e.t.Helper()
	raw, err := os.ReadFile(filepath.Join(recordings, "source", "app.yaml"))
	e.Expect(err).NotTo(HaveOccurred())
	// The artifact is what counts, not under which kind it is stored.
	e.push("recorded", "app.yaml", edit.Replace(string(raw)))
	repository := &sourcev1.OCIRepository{}
	e.Expect(e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "app-0000"}, repository)).To(Succeed())
	published := e.repository().Status.Artifact.DeepCopy()
	published.Revision, published.Metadata = revision, repository.Status.Artifact.Metadata
	repository.Status.Artifact = published
	e.Expect(e.hub.Status().Update(e.t.Context(), repository)).To(Succeed())
}

// idsOf are the ids of an inventory, in an order of its own.
func idsOf(obj *kustomizev1.Kustomization) []string {
	var ids []string
	for _, entry := range obj.Status.Inventory.Entries {
		ids = append(ids, entry.ID+" "+entry.Version)
	}
	slices.Sort(ids)
	return ids
}

// managersOf are who manages something of an object, each once.
func managersOf(obj client.Object) []string {
	var names []string
	for _, entry := range obj.GetManagedFields() {
		names = append(names, strings.Join([]string{entry.Manager, string(entry.Operation), entry.Subresource}, " "))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// What Flux has applied is taken over as it is, and given back as Flux knows it:
// not one object at the target is written.
func TestAFleetComesFromFluxAndGoesBack(t *testing.T) {
	e := newEnv(t)
	objects := e.recorded("kustomization-objects.yaml")
	own := e.recorded("kustomization.yaml")
	e.Expect(objects).To(HaveLen(5))
	for _, obj := range slices.Concat(objects, own) {
		e.restore(obj)
	}
	flux := e.get("app-0000")
	var before []*unstructured.Unstructured
	for _, obj := range objects {
		before = append(before, e.live(obj))
	}
	e.serve(flux.Status.LastAppliedRevision, strings.NewReplacer())

	stop := e.start()
	e.Eventually(func() string { return e.get("app-0000").Status.Target }, "20s", "50ms").Should(HavePrefix("hub/"), "it was taken over")
	e.becomes("app-0000", "True ReconciliationSucceeded: Applied revision: "+flux.Status.LastAppliedRevision)
	e.request("app-0000", "once more")
	stop()

	for i, obj := range objects {
		e.Expect(e.live(obj)).To(Equal(before[i]), "nothing of it is touched, and so neither is its resourceVersion")
	}
	ours := e.get("app-0000")
	e.Expect(ours.Finalizers).To(Equal(flux.Finalizers))
	e.Expect(ours.Spec).To(Equal(flux.Spec))
	e.Expect(idsOf(ours)).To(Equal(idsOf(flux)))
	e.Expect(ours.Status.LastAppliedRevision).To(Equal(flux.Status.LastAppliedRevision))
	e.Expect(ours.Status.LastAppliedOriginRevision).To(Equal(flux.Status.LastAppliedOriginRevision))
	e.Expect(managersOf(ours)).To(ContainElements(managersOf(flux)))
	e.Expect(managersOf(ours)).To(HaveLen(len(managersOf(flux))+1), "beside those of Flux there is only who asked for a run")
}

// What was changed meanwhile is Flux's own all the same: its next apply finds
// nothing to do, and its next pruning finds its objects.
func TestWhatWasChangedHereIsFluxsOwn(t *testing.T) {
	e := newEnv(t)
	objects := e.recorded("kustomization-objects.yaml")
	for _, obj := range slices.Concat(objects, e.recorded("kustomization.yaml")) {
		e.restore(obj)
	}
	flux := e.get("app-0000")
	e.serve("latest@sha256:2", strings.NewReplacer("version: v1", "version: v2", "podinfo:6.1.0", "podinfo:6.2.0"))
	stop := e.start()
	e.Eventually(func() string { return e.get("app-0000").Status.LastAttemptedRevision }, "20s", "50ms").Should(Equal("latest@sha256:2"))
	e.Eventually(func() any { return e.live(objects[4]).Object["data"] }, "20s", "50ms").Should(HaveKeyWithValue("version", "v2"))
	e.Eventually(func() []string { return e.imagesOf("app-0000") }, "20s", "50ms").Should(Equal([]string{"ghcr.io/stefanprodan/podinfo:6.2.0"}))
	stop()
	e.Expect(idsOf(e.get("app-0000"))).To(Equal(idsOf(flux)))
	for _, recorded := range objects {
		live := e.live(recorded)
		e.Expect(managersOf(live)).To(Equal(managersOf(recorded)))
		e.Expect(live.GetLabels()).To(Equal(recorded.GetLabels()))
		e.Expect(ownedBy(live)).To(Equal(ownedBy(recorded)), "Flux's entry in managedFields has the same fields")
	}
}

// ownedBy is the fields that the manager of Flux owns.
func ownedBy(obj *unstructured.Unstructured) map[string]any {
	for _, entry := range obj.GetManagedFields() {
		if entry.Manager == "kustomize-controller" && entry.Operation == metav1.ManagedFieldsOperationApply {
			var fields map[string]any
			if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) == nil {
				return fields
			}
		}
	}
	return nil
}

// imagesOf are the images of a Deployment.
func (e *env) imagesOf(name string) []string {
	e.t.Helper()
	containers, _, err := unstructured.NestedSlice(e.object("apps/v1", "Deployment", name).Object, "spec", "template", "spec", "containers")
	e.Expect(err).NotTo(HaveOccurred())
	var images []string
	for _, container := range containers {
		image, _, err := unstructured.NestedString(container.(map[string]any), "image")
		e.Expect(err).NotTo(HaveOccurred())
		images = append(images, image)
	}
	return images
}
