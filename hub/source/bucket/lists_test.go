package bucket

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
)

func TestListsStayWithinTheirBytes(t *testing.T) {
	g := NewWithT(t)
	remembered, err := newLists()
	g.Expect(err).NotTo(HaveOccurred())
	etag := strings.Repeat("e", 1<<20)
	known := func(name string) bool {
		_, ok := remembered.get(types.NamespacedName{Name: name}, "1")
		return ok
	}
	put := func(name, revision string, entries int) {
		l := list{}
		for i := range entries {
			l[fmt.Sprint(i)] = entry{etag: etag}
		}
		remembered.put(types.NamespacedName{Name: name}, revision, l)
	}
	for range 3 {
		put("a", "1", 20)
		put("b", "1", 20)
		put("c", "1", 20)
	}
	g.Expect([]bool{known("b"), known("c"), known("a")}).To(Equal([]bool{true, true, true}), "each counts once")
	put("d", "1", 20)
	g.Expect([]bool{known("a"), known("b"), known("c"), known("d")}).To(Equal([]bool{true, false, true, true}))
	put("a", "2", 1)
	g.Expect(known("a")).To(BeFalse(), "another artifact")
	put("e", "1", 65)
	g.Expect([]bool{known("c"), known("d"), known("e")}).To(Equal([]bool{false, false, false}), "more than all may have")
	g.Expect(remembered.bytes).To(BeZero())
}
