// Package config_test builds the manifests and checks what everything else
// relies on: that they build, ask for no more rights than they name, carry the
// labels that the flux CLI looks for, let nobody read what is not theirs, and can
// be deployed where Flux was.
package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/filesys"
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

func TestDefaultGrantsOnlyWhatItNames(t *testing.T) {
	g := NewWithT(t)
	for _, object := range build(t, "default") {
		switch object.GetKind() {
		case "ClusterRole", "Role":
			text := object.MustYaml()
			for _, tooMuch := range []string{"- '*'", "- escalate", "- bind", "- impersonate", "nonResourceURLs"} {
				g.Expect(text).NotTo(ContainSubstring(tooMuch), object.CurId().String())
			}
		case "ClusterRoleBinding", "RoleBinding":
			g.Expect(object.MustYaml()).NotTo(ContainSubstring("cluster-admin"), object.CurId().String())
		}
	}
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
