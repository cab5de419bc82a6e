package kustomize

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
)

// Many builds of one namespace do not push out the few of another.
func TestNamespacesTakeTurns(t *testing.T) {
	g := NewWithT(t)
	now := time.Unix(0, 0)
	named := func(namespace, name string) types.NamespacedName {
		return types.NamespacedName{Namespace: namespace, Name: name}
	}
	var line turns
	at := named("many", "1")
	g.Expect(line.begin(at, now)).To(BeTrue())
	for _, waits := range []types.NamespacedName{named("many", "2"), named("many", "3"), named("many", "4"), named("few", "1"), named("many", "2"), named("gone", "1"), named("few", "2")} {
		g.Expect(line.begin(waits, now)).To(BeFalse())
		_, waits := line.end(waits, now)
		g.Expect(waits).To(BeFalse(), "it is not its turn")
	}
	line.drop(named("gone", "1"))
	for _, want := range []types.NamespacedName{named("many", "2"), named("few", "1"), named("many", "3"), named("few", "2"), named("many", "4")} {
		next, waits := line.end(at, now)
		g.Expect(waits).To(BeTrue())
		g.Expect(next).To(Equal(want))
		g.Expect(line.begin(named("late", "1"), now)).To(BeFalse(), "it is kept for who was woken")
		g.Expect(line.begin(next, now)).To(BeTrue())
		line.drop(named("late", "1"))
		at = next
	}
	_, waits := line.end(at, now)
	g.Expect(waits).To(BeFalse())
	g.Expect(line.begin(named("late", "1"), now)).To(BeTrue())
}

// Who was woken may need the turn no more, or never come: it is gone, or another agent's.
func TestATurnThatIsNotTaken(t *testing.T) {
	g := NewWithT(t)
	now := time.Unix(0, 0)
	first, second, third, fourth := types.NamespacedName{Name: "1"}, types.NamespacedName{Name: "2"}, types.NamespacedName{Name: "3"}, types.NamespacedName{Name: "4"}
	var line turns
	g.Expect(line.begin(first, now)).To(BeTrue())
	g.Expect(line.begin(second, now)).To(BeFalse())
	g.Expect(line.begin(third, now)).To(BeFalse())
	next, _ := line.end(first, now)
	g.Expect(next).To(Equal(second))
	next, _ = line.end(second, now)
	g.Expect(next).To(Equal(third))
	g.Expect(line.begin(fourth, now.Add(turnKept-1))).To(BeFalse())
	g.Expect(line.begin(fourth, now.Add(turnKept))).To(BeTrue())
	_, waits := line.end(third, now)
	g.Expect(waits).To(BeFalse(), "it has lost its turn")
}
