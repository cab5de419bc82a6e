// Package config_test builds the manifests and checks what everything else
// relies on: that they build, ask for no more rights than they name, carry the
// labels that the flux CLI looks for, let nobody read what is not theirs, and can
// be deployed where Flux was.
package config_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/headwater-dev/headwater/config"
)

func build(t *testing.T, path string) []*resource.Resource {
	g := NewWithT(t)
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
	g.Expect(err).NotTo(HaveOccurred(), path)
	g.Expect(resources.Resources()).NotTo(BeEmpty(), path)
	return resources.Resources()
}

func TestEveryBaseBuilds(t *testing.T) {
	var bases []string
	NewWithT(t).Expect(fs.WalkDir(os.DirFS("."), ".", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == "kustomization.yaml" {
			bases = append(bases, filepath.Dir(path))
		}
		return err
	})).To(Succeed())
	NewWithT(t).Expect(bases).To(ContainElements("default", "rbac", "rbac/cluster-reconciler"))
	for _, base := range bases {
		build(t, base)
	}
}

func TestDefaultCarriesTheLabelsOfFlux(t *testing.T) {
	g := NewWithT(t)
	for _, object := range build(t, "default") {
		g.Expect(object.GetLabels()).To(HaveKeyWithValue("app.kubernetes.io/part-of", "flux"), object.CurId().String())
	}
}

// TestTheFluxCLISeesAVersion: flux check and flux version read it from the CRDs.
// The kinds that are not Flux's have none of Flux's versions.
func TestTheFluxCLISeesAVersion(t *testing.T) {
	g := NewWithT(t)
	const version = "app.kubernetes.io/version"
	kinds := 0
	for _, object := range build(t, "default") {
		if object.GetKind() == "CustomResourceDefinition" && strings.HasSuffix(object.GetName(), ".toolkit.fluxcd.io") {
			kinds++
			g.Expect(object.GetLabels()).To(HaveKeyWithValue(version, MatchRegexp(`^v2\.9\.[0-9]+$`)), object.GetName())
			continue
		}
		g.Expect(object.GetLabels()).NotTo(HaveKey(version), object.CurId().String())
	}
	g.Expect(kinds).To(Equal(11))
}

// TestUsersOfANamespaceMayUseFlux: whoever has one of Kubernetes' own roles view,
// edit and admin in a namespace has it for Flux's kinds as well.
func TestUsersOfANamespaceMayUseFlux(t *testing.T) {
	g := NewWithT(t)
	roles, kinds := map[string]rbacv1.ClusterRole{}, map[string][]string{}
	for _, object := range build(t, "default") {
		switch object.GetKind() {
		case "ClusterRole":
			var role rbacv1.ClusterRole
			g.Expect(yaml.UnmarshalStrict([]byte(object.MustYaml()), &role)).To(Succeed())
			roles[role.Name] = role
		case "CustomResourceDefinition":
			resource, group, _ := strings.Cut(object.GetName(), ".")
			kinds[group] = append(kinds[group], resource)
		}
	}
	granted := func(role string) map[string][]string {
		g.Expect(roles).To(HaveKey(role))
		resources := map[string][]string{}
		for _, rule := range roles[role].Rules {
			for _, group := range rule.APIGroups {
				resources[group] = append(resources[group], rule.Resources...)
			}
		}
		for group := range resources {
			slices.Sort(resources[group])
		}
		return resources
	}
	verbs := func(role string, want ...string) {
		for _, rule := range roles[role].Rules {
			g.Expect(rule.Verbs).To(ConsistOf(want), role)
		}
	}
	aggregates := func(role string, to ...string) {
		for _, standing := range []string{"view", "edit", "admin"} {
			key := "rbac.authorization.k8s.io/aggregate-to-" + standing
			g.Expect(roles[role].Labels[key] == "true").To(Equal(slices.Contains(to, standing)), role+" "+standing)
		}
	}
	for group := range kinds {
		slices.Sort(kinds[group])
	}
	g.Expect(granted("flux-view")).To(Equal(kinds))
	verbs("flux-view", "get", "list", "watch")
	aggregates("flux-view", "view", "edit", "admin")

	delete(kinds, "fleet.headwater.dev") // the hub makes its objects
	g.Expect(granted("flux-edit")).To(Equal(kinds))
	verbs("flux-edit", "create", "delete", "deletecollection", "patch", "update")
	aggregates("flux-edit", "edit", "admin")
}

