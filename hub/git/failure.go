package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/hub/access"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

const (
	// OperationFailedReason is for what a remote does not do.
	OperationFailedReason = "GitOperationFailed"
	emptyRepositoryReason = "EmptyGitRepository"
)

// Failed turns what go-git says into one sentence with a reason. Bodies of
// answers are left out: they can hold anything.
func (s *Session) Failed(ctx context.Context, doing string, err error) error {
	remote := PlainURL(s.obj.Spec.URL)
	reason := OperationFailedReason
	var status *githttp.Err
	var stranger *hostKeyError
	err = unwrap(err)
	switch ended := context.Cause(ctx); {
	case ended != nil: // and go-git's error hides it
		err = fmt.Errorf("spec.url %s: %s: %w", remote, doing, ended)
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		reason = emptyRepositoryReason
		err = fmt.Errorf("spec.url %s: the repository is empty", remote)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		err = fmt.Errorf("spec.url %s: there is no repository%s", remote, s.orCredentials())
	case errors.As(err, &stranger):
		err = fmt.Errorf("spec.url %s: %w of Secret %s (spec.secretRef)", remote, stranger, s.secret)
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed), refusedBySSH(err):
		if s.given.forget != nil {
			s.given.forget()
		}
		reason = meta.AuthenticationFailedReason
		err = fmt.Errorf("spec.url %s: authentication failed: %s", remote, s.credentialsHint())
	case errors.As(err, &status) && access.RetryAfter(status.Response.Header) > 0:
		after := access.RetryAfter(status.Response.Header)
		return reconcile.Wait(reason, fmt.Sprintf("spec.url %s: %s: the server answered %d: trying again in %s", remote, doing, status.StatusCode(), after), after)
	case errors.As(err, &status):
		err = fmt.Errorf("spec.url %s: %s: the server answered %d", remote, doing, status.StatusCode())
	case namesBySHA256(err):
		err = fmt.Errorf("spec.url %s: %s: the repository names its objects by SHA-256: such repositories cannot be read", remote, doing)
	case notGit(err):
		err = fmt.Errorf("spec.url %s: %s: the answer is not that of a Git server", remote, doing)
	default:
		err = fmt.Errorf("spec.url %s: %s: %s", remote, doing, reconcile.OneLine(err))
	}
	return reconcile.Fail(reason, err)
}

// Locate finds the target in the remote's list of references, and pins it down.
func (s *Session) Locate(t Target, refs *packp.AdvRefs) (pinned Target, commit plumbing.Hash, err error) {
	t, found, err := t.Pin(refs)
	if err != nil {
		return t, plumbing.ZeroHash, err
	}
	if found {
		_, commit, found = t.Find(refs)
	}
	if !found {
		return t, plumbing.ZeroHash, s.NotFound(t)
	}
	return t, commit, nil
}

// NotFound says that the remote has no such reference.
func (s *Session) NotFound(t Target) error {
	if t.ranged {
		return reconcile.Fail(OperationFailedReason,
			fmt.Errorf("%s %q: no tag of %s is a version in this range", t.Field, t.Value, PlainURL(s.obj.Spec.URL)))
	}
	return reconcile.Fail(OperationFailedReason,
		fmt.Errorf("%s %q does not exist in %s", t.Field, t.Value, PlainURL(s.obj.Spec.URL)))
}

func (s *Session) credentialsHint() string {
	if s.given.whose != "" {
		return fmt.Sprintf("the remote does not accept %s (spec.provider %s)", s.given.whose, s.obj.Spec.Provider)
	}
	if s.secret == "" {
		return "the remote wants credentials, and spec.secretRef is not set"
	}
	return fmt.Sprintf("the remote does not accept the credentials of Secret %s (spec.secretRef)", s.secret)
}

// orCredentials covers the hosts that hide private repositories.
func (s *Session) orCredentials() string {
	if s.given.whose != "" {
		return fmt.Sprintf(", or %s (spec.provider %s) does not reach it", s.given.whose, s.obj.Spec.Provider)
	}
	if s.secret == "" {
		return ", or it needs credentials (spec.secretRef)"
	}
	return fmt.Sprintf(", or the credentials of Secret %s (spec.secretRef) do not reach it", s.secret)
}

// notGit says that the remote answered with something else, such as a page.
func notGit(err error) bool {
	var unexpected *packp.ErrUnexpectedData
	return errors.Is(err, pktline.ErrInvalidPktLen) || errors.As(err, &unexpected)
}

// namesBySHA256 says that the remote is a repository of another object format, whose
// list go-git does not decode.
func namesBySHA256(err error) bool {
	var unexpected *packp.ErrUnexpectedData
	return errors.As(err, &unexpected) && bytes.Contains(unexpected.Data, []byte("object-format=sha256"))
}

// refusedBySSH says that the server accepted no key; the library has no type for
// that.
func refusedBySSH(err error) bool {
	return strings.Contains(err.Error(), "ssh: unable to authenticate")
}

// unwrap takes off the layers that hide a cause or repeat a URL, which may hold
// credentials.
func unwrap(err error) error {
	var unexpected *plumbing.UnexpectedError
	for errors.As(err, &unexpected) {
		err = unexpected.Err
	}
	var permanent *plumbing.PermanentError
	if errors.As(err, &permanent) {
		err = permanent.Err
	}
	var request *url.Error
	for errors.As(err, &request) {
		err = request.Err
	}
	return err
}

// PlainURL is the URL without credentials and query.
func PlainURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(which does not parse)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
