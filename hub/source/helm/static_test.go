package helm_test

import (
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// A HelmRepository that becomes one of the type oci keeps nothing of what it was: its
// index, which others could still fetch, its status, and its finalizer, without which
// nobody has to let it go.
func TestARepositoryThatBecomesARegistryKeepsNothing(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	on := startCharts(t, dir)
	server := newRepository(t)
	server.protect("")
	g.Expect(on.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "moved"}})).To(Succeed())
	repo := &sourcev1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "moved", Name: "charts", Finalizers: []string{"example.com/keep"}}}
	repo.Spec.URL = server.URL + "/charts"
	g.Expect(on.Create(t.Context(), repo)).To(Succeed())
	now := func() *sourcev1.HelmRepository {
		g.Expect(on.Get(t.Context(), client.ObjectKeyFromObject(repo), repo)).To(Succeed())
		return repo
	}
	g.Eventually(func() string { return condition(now(), "Ready") }, patience).Should(HavePrefix("True Succeeded stored artifact: revision 'sha256:"))
	files := filepath.Join(dir, "helmrepository", "moved", "charts")
	g.Expect(files).To(BeADirectory())

	become := func(spec string) {
		g.Expect(on.Patch(t.Context(), repo, client.RawPatch("application/merge-patch+json", []byte(`{"spec":`+spec+`}`)))).To(Succeed())
	}
	become(`{"type":"oci","url":"oci://registry.test/charts"}`)
	g.Eventually(func() []string { return now().Finalizers }, patience).Should(Equal([]string{"example.com/keep"}))
	fresh := sourcev1.HelmRepositoryStatus{}
	fresh.ObservedGeneration = -1
	g.Expect(repo.Status).To(Equal(fresh))
	g.Expect(files).NotTo(BeADirectory())

	become(`{"type":"default","url":"` + server.URL + `/charts"}`)
	g.Eventually(func() string { return condition(now(), "Ready") }, patience).Should(HavePrefix("True "))
	g.Expect(files).To(BeADirectory())

	become(`{"type":"oci","url":"oci://registry.test/charts","suspend":true}`)
	g.Expect(on.Delete(t.Context(), repo)).To(Succeed())
	g.Eventually(func() []string { return now().Finalizers }, patience).Should(Equal([]string{"example.com/keep"}))
	g.Expect(files).NotTo(BeADirectory())
	g.Expect(on.Patch(t.Context(), repo, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))).To(Succeed())
	g.Expect(apierrors.IsNotFound(on.Get(t.Context(), client.ObjectKeyFromObject(repo), repo))).To(BeTrue())
}
