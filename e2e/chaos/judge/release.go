package judge

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// recordPrefix begins the names of the Secrets of Helm's storage. The name of
// the release follows, and the version: sh.helm.release.v1.NAME.vN.
const recordPrefix = "sh.helm.release.v1."

// The statuses that Helm writes into a record while an action is under way.
const (
	pendingInstall  = "pending-install"
	pendingUpgrade  = "pending-upgrade"
	pendingRollback = "pending-rollback"
	uninstalling    = "uninstalling"
)

// Statuses of records that judging turns on.
const (
	failed     = "failed"
	superseded = "superseded"
)

// underWay says whether a record of that status belongs to an action that has
// not ended.
func underWay(status string) bool {
	return status == pendingInstall || status == pendingUpgrade || status == pendingRollback || status == uninstalling
}

// action is what one process does about a release: from the write that makes a
// record pending to the one that ends that.
type action struct {
	pid     int
	version int
	status  string
	// tenure is the one that it was begun in, or the first of its row; nil when
	// it was begun in none.
	tenure *tenure
}

func (a *action) String() string {
	return fmt.Sprintf("process %s had v%d %s", name(a.pid), a.version, a.status)
}

// follower reads what was written about one release, in the order in which it
// was answered.
type follower struct {
	*judgement
	key     Key
	release Release
	history history

	// records are the statuses by version.
	records map[int]string
	// open is the action under way; nil when there is none.
	open *action
	// failed says that the last action failed by itself, and may be undone.
	failed bool
	// installed is when the release was last made anew.
	installed time.Time
}

// releases judges the Helm releases of a key.
func (j *judgement) releases(key Key, h history) {
	for _, r := range key.Releases {
		f := &follower{judgement: j, key: key, release: r, history: h, records: map[int]string{}}
		for _, w := range key.writesTo(r) {
			f.see(w)
		}
		for _, text := range r.Counted {
			j.add(Violation{Rule: Counted, Key: r.title(key), Text: text})
		}
		j.final(r.title(key), r.Final, j.Chart)
	}
}

func (r Release) title(key Key) string { return key.Name + "/" + r.Name }

// owns says whether an object is the release's, or a record of it.
func (r Release) owns(w testenv.Record) bool {
	return r.version(w) != 0 || w.Name == r.Name || strings.HasPrefix(w.Name, r.Name+"-")
}

// version is that of the record that is written; zero for other objects.
func (r Release) version(w testenv.Record) int {
	text, found := strings.CutPrefix(w.Name, recordPrefix+r.Name+".v")
	if !found || w.Resource != "secrets" {
		return 0
	}
	version, _ := strconv.Atoi(text) // zero is no version
	return version
}

// writesTo are the successful writes about a release, by their answers.
func (k Key) writesTo(r Release) []testenv.Record {
	var writes []testenv.Record
	for _, w := range k.writes() {
		if r.owns(w) && succeeded(w) {
			writes = append(writes, w)
		}
	}
	slices.SortStableFunc(writes, func(a, b testenv.Record) int { return endOf(a).Compare(endOf(b)) })
	return writes
}

func (f *follower) see(w testenv.Record) {
	version := f.release.version(w)
	switch {
	case version == 0:
		if !f.continues(w) {
			f.object(w, TwoActions, "none of its actions was under way"+f.beside())
		}
	case w.Verb == "create":
		f.created(w, version)
	case w.Verb == "delete":
		f.deleted(w, version)
	default:
		f.updated(w, version)
	}
}

// continues says whether a write belongs to the action under way: it is of the
// same process, in the same tenure.
func (f *follower) continues(w testenv.Record) bool {
	return f.open != nil && f.open.pid == w.PID && f.tenureOf(w) == f.open.tenure
}

// tenureOf is the first of the row of tenures of which one covers the write. Two
// writes in none are in the same: that they are in none is another rule's.
func (f *follower) tenureOf(w testenv.Record) *tenure {
	i := slices.IndexFunc(f.history.tenures, func(t *tenure) bool { return t.pid == w.PID && t.covers(w) })
	if i < 0 {
		return nil
	}
	return f.history.tenures[i].first()
}

