package source

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

func TestSecretsThatSpecsName(t *testing.T) {
	g := NewWithT(t)
	ref := func(name string) *meta.LocalObjectReference { return &meta.LocalObjectReference{Name: name} }
	git, oci := &sourcev1.GitRepository{}, &sourcev1.OCIRepository{}
	git.Spec.SecretRef, git.Spec.ProxySecretRef = ref("a"), ref("b")
	git.Spec.Verification = &sourcev1.GitRepositoryVerification{SecretRef: *ref("c")}
	git.Spec.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: *ref("repository")}}
	oci.Spec.SecretRef, oci.Spec.CertSecretRef, oci.Spec.ProxySecretRef = ref("a"), ref("b"), ref("c")
	oci.Spec.Verify = &sourcev1.OCIRepositoryVerification{SecretRef: ref("d"), TrustedRootSecretRef: ref("e")}
	bucket, repository, chart := &sourcev1.Bucket{}, &sourcev1.HelmRepository{}, &sourcev1.HelmChart{}
	bucket.Spec.STS = &sourcev1.BucketSTSSpec{SecretRef: ref("a"), CertSecretRef: ref("b")}
	repository.Spec.SecretRef, repository.Spec.CertSecretRef = ref("a"), ref("b")
	chart.Spec.SourceRef.Name = "repository"
	chart.Spec.Verify = &sourcev1.HelmChartVerification{SecretRef: ref("a")}
	for obj, names := range map[runtime.Object][]string{
		git: {"a", "b", "c"}, oci: {"a", "b", "c", "d", "e"}, bucket: {"a", "b"}, repository: {"a", "b"}, chart: {"a"},
	} {
		for _, name := range names {
			g.Expect(namesSecret(obj, name)).To(BeTrue(), "%T %s", obj, name)
		}
		for _, name := range []string{"", "repository", "z"} {
			g.Expect(namesSecret(obj, name)).To(BeFalse(), "%T %s", obj, name)
		}
	}
}
