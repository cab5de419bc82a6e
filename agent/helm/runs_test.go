package helm

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-dev/headwater/agent/helm/state"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

func TestWhatComesToNothingIsTriedLaterEachTime(t *testing.T) {
	g := NewWithT(t)
	runs, web := newRuns(reconcile.Pace{}), types.NamespacedName{Namespace: "fleet", Name: "web"}
	one, other := state.Want{ChartVersion: "1.0.0"}, state.Want{ChartVersion: "1.1.0"}
	for _, want := range []time.Duration{750 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second, 6 * time.Second} {
		g.Expect(runs.backoff(web, 1, one)).To(Equal(want))
	}
	for range 50 {
		runs.backoff(web, 1, one)
	}
	g.Expect(runs.backoff(web, 1, one)).To(Equal(15 * time.Minute))
	g.Expect(runs.backoff(types.NamespacedName{Namespace: "fleet", Name: "other"}, 1, one)).To(Equal(750 * time.Millisecond))

	g.Expect(runs.backoff(web, 1, other)).To(Equal(750*time.Millisecond), "something else is wanted")
	g.Expect(runs.backoff(web, 2, other)).To(Equal(750*time.Millisecond), "the spec is another")
	g.Expect(runs.backoff(web, 2, other)).To(Equal(1500 * time.Millisecond))
	runs.recovered(web)
	g.Expect(runs.backoff(web, 2, other)).To(Equal(750*time.Millisecond), "all was well in between")
	runs.forget(web)
	g.Expect(runs.backoff(web, 2, other)).To(Equal(750*time.Millisecond), "another agent had it")
}
