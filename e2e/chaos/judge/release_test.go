package judge_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/e2e/chaos/judge"
	"github.com/headwater-dev/headwater/internal/testenv"
)

// chartOfRelease is in the last commit.
const chartOfRelease = "1.0.7"

var released = judge.Final{Ready: "True", Revision: chartOfRelease}

// stored is a write to a record of the release app.
func stored(seconds float64, pid int, verb string, version int, status string) testenv.Record {
	return with(write(seconds, pid), func(r *testenv.Record) {
		r.Verb, r.Resource, r.Name = verb, "secrets", fmt.Sprintf("sh.helm.release.v1.app.v%d", version)
		if status != "" {
			r.Labels = map[string]string{"status": status}
		}
	})
}

// applied is a write to an object of the release app.
func applied(seconds float64, pid int) testenv.Record {
	return with(write(seconds, pid), func(r *testenv.Record) { r.Name = "app-settings" })
}

// installed is the first version, made by process 10 before the third second.
// Its fence lasts until the ninth.
func installed() []testenv.Record {
	return []testenv.Record{
		lease(0, 10, "agent-0_a"),
		stored(1, 10, "create", 1, "pending-install"), applied(1.1, 10), stored(1.2, 10, "update", 1, "deployed"),
	}
}

// half is an upgrade that process 10 has begun, and not ended.
func half() []testenv.Record {
	return append(installed(), stored(3, 10, "create", 2, "pending-upgrade"), applied(3.1, 10))
}

// taken is that half, and the fence in the hands of process 20.
func taken() []testenv.Record { return append(half(), lease(12, 20, "agent-1_b")) }

// undone is an upgrade that failed, and half a rollback; the fence is 20's.
func undone() []testenv.Record {
	return append(half(),
		stored(3.2, 10, "update", 2, "failed"),
		stored(3.3, 10, "create", 3, "pending-rollback"), applied(3.4, 10),
		lease(12, 20, "agent-1_b"))
}

type releaseCase struct {
	records []testenv.Record
	left    []time.Time
	want    []string
	// interrupted is what the judge counts.
	interrupted map[string]int
}

func (tc releaseCase) judge(g Gomega) {
	verdict := judge.Judge(judge.Case{
		Agents: agents, Revision: "main@1", Chart: chartOfRelease,
		Keys: []judge.Key{{
			Name: "k", User: account, Records: tc.records, Final: ready,
			Releases: []judge.Release{{Name: "app", Left: tc.left, Final: released}},
		}},
	})
	if tc.want == nil {
		tc.want = []string{}
	}
	g.Expect(rulesOf(verdict)).To(Equal(tc.want), "%v", verdict.Violations)
	g.Expect(verdict.Interrupted).To(Equal(tc.interrupted))
	g.Expect(verdict.Actions).To(BeNumerically(">", 0))
}

