package e2e

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// An agent is killed in the middle of its work. Its targets get another one, and
// by the record of the targets' own requests no two processes ever wrote to one
// target at the same time.
func TestAKilledAgentIsReplacedWithoutASecondWriter(t *testing.T) {
	const targets = 4
	n := newTenant(t, map[string]string{"a.yaml": configMap("a", "0")})
	n.create(n.source())
	proxies := map[string]*testenv.Proxy{}
	for i := range targets {
		name := fmt.Sprintf("k%d", i)
		proxies[name] = n.cluster(name)
		n.commit(map[string]string{name + "/a.yaml": configMap(name, "0")})
		ks := n.kustomization(name, name)
		ks.Spec.Path = "./" + name
		n.create(ks)
	}
	for name := range proxies {
		n.Eventually(func() map[string]string { return n.data(name) }).Should(HaveKeyWithValue("value", "0"))
	}
	victim := n.agentOf("k0")
	pid := shared.agents[victim].PID()
	for name := range proxies {
		n.commit(map[string]string{name + "/a.yaml": configMap(name, "1")})
	}
	n.Eventually(func() map[string]string { return n.data("k0") }).Should(HaveKeyWithValue("value", "1"))
	shared.agents[victim].Kill()
	for name := range proxies {
		n.commit(map[string]string{name + "/a.yaml": configMap(name, "2")})
	}
	for name := range proxies {
		n.Eventually(func() map[string]string { return n.data(name) }).Should(HaveKeyWithValue("value", "2"))
		n.Expect(n.agentOf(name)).NotTo(Equal(victim))
	}
	n.Expect(shared.agents[victim].Start()).To(Succeed())
	n.Eventually(n.owners).Should(HaveKey(victim), "it gets a share again")
	n.move("k0", victim)
	for name := range proxies {
		n.commit(map[string]string{name + "/a.yaml": configMap(name, "3")})
	}
	for name := range proxies {
		n.Eventually(func() map[string]string { return n.data(name) }).Should(HaveKeyWithValue("value", "3"))
	}
	started, value := shared.agents[victim].PID(), 3
	n.Eventually(func() []int {
		// Until the hand-over has come to its end the one before it still writes.
		value++
		n.commit(map[string]string{"k0/a.yaml": configMap("k0", strconv.Itoa(value))})
		n.Eventually(func() map[string]string { return n.data("k0") }).Should(HaveKeyWithValue("value", strconv.Itoa(value)))
		return expectOneWriterAtATime(n, "k0", proxies["k0"])
	}).Should(ContainElement(started), "the new process works too")
	n.Expect(expectOneWriterAtATime(n, "k0", proxies["k0"])).To(ContainElement(pid), "and the killed one did")
	for name, proxy := range proxies {
		expectOneWriterAtATime(n, name, proxy)
	}
}

// expectOneWriterAtATime checks the record of one target: when the writes of
// one process have ended and another's have begun, the first writes no more, and
// no two writes of different processes overlap. It returns the writers in order.
func expectOneWriterAtATime(n *tenant, name string, proxy *testenv.Proxy) []int {
	n.t.Helper()
	var order []int
	var until time.Time
	for _, record := range proxy.Records() {
		if !record.Mutating || record.Resource == "leases" {
			continue
		}
		n.Expect(record.PID).NotTo(BeZero(), "%s: %s %s", name, record.Verb, record.Path)
		if len(order) > 0 && order[len(order)-1] != record.PID {
			n.Expect(order).NotTo(ContainElement(record.PID), "%s: a process that was replaced writes again", name)
			n.Expect(record.Begin).To(BeTemporally(">=", until), "%s: two writers at once", name)
		}
		if len(order) == 0 || order[len(order)-1] != record.PID {
			order = append(order, record.PID)
		}
		if record.End.After(until) {
			until = record.End
		}
	}
	n.Expect(order).NotTo(BeEmpty(), name)
	return order
}
