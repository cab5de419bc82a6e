package judge_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headwater-dev/headwater/e2e/chaos/judge"
	"github.com/headwater-dev/headwater/internal/testenv"
)

const account = "system:serviceaccount:k:agent"

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// Processes 10 and 20 are agent-0 and agent-1, 11 is agent-0's next life.
var agents = map[int]string{10: "agent-0", 11: "agent-0", 20: "agent-1"}

// at makes the time of a record: so many seconds after the start.
func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// lease is a write to the fence at a time, which takes 10 ms and lasts 9 s.
func lease(seconds float64, pid int, holder string) testenv.Record {
	return testenv.Record{
		PID: pid, User: account, Verb: "update", Resource: "leases", Namespace: "kube-system", Name: "headwater-fence-0", Mutating: true,
		Lease: &coordinationv1.LeaseSpec{HolderIdentity: ptr.To(holder), LeaseDurationSeconds: ptr.To(int32(9)), RenewTime: ptr.To(metav1.NewMicroTime(at(seconds)))},
		Begin: at(seconds), End: at(seconds + 0.01), Status: 200,
	}
}

// write is a write of 10 ms to an object.
func write(seconds float64, pid int) testenv.Record {
	return testenv.Record{
		PID: pid, User: account, Verb: "patch", Resource: "configmaps", Namespace: "k", Name: "settings", Mutating: true,
		Begin: at(seconds), End: at(seconds + 0.01), Status: 200,
	}
}

func with(r testenv.Record, change func(*testenv.Record)) testenv.Record {
	change(&r)
	return r
}

func deleted(r *testenv.Record) { r.Verb, r.Lease = "delete", nil }

// claims lets a write to the Lease come so many seconds later, with what it said.
func claims(seconds float64) func(*testenv.Record) {
	return func(r *testenv.Record) { r.Begin, r.End = at(seconds), at(seconds+0.01) }
}

func byHand(r *testenv.Record) { deleted(r); r.User, r.PID = "somebody", 1 }

func rulesOf(v judge.Verdict) []string {
	rules := []string{}
	for _, violation := range v.Violations {
		rules = append(rules, violation.Rule)
	}
	return rules
}

var ready = judge.Final{Ready: "True", Revision: "main@1"}