func TestReleases(t *testing.T) {
	for name, tc := range map[string]releaseCase{
		"installed": {records: installed()},
		"upgraded twice, with a hook, and the oldest record gone": {
			records: append(half(),
				stored(3.2, 10, "update", 2, "pending-upgrade"), applied(3.3, 10),
				stored(3.4, 10, "update", 1, "superseded"), stored(3.5, 10, "update", 2, "deployed"),
				stored(4, 10, "delete", 1, ""),
				stored(4.1, 10, "create", 3, "pending-upgrade"), applied(4.2, 10),
				stored(4.3, 10, "update", 2, "superseded"), stored(4.4, 10, "update", 3, "deployed")),
		},
		"killed in an upgrade, which is unlocked and done once more": {
			records: append(taken(),
				stored(13, 20, "update", 2, "failed"),
				stored(13.1, 20, "create", 3, "pending-upgrade"), applied(13.2, 20), stored(13.3, 20, "update", 3, "deployed")),
			interrupted: map[string]int{"pending-upgrade": 1},
		},
		"stopped for so long that the fence ran out, and going on since nobody took it": {
			records: append(half(), lease(12, 10, "agent-0_a"), applied(12.1, 10), stored(12.2, 10, "update", 2, "deployed")),
		},
		"failed by itself, and rolled back": {
			records: append(half(),
				stored(3.2, 10, "update", 2, "failed"),
				stored(3.3, 10, "create", 3, "pending-rollback"), applied(3.4, 10), stored(3.5, 10, "update", 3, "deployed")),
		},
		"killed in a rollback, which is done once more": {
			records: append(undone(),
				stored(13, 20, "update", 3, "failed"),
				stored(13.1, 20, "create", 4, "pending-rollback"), stored(13.2, 20, "update", 4, "deployed")),
			interrupted: map[string]int{"pending-rollback": 1},
		},
		"uninstalled when it was told to, and installed anew": {
			left: []time.Time{at(2)},
			records: append(installed(),
				stored(3, 10, "update", 1, "uninstalling"), applied(3.1, 10), stored(3.2, 10, "delete", 1, ""),
				stored(4, 10, "create", 1, "pending-install"), stored(4.1, 10, "update", 1, "deployed")),
		},
		"killed in an uninstall, which is done once more": {
			left: []time.Time{at(2)},
			records: append(installed(),
				stored(3, 10, "update", 1, "uninstalling"), applied(3.1, 10),
				lease(12, 20, "agent-1_b"),
				stored(13, 20, "update", 1, "uninstalling"), applied(13.1, 20), stored(13.2, 20, "delete", 1, "")),
			interrupted: map[string]int{"uninstalling": 1},
		},
	} {
		t.Run(name, func(t *testing.T) { tc.judge(NewWithT(t)) })
	}
}

func TestReleasesThatTwoActOn(t *testing.T) {
	for name, tc := range map[string]releaseCase{
		"one that was stopped ends its action after another has unlocked it": {
			records: append(taken(), stored(13, 20, "update", 2, "failed"), stored(13.5, 10, "update", 2, "deployed")),
			// The fence is the general rules', which say so first.
			want:        []string{judge.NoFence, judge.TwoWriters, judge.TwoActions},
			interrupted: map[string]int{"pending-upgrade": 1},
		},
		"one that was stopped writes on in the other's action": {
			records: append(taken(),
				stored(13, 20, "update", 2, "failed"), stored(13.1, 20, "create", 3, "pending-upgrade"),
				applied(13.2, 10), stored(13.3, 20, "update", 3, "deployed")),
			want:        []string{judge.NoFence, judge.TwoWriters, judge.TwoActions},
			interrupted: map[string]int{"pending-upgrade": 1},
		},
		"one that has the fence again after another goes on with what it had begun": {
			records: append(taken(), lease(13, 20, ""), lease(14, 10, "agent-0_a"), applied(14.1, 10)),
			want:    []string{judge.TwoActions},
		},
		"one that has given the fence up goes on with what it had begun": {
			records: append(half(), lease(4, 10, ""), lease(5, 10, "agent-0_a"), applied(5.1, 10)),
			want:    []string{judge.TwoActions},
		},
		"unlocked while its action may still go on": {
			records: append(half(), stored(5, 20, "update", 2, "failed")),
			want:    []string{judge.NoFence, judge.TwoWriters, judge.TwoActions},
		},
		"begun anew in the next tenure without unlocking": {
			records: append(half(), lease(4, 10, ""), lease(4.3, 10, "agent-0_a"), stored(5, 10, "create", 3, "pending-upgrade")),
			want:    []string{judge.TwoActions},
		},
		"one process begins a second upgrade in its first": {
			records: append(half(), stored(3.2, 10, "create", 3, "pending-upgrade")),
			want:    []string{judge.TwoActions},
		},
		"finished by another than who has begun it": {
			records: append(taken(), stored(13, 20, "update", 2, "deployed")),
			want:    []string{judge.TwoActions},
		},
		"taken over without unlocking": {
			records: append(taken(), stored(13, 20, "create", 3, "pending-upgrade")),
			want:    []string{judge.TwoActions},
		},
		"an object is written outside of any action": {
			records: append(installed(), applied(2, 10)),
			want:    []string{judge.TwoActions},
		},
		"a version that was closed is written again": {
			records: append(installed(), stored(2, 10, "update", 1, "pending-upgrade")),
			want:    []string{judge.TwoActions},
		},
		"a pending record is deleted": {
			records: append(half(), stored(4, 10, "delete", 2, "")),
			want:    []string{judge.TwoActions},
		},
		"a version is skipped": {
			records: append(installed(), stored(2, 10, "create", 3, "pending-upgrade"), stored(2.1, 10, "update", 3, "deployed")),
			want:    []string{judge.Skipped},
		},
		"a version is written twice": {
			records: append(installed(), stored(2, 10, "create", 1, "pending-install"), stored(2.1, 10, "update", 1, "deployed")),
			want:    []string{judge.Skipped},
		},
		"killed in an upgrade, and rolled back for it": {
			records: append(taken(), stored(13, 20, "update", 2, "failed"), stored(13.1, 20, "create", 3, "pending-rollback")),
			want:    []string{judge.Remedied}, interrupted: map[string]int{"pending-upgrade": 1},
		},
		"killed in an install, and removed for it": {
			records: []testenv.Record{
				lease(0, 10, "agent-0_a"), stored(1, 10, "create", 1, "pending-install"), lease(12, 20, "agent-1_b"),
				stored(13, 20, "update", 1, "failed"), stored(13.1, 20, "update", 1, "uninstalling"),
			},
			want: []string{judge.Remedied}, interrupted: map[string]int{"pending-install": 1},
		},
		"uninstalled though nobody wants that any more": {
			left: []time.Time{at(0.5)},
			records: append(installed(),
				stored(3, 10, "update", 1, "uninstalling"), stored(3.2, 10, "delete", 1, "")),
			want: []string{judge.Remedied},
		},
	} {
		t.Run(name, func(t *testing.T) { tc.judge(NewWithT(t)) })
	}
}

func TestReleasesAtTheEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		release judge.Release
		want    []string
	}{
		"as it should be":        {judge.Release{Final: released}, []string{}},
		"of an earlier chart":    {judge.Release{Final: judge.Final{Ready: "True", Revision: "1.0.6"}}, []string{judge.NotReady}},
		"a failure was counted":  {judge.Release{Final: released, Counted: []string{"1 failure"}}, []string{judge.Counted}},
		"its objects are others": {judge.Release{Final: judge.Final{Ready: "True", Revision: chartOfRelease, Wrong: "gone"}}, []string{judge.NotReady}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.release.Name = "app"
			verdict := judge.Judge(judge.Case{
				Revision: "main@1", Chart: chartOfRelease,
				Keys: []judge.Key{{Name: "k", Final: ready, Releases: []judge.Release{tc.release}}},
			})
			NewWithT(t).Expect(rulesOf(verdict)).To(Equal(tc.want))
		})
	}
}

// What a release deletes is no pruning, and what others delete is none of it.
func TestDeletionsOfReleasesAreNoPruning(t *testing.T) {
	g := NewWithT(t)
	records := append(installed(), stored(2, 10, "delete", 1, ""), with(applied(2.1, 10), func(r *testenv.Record) {
		r.Verb, r.Name = "delete", "application"
	}))
	verdict := judge.Judge(judge.Case{
		Agents: agents, Revision: "main@1", Chart: chartOfRelease,
		Keys: []judge.Key{{
			Name: "k", User: account, Records: slices.Clone(records), Final: ready,
			Releases: []judge.Release{{Name: "app", Final: released}},
		}},
	})
	g.Expect(rulesOf(verdict)).To(Equal([]string{judge.WrongPrune}))
}
