package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// served are the versions of each kind, the current one first.
var served = map[string][]string{
	"GitRepository":         {"v1", "v1beta2", "v1beta1"},
	"HelmRepository":        {"v1", "v1beta2", "v1beta1"},
	"HelmChart":             {"v1", "v1beta2", "v1beta1"},
	"Bucket":                {"v1", "v1beta2", "v1beta1"},
	"OCIRepository":         {"v1", "v1beta2"},
	"ExternalArtifact":      {"v1"},
	"Kustomization":         {"v1", "v1beta2", "v1beta1"},
	"HelmRelease":           {"v2", "v2beta2", "v2beta1"},
	"ImageRepository":       {"v1", "v1beta2", "v1beta1"},
	"ImagePolicy":           {"v1", "v1beta2", "v1beta1"},
	"ImageUpdateAutomation": {"v1", "v1beta2", "v1beta1"},
	"RemoteCluster":         {"v1alpha1"},
	"AgentPool":             {"v1alpha1"},
}

func TestEveryVersionHasTheOneSchema(t *testing.T) {
	g := NewWithT(t)
	crds := readCRDs(g, bases)
	g.Expect(crds).To(HaveLen(len(served)))
	for name, crd := range crds {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			current := storage(crd)
			var names []string
			for _, version := range crd.Spec.Versions {
				names = append(names, version.Name)
				g.Expect(version.Served).To(BeTrue())
				g.Expect(version.Schema).To(Equal(current.Schema))
				g.Expect(version.Subresources).To(Equal(current.Subresources))
				g.Expect(version.AdditionalPrinterColumns).To(Equal(current.AdditionalPrinterColumns))
				if version.Storage {
					g.Expect(version.Deprecated).To(BeFalse())
					continue
				}
				g.Expect(version.Deprecated).To(BeTrue())
				g.Expect(version.DeprecationWarning).To(HaveValue(And(
					HavePrefix("%s/%s %s is deprecated", crd.Spec.Group, version.Name, crd.Spec.Names.Kind),
					HaveSuffix("use %s/%s %s", crd.Spec.Group, current.Name, crd.Spec.Names.Kind))))
			}
			g.Expect(names).To(Equal(served[crd.Spec.Names.Kind]))
			g.Expect(current.Name).To(Equal(names[0]))
			g.Expect(crd.Spec.Conversion).To(Or(BeNil(), HaveField("Strategy", apiextensionsv1.NoneConverter)))
		})
	}
}

func TestClientsAreToldTheCurrentVersion(t *testing.T) {
	g := NewWithT(t)
	kube(t)
	client, err := discovery.NewDiscoveryClientForConfig(shared.ControlPlane(t).Config())
	g.Expect(err).NotTo(HaveOccurred())
	groups, err := client.ServerGroups()
	g.Expect(err).NotTo(HaveOccurred())
	preferred := map[string]string{}
	for _, group := range groups.Groups {
		preferred[group.Name] = group.PreferredVersion.Version
	}
	for _, crd := range readCRDs(g, bases) {
		g.Expect(preferred).To(HaveKeyWithValue(crd.Spec.Group, storage(crd).Name))
	}
}

func TestAnOlderVersionWarns(t *testing.T) {
	g := NewWithT(t)
	kube(t)
	config := shared.ControlPlane(t).Config()
	heard := &warnings{}
	config.WarningHandler = heard
	c, err := client.New(config, client.Options{Scheme: allKinds(g)})
	g.Expect(err).NotTo(HaveOccurred())

	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "helm.toolkit.fluxcd.io", Version: "v2beta1", Kind: "HelmReleaseList"})
	g.Expect(c.List(t.Context(), list)).To(Succeed())
	g.Expect(heard.texts).To(ConsistOf(
		"helm.toolkit.fluxcd.io/v2beta1 HelmRelease is deprecated, use helm.toolkit.fluxcd.io/v2 HelmRelease"))
}

