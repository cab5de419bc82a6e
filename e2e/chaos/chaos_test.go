package main

import (
	"debug/buildinfo"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/e2e/chaos/judge"
)

// short is a run that takes a minute or so. That targets recover in a minute is
// for the long run to say: here it is only that they do.
func short(faults ...string) options {
	o := usual()
	o.root, o.targets, o.releaseTargets, o.agents, o.faults = "../..", 12, 2, 3, faults
	o.bound = 5 * time.Minute
	return o
}

func TestShortRun(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	result, err := run(t.Context(), short("stop", "cut-hub", "kill-pending", "delete-fence"), t.Output())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.faults).To(HaveLen(5), "starting the agent again that was killed is one")
	g.Expect(result.verdict.Interrupted).To(And(
		HaveKey(pendingInstall), HaveKey(pendingUpgrade), HaveKey(pendingRollback), HaveKey(uninstalling)))
	g.Expect(result.verdict.Writers).To(BeNumerically(">=", 3), "all agents have worked")
}

// The same without the fence: agents that were stopped or cut off write beside
// those that took over, also in the middle of actions on releases, and the judge
// sees it.
func TestWithoutTheFenceItIsCondemned(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	o := short("stop-pending", "cut-hub", "stop-pending") // one may end before it has written beside another
	o.agentBinary = "../../bin/agent-nofence"
	result, err := run(t.Context(), o, t.Output())
	g.Expect(err).To(MatchError(ContainSubstring("condemned")))
	g.Expect(result.verdict.Violations).To(ContainElement(HaveField("Rule", judge.TwoWriters)))
	g.Expect(result.verdict.Violations).To(ContainElement(HaveField("Rule", judge.NoFence)))
	g.Expect(result.verdict.Violations).To(ContainElement(HaveField("Rule", judge.TwoActions)))
}

// What users get has neither of the two things that the test builds have.
func TestReleasesAreBuiltWithoutTheirTags(t *testing.T) {
	g := NewWithT(t)
	tags := func(binary string) string {
		info, err := buildinfo.ReadFile("../../bin/" + binary)
		g.Expect(err).NotTo(HaveOccurred())
		for _, setting := range info.Settings {
			if setting.Key == "-tags" {
				return setting.Value
			}
		}
		return ""
	}
	const all = "disable_grpc_modules"
	g.Expect(tags("agent")).To(Equal(all))
	g.Expect(tags("hub")).To(Equal(all))
	g.Expect(tags("agent-nofence")).To(Equal(all + ",nofence"))
	g.Expect(tags("agent-wallclock")).To(Equal(all + ",wallclock"))
}

func TestScaled(t *testing.T) {
	NewWithT(t).Expect(scaled(time.Minute)).To(Equal(18 * time.Second))
}

func TestTheSeedSaysTheOrder(t *testing.T) {
	g := NewWithT(t)
	order := func(seed uint64) []string {
		o := usual()
		o.seed, o.rounds = seed, 2
		w := newWorld(o, nil)
		var all []string
		for _, f := range w.order() {
			all = append(all, f.name)
		}
		return all
	}
	g.Expect(order(1)).To(Equal(order(1)))
	g.Expect(order(1)).NotTo(Equal(order(2)))
	g.Expect(order(1)).To(HaveLen(2 * len(names())))
}
