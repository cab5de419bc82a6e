package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
)

var app = types.NamespacedName{Namespace: "team", Name: "app"}

func TestTagsAreThoseOfTheRevision(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	tags, err := OpenTags(dir)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = tags.Get(app, Revision(nil))
	g.Expect(err).To(MatchError(ErrNotScanned))
	g.Expect(tags.Has(app, Revision(nil))).To(BeFalse())

	found := []string{"1.0.0", "1.1.0"}
	g.Expect(tags.Put(app, found)).To(Succeed())
	g.Expect(tags.Get(app, Revision(found))).To(Equal(found))
	g.Expect(tags.Has(app, Revision(found))).To(BeTrue())
	g.Expect(tags.Has(app, Revision([]string{"1.0.0"}))).To(BeFalse())
	g.Expect(Revision(found)).To(Equal("sha256:c65d2366c2c3082b74e04f4a879f40bed90a7a4f89cefd4ab04e766cb5885dac"), "that of the tags with a newline between them")
	_, err = tags.Get(app, Revision([]string{"1.0.0"}))
	g.Expect(err).To(MatchError(ErrNotScanned), "another revision than the status names")
	_, err = tags.Get(types.NamespacedName{Namespace: "other", Name: "app"}, Revision(found))
	g.Expect(err).To(MatchError(ErrNotScanned), "another tenant's")

	again, err := OpenTags(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again.Get(app, Revision(found))).To(Equal(found), "after a restart")
	g.Expect(tags.Put(app, nil)).To(Succeed())
	g.Expect(tags.Get(app, Revision(nil))).To(BeEmpty())
	g.Expect(tags.Remove(app)).To(Succeed())
	g.Expect(tags.Remove(app)).To(Succeed())
	_, err = tags.Get(app, Revision(nil))
	g.Expect(err).To(MatchError(ErrNotScanned))
}

func TestRepositoriesMayHaveLongNames(t *testing.T) {
	g := NewWithT(t)
	tags, err := OpenTags(t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	one := types.NamespacedName{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("a", 252) + "1"}
	two := types.NamespacedName{Namespace: one.Namespace, Name: strings.Repeat("a", 252) + "2"}
	g.Expect(tags.Put(one, []string{"1.0.0"})).To(Succeed())
	g.Expect(tags.Put(two, []string{"2.0.0"})).To(Succeed())
	g.Expect(tags.Get(one, Revision([]string{"1.0.0"}))).To(Equal([]string{"1.0.0"}))
	g.Expect(tags.Get(two, Revision([]string{"2.0.0"}))).To(Equal([]string{"2.0.0"}))
}

func TestDamagedTagsCountAsNone(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	tags, err := OpenTags(dir)
	g.Expect(err).NotTo(HaveOccurred())
	found := []string{"1.0.0", "1.1.0"}
	g.Expect(tags.Put(app, found)).To(Succeed())
	files, err := os.ReadDir(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(HaveLen(1))
	g.Expect(os.WriteFile(filepath.Join(dir, files[0].Name()), []byte("1.0.0\n1.1"), 0o600)).To(Succeed())
	_, err = tags.Get(app, Revision(found))
	g.Expect(err).To(MatchError(ErrNotScanned))
	g.Expect(tags.Has(app, Revision(found))).To(BeFalse())
}

func TestWhatAKilledScanLeftIsRemoved(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(dir, "new-1234"), []byte("1.0"), 0o600)).To(Succeed())
	_, err := OpenTags(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.ReadDir(dir)).To(BeEmpty())
}
