package git

import (
	"os"
	"testing"
	"testing/fstest"

	. "github.com/onsi/gomega"
)

// TestCopiesShareTheirSpace has one small tree come again and again, as an include or a
// submodule can.
func TestCopiesShareTheirSpace(t *testing.T) {
	tree := fstest.MapFS{"a": {Data: []byte("12345")}, "b/c": {Data: []byte("12345")}}
	for name, left := range map[string]space{
		"files": {files: 10, bytes: maxBytes}, // 2 files and 2 directories, the root among them
		"bytes": {files: maxFiles, bytes: 25},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			root, err := os.OpenRoot(t.TempDir())
			g.Expect(err).NotTo(HaveOccurred())
			t.Cleanup(func() { _ = root.Close() })
			w := work{root: root, space: &left}
			g.Expect(copyTree(t.Context(), tree, ".", w, "one")).To(Succeed())
			g.Expect(copyTree(t.Context(), tree, ".", w, "two")).To(Succeed())
			g.Expect(copyTree(t.Context(), tree, ".", w, "three")).To(MatchError(ContainSubstring("with its submodules and includes it has more than 500000 files")))
			_, err = root.Stat("three/b/c")
			g.Expect(err).To(MatchError(os.ErrNotExist), "nothing is written above the bound")
		})
	}
}