func TestDefaultGrantsOnlyWhatItNames(t *testing.T) {
	g := NewWithT(t)
	for _, object := range build(t, "default") {
		switch object.GetKind() {
		case "ClusterRole", "Role":
			text := object.MustYaml()
			// Agents act as the ServiceAccounts that objects name, whose tokens they may
			// ask for as well: as no user and no group.
			text = strings.Replace(text, "  resources:\n  - serviceaccounts\n  verbs:\n  - impersonate\n", "", 1)
			for _, tooMuch := range []string{"- '*'", "- escalate", "- bind", "- impersonate", "nonResourceURLs"} {
				g.Expect(text).NotTo(ContainSubstring(tooMuch), object.CurId().String())
			}
		case "ClusterRoleBinding", "RoleBinding":
			g.Expect(object.MustYaml()).NotTo(ContainSubstring("cluster-admin"), object.CurId().String())
		}
	}
}

// TestStatusesAreOnlyPatched: they are read with their objects, and so are
// finalizers, which are written there as well.
func TestStatusesAreOnlyPatched(t *testing.T) {
	g := NewWithT(t)
	statuses := 0
	for _, object := range build(t, "default") {
		if kind := object.GetKind(); kind != "ClusterRole" && kind != "Role" {
			continue
		}
		var role rbacv1.Role
		g.Expect(yaml.Unmarshal([]byte(object.MustYaml()), &role)).To(Succeed())
		for _, rule := range role.Rules {
			g.Expect(rule.Resources).NotTo(ContainElement(HaveSuffix("/finalizers")), role.Name)
			if slices.ContainsFunc(rule.Resources, func(resource string) bool { return strings.HasSuffix(resource, "/status") }) {
				statuses++
				g.Expect(rule.Verbs).To(Equal([]string{"patch"}), role.Name)
			}
		}
	}
	g.Expect(statuses).To(BeNumerically(">", 4))
}

// TestAnotherPolicyHasAnotherVersion: hub agent install replaces those of a lower one.
func TestAnotherPolicyHasAnotherVersion(t *testing.T) {
	const version, digest = "1", "9ab6429f087eff2327772d381b0d751371ad764e53da6d8a865b22c1527ba81e"
	g := NewWithT(t)
	specs := sha256.New()
	for text := range bytes.SplitSeq(config.AgentPolicy(), []byte("\n---\n")) {
		var object struct {
			Metadata struct{ Annotations map[string]string }
			Spec     json.RawMessage
		}
		g.Expect(yaml.Unmarshal(text, &object)).To(Succeed())
		g.Expect(object.Metadata.Annotations).To(HaveKeyWithValue("fleet.headwater.dev/policy-version", version))
		specs.Write(object.Spec)
	}
	g.Expect(hex.EncodeToString(specs.Sum(nil))).To(Equal(digest), "what it says has changed: give it another version")
}

func TestWorkloadsFitTheFluxCLI(t *testing.T) {
	g := NewWithT(t)
	var workloads []string
	for _, object := range build(t, "default") {
		if kind := object.GetKind(); kind != "Deployment" && kind != "StatefulSet" {
			continue
		}
		workloads = append(workloads, object.GetName())
		selector, err := object.GetFieldValue("spec.selector.matchLabels")
		g.Expect(err).NotTo(HaveOccurred())
		template, err := object.GetFieldValue("spec.template.metadata.labels")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(template).To(Equal(selector), "flux logs looks for the hub's Pods by the labels of the template; of StatefulSets it knows nothing")
		container, err := object.GetFieldValue("spec.template.spec.containers.0.name")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(container).To(Equal("manager"))
		image, err := object.GetFieldValue("spec.template.spec.containers.0.image")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(image).To(MatchRegexp(`^headwater\.invalid/(hub|agent):dev$`), "make deploy replaces it, and no registry has it")
	}
	g.Expect(workloads).To(ConsistOf("headwater-hub", "agent"))
}
