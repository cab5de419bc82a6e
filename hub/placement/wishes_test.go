package placement

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
)

// TestPinsLeaveBalanceItsShare: a tenant who pins clusters to and fro all the time
// does not keep an agent that joins from its share, nor does balance keep the
// tenant's clusters from where they are pinned to.
func TestPinsLeaveBalanceItsShare(t *testing.T) {
	h := newHub(t)
	pool := fleetv1.AgentPool{}
	pool.Namespace, pool.Name, pool.Spec.Placement.MovesPerMinute = h.namespace, "default", 2
	h.Expect(h.Create(t.Context(), &pool)).To(Succeed())
	var theirs []string
	for i := range 6 {
		theirs = append(theirs, fmt.Sprintf("theirs-%d", i))
		h.deploy(theirs[i], fmt.Sprintf("other-%d", i))
	}
	agents := []string{"agent-0", "agent-1"}
	h.renew(agents...)
	h.reconcile()

	pinned, balanced := 0, 0
	for turn := range 14 {
		for i, name := range theirs {
			patch := fmt.Sprintf(`{"metadata":{"labels":{"fleet.headwater.dev/pin":"agent-%d"}}}`, (turn+i)%2)
			h.Expect(h.Patch(t.Context(), h.cluster(name), client.RawPatch("application/merge-patch+json", []byte(patch)))).To(Succeed())
		}
		if turn == 4 {
			agents = append(agents, "agent-2")
		}
		h.told()
		h.clock.Step(30 * time.Second) // in which one cluster may move
		h.renew(agents...)
		h.reconcile()
		for _, move := range h.told() {
			switch {
			case turn < 4:
			case strings.HasSuffix(move, "agent-2 has less to do than its share"):
				balanced++
			case strings.Contains(move, "it is pinned to"):
				pinned++
			}
		}
	}
	h.Expect(balanced).To(BeNumerically(">=", 3), "what agent-2 was given")
	h.Expect(pinned).To(BeNumerically(">=", 3), "what went to where it was pinned to")
	h.Expect(balanced+pinned).To(BeNumerically("<=", 10), "one at each turn")
}
