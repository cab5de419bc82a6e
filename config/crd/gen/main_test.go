package main

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

const generated = `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  group: helm.toolkit.fluxcd.io
  names:
    kind: HelmRelease
  versions:
  - name: v2
    schema:
      openAPIV3Schema:
        maxLength: 32768
        minimum: 0
        type: object
    served: true
    storage: true
`

const completed = generated + `  - deprecated: true
    deprecationWarning: helm.toolkit.fluxcd.io/v2beta2 HelmRelease is deprecated,
      use helm.toolkit.fluxcd.io/v2 HelmRelease
    name: v2beta2
    schema:
      openAPIV3Schema:
        maxLength: 32768
        minimum: 0
        type: object
    served: true
    storage: false
  - deprecated: true
    deprecationWarning: helm.toolkit.fluxcd.io/v2beta1 HelmRelease is deprecated,
      use helm.toolkit.fluxcd.io/v2 HelmRelease
    name: v2beta1
    schema:
      openAPIV3Schema:
        maxLength: 32768
        minimum: 0
        type: object
    served: true
    storage: false
`

func TestOlderVersionsAreAddedOnce(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "crd.yaml")
	g.Expect(os.WriteFile(path, []byte(generated), 0o600)).To(Succeed())
	for range 2 {
		g.Expect(run(filepath.Dir(path))).To(Succeed())
		g.Expect(os.ReadFile(path)).To(BeEquivalentTo(completed))
	}
}

func TestOurOwnKindsStayAsTheyAre(t *testing.T) {
	g := NewWithT(t)
	const own = `---
spec:
  group: fleet.headwater.dev
  names:
    kind: RemoteCluster
  versions:
  - name: v1alpha1
    served: true
    storage: true
`
	got, err := addVersions([]byte(own))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(got)).To(Equal(own))
}

func TestACRDWithoutStorageVersionIsRefused(t *testing.T) {
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "crd.yaml")
	g.Expect(os.WriteFile(path, []byte("spec: {versions: [{name: v1, storage: false}]}"), 0o600)).To(Succeed())
	g.Expect(run(filepath.Dir(path))).To(MatchError(And(ContainSubstring("crd.yaml"), ContainSubstring("spec.versions has none with storage: true"))))
}
