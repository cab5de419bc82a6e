package judge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// fault judges what one fault did to all keys.
func (j *judgement) fault(f Fault) {
	recovery := Recovery{Fault: f.Name}
	for _, key := range j.Keys {
		writes := key.writes()
		start := f.Start
		if f.Unreachable[key.Name] {
			start = f.End
		}
		took, found := firstWrite(writes, start, f)
		switch {
		case !found:
			j.complain(f, key, LateOwner, "nobody has written to it since")
		case took > j.Bound:
			j.complain(f, key, LateOwner, fmt.Sprintf("the first write came after %s, not %s", took.Round(time.Millisecond), j.Bound))
		}
		if found && took >= recovery.Time {
			recovery.Slowest, recovery.Time = key.Name, took
		}
		if j.moved(f, key, writes) {
			recovery.Moves++
		}
	}
	j.verdict.Recoveries = append(j.verdict.Recoveries, recovery)
}

// firstWrite is how long after a time somebody who was spared wrote, or a
// victim after the fault had ended.
func firstWrite(writes []testenv.Record, start time.Time, f Fault) (time.Duration, bool) {
	for _, w := range writes {
		if w.Begin.Before(start) || !succeeded(w) {
			continue
		}
		if slices.Contains(f.Victims, w.PID) && !w.Begin.After(f.End) {
			continue
		}
		return w.Begin.Sub(start), true
	}
	return 0, false
}

// moved compares who wrote last before the fault with who wrote after it, and
// holds both against what the fault allows.
func (j *judgement) moved(f Fault, key Key, writes []testenv.Record) bool {
	before, last := "", ""
	var after []string
	for _, w := range writes {
		agent := j.Agents[w.PID]
		switch {
		case w.Begin.Before(f.Start):
			before = agent
		case !w.Begin.After(f.Settled):
			last = agent
			if agent != before && !slices.Contains(after, agent) {
				after = append(after, agent)
			}
		}
	}
	if f.Still && before != "" && len(after) > 0 {
		j.complain(f, key, Moved, "from "+before+" to "+strings.Join(after, ", "))
	}
	if allowed, limited := f.Owners[key.Name]; limited && !slices.Contains(allowed, last) {
		j.complain(f, key, WrongOwner, fmt.Sprintf("%q acts for it, not one of %v", last, allowed))
	}
	return len(after) > 0
}

func (j *judgement) complain(f Fault, key Key, rule, text string) {
	j.add(Violation{Rule: rule, Key: key.Name, Fault: f.Name, Text: text})
}