// left says whether whoever was at work can be so no more: its tenure is over.
func (f *follower) left(w testenv.Record) bool {
	if f.open == nil || f.open.tenure == nil {
		return false
	}
	return !slices.ContainsFunc(f.history.tenures, func(t *tenure) bool {
		return t.first() == f.open.tenure && t.from.Before(w.Begin) && w.Begin.Before(t.end())
	})
}

// created is the begin of an install, an upgrade or a rollback.
func (f *follower) created(w testenv.Record, version int) {
	if f.open != nil {
		f.object(w, TwoActions, f.open.String())
	}
	newest := 0
	for known := range maps.Keys(f.records) {
		newest = max(newest, known)
	}
	if version != newest+1 {
		f.object(w, Skipped, fmt.Sprintf("the newest record was v%d", newest))
	}
	status := w.Labels["status"]
	if status == pendingRollback && !f.failed {
		f.object(w, Remedied, "nothing had failed")
	}
	if newest == 0 {
		f.installed = w.Begin
	}
	f.records[version] = status
	f.begin(w, version)
}

// begin is that of an action.
func (f *follower) begin(w testenv.Record, version int) {
	f.open = &action{pid: w.PID, version: version, status: w.Labels["status"], tenure: f.tenureOf(w)}
	f.verdict.Actions++
}

// updated is the begin of an uninstall, or a step in an action, or its end.
func (f *follower) updated(w testenv.Record, version int) {
	before, status := f.records[version], w.Labels["status"]
	f.records[version] = status
	own := f.continues(w)
	switch {
	case own && version == f.open.version:
		f.step(status)
	case own && (status == superseded || status == before):
		// What the action replaces, or leaves as it was.
	case status == uninstalling && (f.open == nil || f.left(w)):
		f.interrupted()
		f.uninstalls(w)
		f.begin(w, version)
	case status == failed && f.left(w) && version == f.open.version:
		f.interrupted()
		f.failed, f.open = f.open.status == pendingRollback, nil
	default:
		f.object(w, TwoActions, fmt.Sprintf("v%d was %q and becomes %q%s", version, before, status, f.beside()))
	}
}

// step is a write to the record of the action under way by itself.
func (f *follower) step(status string) {
	if underWay(status) {
		f.open.status = status
		return
	}
	f.failed, f.open = status == failed, nil
}

// interrupted counts an action that somebody else has ended.
func (f *follower) interrupted() {
	if f.open == nil {
		return
	}
	if f.verdict.Interrupted == nil {
		f.verdict.Interrupted = map[string]int{}
	}
	f.verdict.Interrupted[f.open.status]++
}

// uninstalls judges whether a release may be uninstalled: its HelmRelease was
// deleted since it was made, or its last action failed.
func (f *follower) uninstalls(w testenv.Record) {
	deleted := slices.ContainsFunc(f.release.Left, func(at time.Time) bool { return at.After(f.installed) && at.Before(w.Begin) })
	if !deleted && !f.failed {
		f.object(w, Remedied, "its HelmRelease is there, and nothing had failed")
	}
}

// deleted is the end of an uninstall, or old history before the next action.
func (f *follower) deleted(w testenv.Record, version int) {
	delete(f.records, version)
	switch {
	case f.open == nil:
	case !f.continues(w) || f.open.status != uninstalling:
		f.object(w, TwoActions, "the record was deleted while "+f.open.String())
	case version == f.open.version:
		f.open, f.failed = nil, false
	}
}

// beside says what was under way, for people.
func (f *follower) beside() string {
	if f.open == nil {
		return ""
	}
	return " while " + f.open.String()
}

func (f *follower) object(w testenv.Record, rule, text string) {
	f.judgement.object(Key{Name: f.release.title(f.key)}, w, rule, text)
}
