package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/headwater-dev/headwater/hub/source"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	pullFailedReason  = "OCIArtifactPullFailed"
	layerFailedReason = "OCIArtifactLayerOperationFailed"
	urlInvalidReason  = "URLInvalid"
	// maxCause bounds what is quoted of an error.
	maxCause = 300
	// maxRetryAfter bounds what a registry may ask us to wait.
	maxRetryAfter = time.Hour
)

// failed turns what go-containerregistry says into one sentence with a reason.
// Bodies of answers are left out: they can hold anything.
func (s *session) failed(ctx context.Context, doing string, err error) error {
	remote := "spec.url " + s.obj.Spec.URL
	reason := s.reason
	var answer *transport.Error
	var request *url.Error
	for errors.As(err, &request) {
		err = request.Err // its URL can hold a token
	}
	switch ended := ctx.Err(); {
	case errors.Is(ended, context.DeadlineExceeded):
		err = fmt.Errorf("%s: %s took longer than %s (spec.timeout): %w", remote, doing, s.obj.Timeout(), ended)
	case ended != nil:
		err = fmt.Errorf("%s: %s: %w", remote, doing, ended)
	case !errors.As(err, &answer):
		err = fmt.Errorf("%s: %s: %s", remote, doing, oneLine(err))
	case refused(answer):
		reason = source.AuthenticationFailedReason
		err = fmt.Errorf("%s: %s: the registry answered %d: %s", remote, doing, answer.StatusCode, s.login.hint())
	case answer.StatusCode == http.StatusTooManyRequests:
		err = s.slowDown(remote, doing)
	case answer.StatusCode == http.StatusNotFound:
		err = fmt.Errorf("%s: %s: the registry does not have it, or shows it to others alone: %s", remote, doing, s.login.hint())
	default:
		err = fmt.Errorf("%s: %s: the registry answered %d", remote, doing, answer.StatusCode)
	}
	return source.Fail(reason, err)
}

func refused(answer *transport.Error) bool {
	return answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden
}

// slowDown comes back when the registry said, where it said so in seconds.
func (s *session) slowDown(remote, doing string) error {
	message := fmt.Sprintf("%s: %s: the registry answered 429, too many requests", remote, doing)
	if said := s.guard.retryAfter.Load(); said != nil {
		if seconds, err := strconv.Atoi(*said); err == nil && seconds > 0 {
			after := min(time.Duration(seconds)*time.Second, maxRetryAfter)
			return reconcile.Wait(s.reason, fmt.Sprintf("%s: trying again in %s", message, after), after)
		}
	}
	return errors.New(message)
}

// oneLine is the error's text, as short as a sentence: a registry may have
// written a part of it.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
	if len(text) > maxCause {
		text = strings.ToValidUTF8(text[:maxCause], "") + "..."
	}
	return text
}

func withoutScheme(url string) string { return strings.TrimPrefix(url, "oci://") }