func TestWrites(t *testing.T) {
	for name, tc := range map[string]struct {
		records []testenv.Record
		want    []string
	}{
		"one agent, renewing": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), write(1, 10), lease(3, 10, "agent-0_a"), write(11.9, 10)},
		},
		"handed over in order": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), write(1, 10), lease(2, 10, ""), lease(2.1, 20, "agent-1_b"), write(2.2, 20)},
		},
		"killed, and replaced when it had run out": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), write(1, 10), lease(12, 20, "agent-1_b"), write(12.1, 20)},
		},
		"and back again": {
			records: []testenv.Record{
				lease(0, 10, "agent-0_a"), write(1, 10), lease(2, 10, ""), lease(3, 20, "agent-1_b"), write(4, 20), lease(5, 20, ""),
				lease(6, 10, "agent-0_a"), write(7, 10),
			},
		},
		"an attempt at the fence that was refused is none": {
			records: []testenv.Record{
				lease(0, 10, "agent-0_a"), write(1, 10),
				with(lease(2, 20, "agent-1_b"), func(r *testenv.Record) { r.Status = 409 }), write(3, 10),
			},
		},
		"a renewal without an answer does not count": {
			records: []testenv.Record{
				lease(0, 10, "agent-0_a"), with(lease(3, 10, "agent-0_a"), func(r *testenv.Record) { r.Status = 0 }), write(10, 10),
			},
			want: []string{judge.NoFence},
		},
		"no fence at all": {
			records: []testenv.Record{write(1, 10)},
			want:    []string{judge.NoFence},
		},
		"before the fence was answered": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), write(0.005, 10)},
			want:    []string{judge.NoFence},
		},
		"after the fence ran out": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), write(9.1, 10)},
			want:    []string{judge.NoFence},
		},
		"begun in time, and over too late": {
			records: []testenv.Record{
				lease(0, 10, "agent-0_a"), with(write(8, 10), func(r *testenv.Record) { r.End = at(9.5) }),
			},
			want: []string{judge.NoFence},
		},
		"after its release": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), lease(1, 10, ""), write(1.1, 10)},
			want:    []string{judge.NoFence},
		},
		"in flight while it is released": {
			records: []testenv.Record{
				lease(0, 10, "agent-0_a"), with(write(0.9, 10), func(r *testenv.Record) { r.End = at(1.2) }), lease(1, 10, ""),
			},
			want: []string{judge.NoFence},
		},
		"stopped, replaced, and writing on": {
			records: []testenv.Record{
				lease(0, 10, "agent-0_a"), write(1, 10), lease(12, 20, "agent-1_b"), write(12.1, 20), write(12.5, 10), write(13, 20),
			},
			want: []string{judge.NoFence, judge.TwoWriters},
		},
		"a write that was under way when the next began": {
			records: []testenv.Record{
				lease(0, 10, "agent-0_a"), with(write(8, 10), func(r *testenv.Record) { r.End = at(13) }),
				lease(12, 20, "agent-1_b"), write(12.1, 20),
			},
			want: []string{judge.NoFence, judge.TwoWriters, judge.TwoWriters},
		},
		"the fence taken from one who has it": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), write(1, 10), lease(2, 20, "agent-1_b"), write(2.1, 20)},
			want:    []string{judge.EarlyFence},
		},
		"taken, and the former holder writes on": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), lease(2, 20, "agent-1_b"), write(2.1, 10)},
			want:    []string{judge.EarlyFence, judge.NoFence, judge.TwoWriters},
		},
		"deleted by hand, and the next one waits": {
			records: []testenv.Record{
				lease(0, 10, "agent-0_a"), write(1, 10), with(lease(2, 1, ""), byHand),
				with(lease(2.5, 20, "agent-1_b"), func(r *testenv.Record) { r.Verb = "create" }), write(9.5, 20),
			},
		},
		"deleted by hand, and the next one does not wait": {
			records: []testenv.Record{
				lease(0, 10, "agent-0_a"), write(1, 10), with(lease(2, 1, ""), byHand),
				with(lease(2.5, 20, "agent-1_b"), func(r *testenv.Record) { r.Verb = "create" }), write(3, 20),
			},
			want: []string{judge.TwoWriters},
		},
		"deleted by hand, and its holder makes it anew": {
			records: []testenv.Record{
				lease(0, 10, "agent-0_a"), with(lease(2, 1, ""), byHand), write(2.1, 10), lease(3, 10, "agent-0_a"), write(14, 10),
			},
			want: []string{judge.NoFence},
		},
		"two processes of one name": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), write(1, 10), write(2, 11)},
			want:    []string{judge.NoFence, judge.TwoWriters},
		},
		"claimed by one who waits, which renews nothing": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), with(lease(0, 20, "agent-0_a"), claims(5)), write(8, 10), write(10, 10)},
			want:    []string{judge.NoFence},
		},
		"two processes of one identity": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), lease(1, 11, "agent-0_a")},
			want:    []string{judge.Stranger},
		},
		"released by another": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), lease(1, 20, "")},
			want:    []string{judge.Stranger},
		},
		"nobody knows who it was": {
			records: []testenv.Record{lease(0, 10, "agent-0_a"), write(1, 0)},
			want:    []string{judge.Stranger, judge.NoFence, judge.TwoWriters},
		},
		"an administrator is no agent": {
			records: []testenv.Record{with(write(1, 1), func(r *testenv.Record) { r.User = "somebody" })},
		},
		"a dry run is no write": {
			records: []testenv.Record{with(write(1, 10), func(r *testenv.Record) { r.Mutating = false })},
		},
		"a fence that cannot be read": {
			records: []testenv.Record{with(lease(0, 10, ""), func(r *testenv.Record) { r.Lease = nil })},
			want:    []string{judge.Stranger},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			verdict := judge.Judge(judge.Case{
				Agents: agents, Revision: "main@1",
				Keys: []judge.Key{{Name: "k", User: account, Records: tc.records, Final: ready}},
			})
			if tc.want == nil {
				tc.want = []string{}
			}
			g.Expect(rulesOf(verdict)).To(Equal(tc.want), "%v", verdict.Violations)
		})
	}
}

func TestPruning(t *testing.T) {
	remove := func(seconds float64, name string) testenv.Record {
		return with(write(seconds, 10), func(r *testenv.Record) { r.Verb, r.Name = "delete", name })
	}
	for name, tc := range map[string]struct {
		record testenv.Record
		want   []string
	}{
		"removed from the source":         {remove(5, "season"), []string{}},
		"before it was removed":           {remove(3, "season"), []string{judge.WrongPrune}},
		"never removed":                   {remove(5, "settings"), []string{judge.WrongPrune}},
		"refused by the server":           {with(remove(5, "settings"), func(r *testenv.Record) { r.Status = 409 }), []string{}},
		"everything of a kind, in one go": {with(remove(5, ""), func(r *testenv.Record) { r.Verb = "deletecollection" }), []string{judge.WrongPrune}},
	} {
		t.Run(name, func(t *testing.T) {
			verdict := judge.Judge(judge.Case{
				Agents: agents, Revision: "main@1", Removed: map[string]time.Time{"season": at(4)},
				Keys: []judge.Key{{Name: "k", User: account, Records: []testenv.Record{lease(0, 10, "a"), tc.record}, Final: ready}},
			})
			NewWithT(t).Expect(rulesOf(verdict)).To(Equal(tc.want))
		})
	}
}

func TestTheEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		final judge.Final
		want  []string
	}{
		"as it should be":   {ready, []string{}},
		"not ready":         {judge.Final{Ready: "False", Revision: "main@1"}, []string{judge.NotReady}},
		"an earlier commit": {judge.Final{Ready: "True", Revision: "main@0"}, []string{judge.NotReady}},
		"other content":     {judge.Final{Ready: "True", Revision: "main@1", Wrong: "settings says 0"}, []string{judge.NotReady}},
	} {
		t.Run(name, func(t *testing.T) {
			verdict := judge.Judge(judge.Case{Revision: "main@1", Keys: []judge.Key{{Name: "k", Final: tc.final}}})
			NewWithT(t).Expect(rulesOf(verdict)).To(Equal(tc.want))
		})
	}
}

func TestFaults(t *testing.T) {
	first := []testenv.Record{lease(0, 10, "agent-0_a"), write(1, 10)}
	taken := func(seconds float64) []testenv.Record {
		return append(first[:2:2], lease(seconds, 20, "agent-1_b"), write(seconds+0.1, 20))
	}
	kept := append(first[:2:2], lease(4, 10, "agent-0_a"), write(5, 10))
	for name, tc := range map[string]struct {
		fault   judge.Fault
		records []testenv.Record
		want    []string
		took    time.Duration
		moves   int
	}{
		"taken over in time": {
			fault: judge.Fault{Victims: []int{10}}, records: taken(20), took: 18100 * time.Millisecond, moves: 1,
		},
		"taken over too late": {
			fault: judge.Fault{Victims: []int{10}}, records: taken(30), want: []string{judge.LateOwner}, took: 28100 * time.Millisecond, moves: 1,
		},
		"never taken over": {
			fault: judge.Fault{Victims: []int{10}}, records: first, want: []string{judge.LateOwner},
		},
		"what the victim still does is no recovery": {
			fault: judge.Fault{Victims: []int{10}, End: at(30)}, records: kept, want: []string{judge.LateOwner},
		},
		"what it does when it is back is": {
			fault: judge.Fault{Victims: []int{10}, End: at(4.5)}, records: kept, took: 3 * time.Second,
		},
		"nobody can reach it meanwhile": {
			fault: judge.Fault{End: at(20), Unreachable: map[string]bool{"k": true}}, records: taken(30), took: 10100 * time.Millisecond, moves: 1,
		},
		"it may not move, and does not": {
			fault: judge.Fault{Still: true}, records: kept, took: 3 * time.Second,
		},
		"it may not move, and does": {
			fault: judge.Fault{Still: true}, records: taken(12), want: []string{judge.Moved}, took: 10100 * time.Millisecond, moves: 1,
		},
		"another process of the same agent is no move": {
			fault:   judge.Fault{Still: true},
			records: append(first[:2:2], lease(12, 11, "agent-0_c"), write(12.1, 11)),
			took:    10100 * time.Millisecond,
		},
		"it goes where it may": {
			fault:   judge.Fault{Owners: map[string][]string{"k": {"agent-1"}}},
			records: taken(12), took: 10100 * time.Millisecond, moves: 1,
		},
		"it stays where it may not be": {
			fault:   judge.Fault{Owners: map[string][]string{"k": {"agent-1"}}},
			records: kept, want: []string{judge.WrongOwner}, took: 3 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			fault := tc.fault
			fault.Name, fault.Start, fault.Settled = "fault", at(2), at(40)
			verdict := judge.Judge(judge.Case{
				Agents: agents, Revision: "main@1", Bound: 20 * time.Second, Faults: []judge.Fault{fault},
				Keys: []judge.Key{{Name: "k", User: account, Records: tc.records, Final: ready}},
			})
			if tc.want == nil {
				tc.want = []string{}
			}
			g.Expect(rulesOf(verdict)).To(Equal(tc.want), "%v", verdict.Violations)
			g.Expect(verdict.Recoveries).To(HaveLen(1))
			g.Expect(verdict.Recoveries[0].Time).To(Equal(tc.took))
			g.Expect(verdict.Recoveries[0].Moves).To(Equal(tc.moves))
		})
	}
}

func TestTheVerdictSaysWhatItIsAbout(t *testing.T) {
	g := NewWithT(t)
	verdict := judge.Judge(judge.Case{
		Agents: agents, Revision: "main@1", Bound: time.Minute, Faults: []judge.Fault{{Name: "kill -9 agent-0", Start: at(2), Settled: at(60)}},
		Keys: []judge.Key{{Name: "k", User: account, Final: ready, Records: []testenv.Record{
			lease(0, 10, "agent-0_a"), write(1, 10), lease(12, 20, "agent-1_b"), write(13, 20), write(14, 10),
		}}},
	})
	g.Expect([]int{verdict.Writes, verdict.Tenures, verdict.Writers}).To(Equal([]int{3, 2, 2}))
	g.Expect(verdict.Violations[0].String()).To(Equal("write without the fence: k: 12:00:14.000 patch configmaps settings of process 10 (agent-0): " +
		"agent-1_b (process 20) held it from 12:00:12.010 to 12:00:21.000 (during or after: kill -9 agent-0)"))
}