// Manifests of any version are accepted in it with strict validation, read
// back as they are in every version that is served, and pass through our Go
// types with nothing lost.
func TestManifestsReadBackInEveryVersion(t *testing.T) {
	c := kube(t)
	for name, manifest := range manifests(NewWithT(t)) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			created := manifest.DeepCopy()
			g.Expect(c.Create(t.Context(), created)).To(Succeed())
			remove(t, c, created)

			g.Expect(served[manifest.GetKind()]).To(ContainElement(created.GroupVersionKind().Version))
			for _, version := range served[manifest.GetKind()] {
				got := readAs(t, c, manifest, version)
				g.Expect(got.Object["spec"]).To(Equal(created.Object["spec"]), version)
				g.Expect(missing(manifest.Object["spec"], got.Object["spec"], "spec")).To(BeEmpty(), version)
				g.Expect(got.Object["status"]).To(Equal(map[string]any{"observedGeneration": int64(-1)}), version)
			}
			throughGo(t, c, readAs(t, c, manifest, served[manifest.GetKind()][0]))
		})
	}
}

// throughGo reads the object into its Go type and writes it back, which must
// change nothing but the spelling of durations: Go writes 60s as 1m0s.
func throughGo(t *testing.T, c client.Client, stored *unstructured.Unstructured) {
	g := NewWithT(t)
	typed, err := c.Scheme().New(stored.GroupVersionKind())
	g.Expect(err).NotTo(HaveOccurred())
	obj := typed.(client.Object)
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(stored), obj)).To(Succeed())
	g.Expect(c.Update(t.Context(), obj)).To(Succeed())
	got := readAs(t, c, stored, stored.GroupVersionKind().Version)
	g.Expect(missing(stored.Object["spec"], got.Object["spec"], "spec")).To(BeEmpty())
	g.Expect(missing(got.Object["spec"], stored.Object["spec"], "spec")).To(BeEmpty())
}

// An object that was applied in an old version, and then in the current one by
// the same manager, keeps every field, and each field stays that manager's: it
// goes when the manager no longer applies it.
func TestApplyMovesFromAnOldVersionToTheCurrentOne(t *testing.T) {
	c := kube(t)
	for name, manifest := range manifests(NewWithT(t)) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			current := served[manifest.GetKind()][0]
			old := manifest.DeepCopy()
			apply(t, c, old, "somebody")
			remove(t, c, old)
			before := readAs(t, c, manifest, current)

			renamed := manifest.DeepCopy()
			renamed.SetGroupVersionKind(withVersion(manifest, current))
			apply(t, c, renamed, "somebody")
			after := readAs(t, c, manifest, current)
			g.Expect(after.Object["spec"]).To(Equal(before.Object["spec"]))
			g.Expect(after.GetManagedFields()).To(HaveLen(1))
			entry := after.GetManagedFields()[0]
			g.Expect(entry.APIVersion).To(Equal(renamed.GetAPIVersion()))
			g.Expect(entry.Manager).To(Equal("somebody"))
			g.Expect(fieldsOf(g, entry)).To(Equal(fieldsOf(g, before.GetManagedFields()[0])))

			suspended := renamed.DeepCopy()
			g.Expect(unstructured.SetNestedField(suspended.Object, true, "spec", "suspend")).To(Succeed())
			apply(t, c, suspended, "somebody")
			g.Expect(readAs(t, c, manifest, manifest.GroupVersionKind().Version).Object["spec"]).To(HaveKeyWithValue("suspend", true))
			apply(t, c, renamed, "somebody")
			g.Expect(readAs(t, c, manifest, manifest.GroupVersionKind().Version).Object["spec"]).NotTo(HaveKey("suspend"))
		})
	}
}

