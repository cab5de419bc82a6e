package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Failed turns what go-containerregistry says into one sentence with a reason:
// AuthenticationFailed where the login was refused, else the given one. Bodies
// of answers are left out: they can hold anything. A registry that says when to
// come back is waited for.
func (s *Session) Failed(ctx context.Context, reason, doing string, err error) error {
	if ctx.Err() == nil {
		s.forget() // else it is the time that was short, of this object alone
	}
	prefix := s.access.Remote + ": " + doing
	var answer *transport.Error
	var request *url.Error
	for errors.As(err, &request) {
		err = request.Err // its URL can hold a token
	}
	switch ended := context.Cause(ctx); {
	case ended != nil:
		err = fmt.Errorf("%s: %w", prefix, ended)
	case !errors.As(err, &answer):
		err = fmt.Errorf("%s: %s", prefix, reconcile.OneLine(err))
	case refused(answer):
		if s.login.forget != nil {
			s.login.forget()
		}
		reason = meta.AuthenticationFailedReason
		err = fmt.Errorf("%s: the registry answered %d: %s", prefix, answer.StatusCode, s.login.hint())
	case answer.StatusCode == http.StatusTooManyRequests:
		return s.slowDown(reason, prefix)
	case answer.StatusCode == http.StatusNotFound:
		err = fmt.Errorf("%s: the registry does not have it, or shows it to others alone: %s", prefix, s.login.hint())
	default:
		err = fmt.Errorf("%s: the registry answered %d", prefix, answer.StatusCode)
	}
	return reconcile.Fail(reason, err)
}

// Final says whether asking the same in another way would not help: the registry
// did not answer at all, refuses the login, or has had too many requests.
func Final(err error) bool {
	var answer *transport.Error
	return !errors.As(err, &answer) || answer.StatusCode == http.StatusTooManyRequests || refused(answer)
}

func refused(answer *transport.Error) bool {
	return answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden
}

// slowDown comes back when the registry said, where it said so.
func (s *Session) slowDown(reason, prefix string) error {
	message := prefix + ": the registry answered 429, too many requests"
	if after := time.Duration(s.bounds.retryAfter.Load()); after > 0 {
		return reconcile.Wait(reason, fmt.Sprintf("%s: trying again in %s", message, after), after)
	}
	return reconcile.Fail(reason, errors.New(message))
}
