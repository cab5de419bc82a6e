package reconcile

import (
	"errors"
	"fmt"
	"time"

	"github.com/headwater-dev/headwater/api/meta"
)

// ErrNotOwner ends a run without any write: the object's target belongs to
// another agent.
var ErrNotOwner = errors.New("the target belongs to another agent")

// pending is the outcome of a phase that has to look again later.
type pending struct {
	reason, message string
	after           time.Duration
}

func (w *pending) Error() string { return w.message }

// Wait says that the object is not done and nothing is wrong: look again after
// the given time, or when woken. With reason Progressing the object's Ready
// becomes Unknown; with any other reason, an unmet dependency, it becomes
// False.
func Wait(reason, message string, after time.Duration) error {
	return &pending{reason: reason, message: message, after: after}
}

// failure is the outcome of a phase that failed and is retried.
type failure struct {
	reason string
	err    error
	// after is when it is retried; zero means the object's own interval.
	after time.Duration
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// Fail puts the reason of the Ready condition on an error that is worth a
// retry. An error that carries an outcome already, and nil, stay as they are.
func Fail(reason string, err error) error {
	if err == nil || hasOutcome(err) {
		return err
	}
	return &failure{reason: reason, err: err}
}

// Park is a Fail whose object is woken when there is hope again, and retried
// after the given time all the same.
func Park(reason string, err error, after time.Duration) error {
	return &failure{reason: reason, err: err, after: after}
}

// detailed is an error of which there is more to tell than its message.
type detailed struct {
	error
	detail string
}

func (d *detailed) Unwrap() error { return d.error }

// WithDetail adds to an error what an event says below its message, and no
// condition: what would change with each attempt.
func WithDetail(err error, detail string) error {
	if err == nil || detail == "" {
		return err
	}
	return &detailed{error: err, detail: detail}
}

// DetailOf is what an event says below the message of the error.
func DetailOf(err error) string {
	var d *detailed
	if errors.As(err, &d) {
		return "\n\n" + d.detail
	}
	return ""
}

// stall is the outcome of a phase that only a person can help.
type stall struct {
	reason string
	err    error
}

func (s *stall) Error() string { return s.err.Error() }
func (s *stall) Unwrap() error { return s.err }

// Stall says that retrying is of no use until the spec changes or somebody
// asks for a reconcile.
func Stall(reason string, err error) error {
	return &stall{reason: reason, err: err}
}

// Unsupported stalls an object on a field that this version does not
// implement.
func Unsupported(field string) error {
	return Stall(meta.UnsupportedFieldReason,
		fmt.Errorf("%s is set, but this version does not implement it: remove the field", field))
}

// ReasonOf is the reason of an error that is looked at again without anybody's
// help: one of Fail or Wait.
func ReasonOf(err error) (reason string, ok bool) {
	var (
		w *pending
		f *failure
	)
	switch {
	case errors.As(err, &w):
		return w.reason, true
	case errors.As(err, &f):
		return f.reason, true
	}
	return "", false
}

func hasOutcome(err error) bool {
	var (
		w *pending
		f *failure
		s *stall
	)
	return errors.As(err, &w) || errors.As(err, &f) || errors.As(err, &s) || errors.Is(err, ErrNotOwner)
}
