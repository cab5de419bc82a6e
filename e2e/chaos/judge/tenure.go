package judge

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// fencePrefix begins the names of the fences' Leases.
const fencePrefix = "headwater-fence-"

// tenure is one span of time in which a process may write.
type tenure struct {
	pid    int
	holder string
	// from is when the API server had answered the write that began it.
	from time.Time
	// renewed is when its last renewal reached the proxy, which is after the
	// process began it.
	renewed  time.Time
	duration time.Duration
	// stamp is the renewTime that it wrote.
	stamp time.Time
	// until is when the write began that gave it up, or took it; zero if none.
	until time.Time
	// resumes is the tenure of the same process that ran out just before, with
	// nobody's in between; nil when it was taken anew.
	resumes *tenure
}

// first is the tenure that was taken anew, of a row that one process let run out
// and took up again. It may go on then with what it had begun.
func (t *tenure) first() *tenure {
	for t != nil && t.resumes != nil {
		t = t.resumes
	}
	return t
}

// end is when the process may write no more.
func (t *tenure) end() time.Time {
	end := t.renewed.Add(t.duration)
	if !t.until.IsZero() && t.until.Before(end) {
		return t.until
	}
	return end
}

// covers says whether all of a write lies in the tenure.
func (t *tenure) covers(w testenv.Record) bool {
	return !w.Begin.Before(t.from) && !endOf(w).After(t.end())
}

// overlaps says whether some of a write does.
func (t *tenure) overlaps(w testenv.Record) bool {
	return w.Begin.Before(t.end()) && endOf(w).After(t.from)
}

// endOf is when a write was over; for one that goes on, when it began.
func endOf(w testenv.Record) time.Time {
	if w.End.IsZero() {
		return w.Begin
	}
	return w.End
}

func isFence(r testenv.Record) bool {
	return r.Resource == "leases" && strings.HasPrefix(r.Name, fencePrefix)
}

func succeeded(r testenv.Record) bool { return r.Status >= 200 && r.Status < 300 }

// history is what the fence of one key went through.
type history struct {
	tenures []*tenure
	current *tenure
	wrong   []Violation
	key     string
}

// readTenures follows the writes to the fence's Lease, in the order in which
// they were answered.
func readTenures(key Key) history {
	h := history{key: key.Name}
	var writes []testenv.Record
	for _, r := range key.Records {
		if r.Mutating && isFence(r) && succeeded(r) {
			writes = append(writes, r)
		}
	}
	slices.SortStableFunc(writes, func(a, b testenv.Record) int { return a.End.Compare(b.End) })
	for _, w := range writes {
		switch {
		case w.Verb == "delete":
			h.current = nil // who had it may not know, and go on until it runs out
		case w.Lease == nil:
			h.object(w, Stranger, "the fence was written in a way that the record cannot read: "+w.Verb)
		case ptr.Deref(w.Lease.HolderIdentity, "") == "":
			h.released(w)
		default:
			h.held(w)
		}
	}
	return h
}

func (h *history) released(w testenv.Record) {
	if h.current == nil {
		return
	}
	if h.current.pid != w.PID {
		h.object(w, Stranger, "process "+name(w.PID)+" released the fence of "+h.current.holder)
	}
	h.current.until = w.Begin
	h.current = nil
}

// held is a renewal, or the begin of a tenure.
func (h *history) held(w testenv.Record) {
	holder := *w.Lease.HolderIdentity
	duration := time.Duration(ptr.Deref(w.Lease.LeaseDurationSeconds, 0)) * time.Second
	stamp := ptr.Deref(w.Lease.RenewTime, metav1.MicroTime{}).Time
	last := h.current
	var resumes *tenure
	if last != nil && last.holder == holder {
		if last.pid != w.PID && stamp.Equal(last.stamp) {
			return // who waits for it has said so, and left the rest as it was
		}
		if last.pid != w.PID {
			h.object(w, Stranger, "processes "+name(last.pid)+" and "+name(w.PID)+" both hold the fence as "+holder)
		}
		if w.Begin.Before(last.end()) {
			last.renewed, last.duration, last.stamp = w.Begin, duration, stamp
			return
		}
		if last.pid == w.PID {
			resumes = last
		}
	}
	if last != nil && last.holder != holder {
		if w.Begin.Before(last.end()) {
			h.object(w, EarlyFence, holder+" took it "+last.end().Sub(w.Begin).String()+" before that of "+last.holder+" had run out")
		}
		last.until = earlier(last.until, w.Begin)
	}
	h.current = &tenure{pid: w.PID, holder: holder, from: w.End, renewed: w.Begin, duration: duration, stamp: stamp, resumes: resumes}
	h.tenures = append(h.tenures, h.current)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func (h *history) object(w testenv.Record, rule, text string) {
	h.wrong = append(h.wrong, Violation{Rule: rule, Key: h.key, Text: clock(w.Begin) + " " + text})
}

// at is the last tenure that began before the time.
func (h *history) at(when time.Time) *tenure {
	i, _ := slices.BinarySearchFunc(h.tenures, when, func(t *tenure, when time.Time) int {
		return cmp.Or(t.from.Compare(when), -1)
	})
	if i == 0 {
		return nil
	}
	return h.tenures[i-1]
}