// The eleventh manifest of the requirements is a fragment of the fifth.
func TestAFragmentIsMergedAndNeverStandsAlone(t *testing.T) {
	whole := "testdata/manifests/05-kustomization-web-app.yaml"
	fragment := "testdata/manifests/11-kustomization-web-app.yaml"
	healthChecks := []any{
		map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web-app", "namespace": "default"},
		map[string]any{"apiVersion": "v1", "kind": "Service", "name": "web-app", "namespace": "default"},
	}
	for name, merge := range map[string]func(*testing.T, client.Client, *unstructured.Unstructured){
		"merge patch": func(t *testing.T, c client.Client, part *unstructured.Unstructured) {
			g := NewWithT(t)
			patch, err := json.Marshal(part)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(c.Patch(t.Context(), part, client.RawPatch("application/merge-patch+json", patch))).To(Succeed())
		},
		"server-side apply by another manager": func(t *testing.T, c client.Client, part *unstructured.Unstructured) {
			apply(t, c, part, "somebody-else")
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := kube(t)
			part := object(g, string(read(g, fragment)))
			for _, create := range []error{
				c.Create(t.Context(), part.DeepCopy()),
				c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(part.DeepCopy()), client.FieldOwner("somebody")),
			} {
				g.Expect(create).To(MatchError(And(ContainSubstring("spec.interval: Required value"),
					ContainSubstring("spec.prune: Required value"), ContainSubstring("spec.sourceRef: Required value"))))
			}

			all := object(g, string(read(g, whole)))
			apply(t, c, all, "somebody")
			remove(t, c, all)
			merge(t, c, part.DeepCopy())
			got := readAs(t, c, all, "v1").Object["spec"]
			g.Expect(got).To(HaveKeyWithValue("healthChecks", healthChecks))
			g.Expect(got).To(HaveKeyWithValue("path", "./apps/web-app"))
			g.Expect(got).To(HaveKeyWithValue("validation", "client"))
		})
	}
}

// manifests are those of the requirements but the fragment, and those in older
// versions.
func manifests(g *WithT) map[string]*unstructured.Unstructured {
	all := readObjects(g, "testdata/manifests")
	g.Expect(all).To(HaveLen(11))
	delete(all, "11-kustomization-web-app.yaml")
	for name, u := range readObjects(g, "testdata/older") {
		all["older/"+name] = u
	}
	return all
}

func apply(t *testing.T, c client.Client, u *unstructured.Unstructured, manager string) {
	t.Helper()
	applied := client.ApplyConfigurationFromUnstructured(u.DeepCopy())
	NewWithT(t).Expect(c.Apply(t.Context(), applied, client.FieldOwner(manager), client.ForceOwnership)).To(Succeed())
}

func readAs(t *testing.T, c client.Client, u *unstructured.Unstructured, version string) *unstructured.Unstructured {
	t.Helper()
	got := &unstructured.Unstructured{}
	got.SetGroupVersionKind(withVersion(u, version))
	NewWithT(t).Expect(c.Get(t.Context(), client.ObjectKeyFromObject(u), got)).To(Succeed())
	return got
}

func withVersion(u *unstructured.Unstructured, version string) schema.GroupVersionKind {
	gvk := u.GroupVersionKind()
	gvk.Version = version
	return gvk
}

// missing lists what is in want and not, or not so, in got: the API server
// may add defaults, and nothing else.
func missing(want, got any, at string) []string {
	var all []string
	switch want := want.(type) {
	case map[string]any:
		fields, _ := got.(map[string]any)
		for name, inner := range want {
			all = append(all, missing(inner, fields[name], at+"."+name)...)
		}
	case []any:
		items, _ := got.([]any)
		if len(items) != len(want) {
			return []string{at}
		}
		for i, inner := range want {
			all = append(all, missing(inner, items[i], fmt.Sprintf("%s[%d]", at, i))...)
		}
	default:
		if fmt.Sprint(want) != fmt.Sprint(got) && !sameDuration(want, got) {
			all = append(all, at)
		}
	}
	return all
}

func sameDuration(a, b any) bool {
	first, err := time.ParseDuration(fmt.Sprint(a))
	second, err2 := time.ParseDuration(fmt.Sprint(b))
	return err == nil && err2 == nil && first == second
}

// remove deletes the object when the test ends.
func remove(t *testing.T, c client.Client, u *unstructured.Unstructured) {
	t.Cleanup(func() {
		NewWithT(t).Expect(c.Delete(context.WithoutCancel(t.Context()), u)).To(Succeed())
	})
}

func fieldsOf(g *WithT, entry metav1.ManagedFieldsEntry) any {
	var fields any
	g.Expect(json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields)).To(Succeed())
	return fields
}

// warnings collects what the API server warns of.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

var _ rest.WarningHandler = &warnings{}

// HandleWarningHeader keeps each text once.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.texts, text) {
		w.texts = append(w.texts, text)
	}
}
