package member

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headwater-dev/headwater/shard"
)

func TestMeterMeasuresWholeWindows(t *testing.T) {
	g := NewWithT(t)
	clock := clocktesting.NewFakeClock(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	m := &Meter{Clock: clock}
	prod := shard.Key{Namespace: "apps", Name: "prod", DataKey: "value"}
	// Half of a worker's time, for one window.
	work := func() {
		for range 10 {
			end := m.Begin(prod)
			clock.Step(30 * time.Second)
			end()
			clock.Step(30 * time.Second)
		}
	}
	work()
	g.Expect(m.report()).To(BeEmpty(), "the key may have come in the middle of the window")
	work()
	g.Expect(m.report()).To(Equal(`{"apps/prod/value":384}`), "500, rounded down so that it seldom changes")
	work()
	g.Expect(m.report()).To(Equal(`{"apps/prod/value":384}`))
	clock.Step(10 * time.Minute)
	g.Expect(m.report()).To(Equal(`{"apps/prod/value":192}`), "it is forgotten slowly")
	var none *Meter
	g.Expect(none.report()).To(BeEmpty())
}

func TestReportsOfCostsAreNotTrusted(t *testing.T) {
	g := NewWithT(t)
	g.Expect(parseCosts("")).To(BeEmpty())
	g.Expect(parseCosts("[]")).To(BeEmpty())
	g.Expect(parseCosts(`{"apps/prod/value":"much"}`)).To(BeEmpty())
	g.Expect(parseCosts(`{"a":-5,"b":7,"c":9223372036854775807}`)).To(Equal(map[string]int64{"a": 0, "b": 7, "c": 1_000_000}))
}

func TestLeaseCarriesCosts(t *testing.T) {
	w := newWorld(t)
	m := w.member("one")
	m.Meter = &Meter{costs: map[shard.Key]int64{{Namespace: "apps", Name: "prod", DataKey: "value"}: 8}}
	w.renew(m)
	tracker := Tracker{Namespace: w.namespace, Duration: 15 * time.Second}
	tracker.Observe(w.lease(), w.clock.Now())
	cost, said := tracker.Cost("agent-0", "apps/prod/value")
	w.Expect(said).To(BeTrue())
	w.Expect(cost).To(BeEquivalentTo(8))
	_, said = tracker.Cost("agent-0", "apps/other/value")
	w.Expect(said).To(BeFalse())
	w.Expect(tracker.Agents()[0].Joined).To(Equal(w.clock.Now()))
}

// TestLongNamesLeaveAnAgentItsLease: a tenant chooses them, and the API server takes
// no annotations of more than 256 KiB.
func TestLongNamesLeaveAnAgentItsLease(t *testing.T) {
	for name, long := range map[string]string{
		"as long as a name may be":           strings.Repeat("n", 253),
		"of no Secret that there can be":     strings.Repeat("n", 5000),
		"just reported":                      strings.Repeat("n", 150),
		"with signs that JSON makes six of":  strings.Repeat("<", 150),
		"with letters of more than one byte": strings.Repeat("ж", 253),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			m := w.member("one")
			m.Meter = &Meter{costs: map[shard.Key]int64{{Namespace: "apps", Name: "prod", DataKey: "value"}: 800}}
			for i := range 1999 {
				m.Meter.costs[shard.Key{Namespace: "team", Name: long, DataKey: fmt.Sprint(i)}] = 8
			}
			w.renew(m)
			tracker := Tracker{Namespace: w.namespace, Duration: 15 * time.Second}
			tracker.Observe(w.lease(), w.clock.Now())
			_, said := tracker.Cost("agent-0", "apps/prod/value")
			w.Expect(said).To(BeTrue())
		})
	}
}
