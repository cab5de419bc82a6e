package judge

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// Judge says which promises were not kept.
func Judge(c Case) Verdict {
	j := &judgement{Case: c, writers: map[int]bool{}}
	for _, key := range c.Keys {
		j.key(key)
	}
	j.verdict.Writers = len(j.writers)
	for _, fault := range c.Faults {
		j.fault(fault)
	}
	return j.verdict
}

type judgement struct {
	Case
	verdict Verdict
	writers map[int]bool
}

// key judges what can be seen of one key alone.
func (j *judgement) key(key Key) {
	h := readTenures(key)
	j.verdict.Tenures += len(h.tenures)
	for _, wrong := range h.wrong {
		j.add(wrong)
	}
	var last *testenv.Record // the write that ended last, of the current writer
	for _, w := range key.writes() {
		j.verdict.Writes++
		j.writers[w.PID] = true
		j.writer(key, w)
		j.prune(key, w)
		own := slices.ContainsFunc(h.tenures, func(t *tenure) bool { return t.pid == w.PID && t.covers(w) })
		if !own {
			j.object(key, w, NoFence, h.describe(w))
		}
		for _, t := range h.tenures {
			if t.pid != w.PID && t.overlaps(w) {
				j.object(key, w, TwoWriters, fmt.Sprintf("while %s (process %d) might write, until %s", t.holder, t.pid, clock(t.end())))
			}
		}
		if last != nil && last.PID != w.PID && w.Begin.Before(endOf(*last)) {
			j.object(key, w, TwoWriters, fmt.Sprintf("before a write of process %d was over, at %s", last.PID, clock(endOf(*last))))
		}
		if last == nil || last.PID != w.PID || endOf(w).After(endOf(*last)) {
			last = &w
		}
	}
	j.releases(key, h)
	j.final(key.Name, key.Final, j.Revision)
}

// writes are those that change the target, Leases of fences left out.
func (k Key) writes() []testenv.Record {
	var writes []testenv.Record
	for _, r := range k.Records {
		if r.Mutating && !isFence(r) && (r.User == k.User || r.User == "") {
			writes = append(writes, r)
		}
	}
	return writes
}

func (j *judgement) writer(key Key, w testenv.Record) {
	if _, known := j.Agents[w.PID]; !known {
		j.object(key, w, Stranger, "no agent that was started has this process id")
	}
}

func (j *judgement) prune(key Key, w testenv.Record) {
	if w.Verb != "delete" && w.Verb != "deletecollection" || !succeeded(w) {
		return
	}
	if slices.ContainsFunc(key.Releases, func(r Release) bool { return r.owns(w) }) {
		return // an action's, which is judged as such
	}
	if removed, ok := j.Removed[w.Name]; !ok || w.Begin.Before(removed) {
		j.object(key, w, WrongPrune, "the source has "+w.Resource+" "+w.Namespace+"/"+w.Name)
	}
}

// describe says who held the fence when it should have been the writer.
func (h *history) describe(w testenv.Record) string {
	t := h.at(w.Begin)
	switch {
	case t == nil:
		return "nobody had held the fence"
	case t.pid == w.PID:
		return fmt.Sprintf("its own tenure was from %s to %s", clock(t.from), clock(t.end()))
	default:
		return fmt.Sprintf("%s (process %d) held it from %s to %s", t.holder, t.pid, clock(t.from), clock(t.end()))
	}
}

func (j *judgement) final(of string, f Final, revision string) {
	switch {
	case f.Ready != "True":
		j.add(Violation{Rule: NotReady, Key: of, Text: "Ready is " + strconv.Quote(f.Ready)})
	case f.Revision != revision:
		j.add(Violation{Rule: NotReady, Key: of, Text: "applied is " + strconv.Quote(f.Revision) + ", not " + strconv.Quote(revision)})
	case f.Wrong != "":
		j.add(Violation{Rule: NotReady, Key: of, Text: f.Wrong})
	}
}

func (j *judgement) object(key Key, w testenv.Record, rule, text string) {
	text = fmt.Sprintf("%s %s %s %s of process %s: %s", clock(w.Begin), w.Verb, w.Resource, w.Name, j.who(w.PID), text)
	j.add(Violation{Rule: rule, Key: key.Name, Fault: j.during(w.Begin), Text: text})
}

func (j *judgement) add(v Violation) { j.verdict.Violations = append(j.verdict.Violations, v) }

// during names the last fault that began before the time.
func (j *judgement) during(when time.Time) string {
	last := ""
	for _, fault := range j.Faults {
		if !when.Before(fault.Start) {
			last = fault.Name
		}
	}
	return last
}

func (j *judgement) who(pid int) string {
	if agent, known := j.Agents[pid]; known {
		return name(pid) + " (" + agent + ")"
	}
	return name(pid)
}

func name(pid int) string { return strconv.Itoa(pid) }

func clock(t time.Time) string { return t.Format("15:04:05.000") }
