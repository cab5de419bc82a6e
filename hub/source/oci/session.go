package oci

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/hub/source/access"
)

const (
	// maxTextBytes bounds all lists, manifests and errors of a session.
	maxTextBytes = 64 << 20
	// maxLayerBytes bounds a layer as it is sent.
	maxLayerBytes = 512 << 20
)

// session is a conversation with one registry.
type session struct {
	obj        *sourcev1.OCIRepository
	repository name.Repository
	login      login
	// reason of what fails for no better known reason.
	reason  string
	options []remote.Option
	guard   *guard
	close   func()
}

// open prepares a session; nothing is sent yet. The caller calls close.
func (f *Fetcher) open(ctx context.Context, obj *sourcev1.OCIRepository, repository name.Repository) (*session, error) {
	secrets := access.Secrets{Reader: f.Secrets, Namespace: obj.Namespace}
	found, err := f.login(ctx, secrets, obj, repository)
	if err != nil {
		return nil, err
	}
	base, done, err := secrets.Transport(ctx, f.Transport, obj.Spec.CertSecretRef, obj.Spec.ProxySecretRef)
	if err != nil {
		return nil, err
	}
	if obj.Spec.Insecure && obj.Spec.CertSecretRef == nil {
		base = base.Clone()
		base.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // G402: spec.insecure asks for it
		done = base.CloseIdleConnections
	}
	s := &session{obj: obj, repository: repository, login: found, reason: pullFailedReason, close: done}
	s.guard = &guard{RoundTripper: base, insecure: obj.Spec.Insecure}
	s.guard.text.Store(maxTextBytes)
	s.options = []remote.Option{
		remote.WithContext(ctx),
		remote.WithTransport(s.guard),
		remote.WithAuth(authn.FromConfig(found.config)),
		remote.WithUserAgent("headwater"),
		// The loop repeats what failed, with its own backoff.
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithRetryPredicate(func(error) bool { return false }),
		remote.WithRetryStatusCodes(),
	}
	return s, nil
}

// guard keeps what is sent to TLS, and what is answered within bounds.
type guard struct {
	http.RoundTripper
	insecure bool
	// text is how many bytes of other things than layers may yet come.
	text atomic.Int64
	// retryAfter is what the registry said of when to come back.
	retryAfter atomic.Pointer[string]
}

// errPlain says that a registry, or a redirect of it, is reached without TLS.
var errPlain = errors.New("it is reached by plain HTTP, which spec.insecure does not allow")

// RoundTrip sends the request and bounds the answer's body.
func (g *guard) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" && !g.insecure {
		return nil, errPlain
	}
	response, err := g.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	redirected := response.StatusCode >= http.StatusMultipleChoices && response.StatusCode < http.StatusBadRequest
	if request.Method == http.MethodPost && redirected {
		// The body holds a token, and a redirect would take it along.
		return nil, errors.Join(errors.New("the token service redirects"), response.Body.Close())
	}
	if response.StatusCode == http.StatusTooManyRequests {
		after := response.Header.Get("Retry-After")
		g.retryAfter.Store(&after)
	}
	left := &g.text
	if request.Method == http.MethodGet && response.StatusCode < http.StatusMultipleChoices && isLayer(request) {
		left = new(atomic.Int64)
		left.Store(maxLayerBytes)
	}
	response.Body = &bounded{ReadCloser: response.Body, left: left}
	return response, nil
}

// isLayer says whether the request is for a blob, at the registry or where it
// has led to.
func isLayer(request *http.Request) bool {
	for first := request; ; first = first.Response.Request {
		if strings.Contains(first.URL.Path, "/blobs/") {
			return true
		}
		if first.Response == nil || first.Response.Request == nil {
			return false
		}
	}
}

// bounded fails, rather than ends, at its limit: half a list must not pass for
// a whole one.
type bounded struct {
	io.ReadCloser
	left *atomic.Int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left.Add(-int64(n)) < 0 {
		return 0, fmt.Errorf("the registry answers with more than it may: %d bytes for a layer, %d for the rest", int64(maxLayerBytes), int64(maxTextBytes))
	}
	return n, err
}
