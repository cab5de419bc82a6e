package git

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

const (
	dialTimeout = 15 * time.Second
	idleTimeout = 90 * time.Second
	// maxListBytes bounds a list of references: some 500,000 of them.
	maxListBytes = 64 << 20
	// maxErrorBytes bounds what is read of the body of an error.
	maxErrorBytes = 4 << 10
)

// NewTransport is the HTTP transport for remotes that need no TLS settings of
// their own. It has no timeout for a whole request: spec.timeout is that.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		IdleConnTimeout:     idleTimeout,
		ForceAttemptHTTP2:   true,
	}
}

// session is a conversation with one remote.
type session struct {
	transport.UploadPackSession
	obj    *sourcev1.GitRepository
	secret string
	close  func()
}

// open prepares a session; nothing is sent yet. The caller calls close.
func (f *Fetcher) open(ctx context.Context, obj *sourcev1.GitRepository) (*session, error) {
	known, err := f.credentials(ctx, obj)
	if err != nil {
		return nil, err
	}
	s := &session{obj: obj, secret: known.secret, close: func() {}}
	base := f.Transport
	if known.tls != nil {
		base = base.Clone()
		base.TLSClientConfig = known.tls
		s.close = base.CloseIdleConnections
	}
	endpoint, err := transport.NewEndpoint(obj.Spec.URL)
	if err != nil {
		return nil, s.failed(ctx, "parsing", err)
	}
	// Redirects of the first request alone are followed, and go-git drops the
	// credentials when they lead to another host.
	client := githttp.NewClientWithOptions(&http.Client{Transport: bounded{base}},
		&githttp.ClientOptions{RedirectPolicy: githttp.FollowInitialRedirects})
	s.UploadPackSession, err = client.NewUploadPackSession(endpoint, known.auth)
	if err != nil {
		return nil, s.failed(ctx, "opening", err)
	}
	return s, nil
}

// list asks for the remote's references: one request.
func (s *session) list(ctx context.Context) (*packp.AdvRefs, error) {
	refs, err := s.AdvertisedReferencesContext(ctx)
	if err != nil {
		return nil, s.failed(ctx, "listing the references", err)
	}
	return refs, nil
}

// bounded keeps a remote from filling our memory with an endless list of
// references or an endless error. Packfiles go to disk.
type bounded struct {
	http.RoundTripper
}

// RoundTrip sends the request and bounds the answer's body.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	switch {
	case response.StatusCode >= http.StatusMultipleChoices:
		response.Body = body{io.LimitReader(response.Body, maxErrorBytes), response.Body}
	case request.Method == http.MethodGet:
		response.Body = body{&limited{response.Body, maxListBytes}, response.Body}
	}
	return response, nil
}

type body struct {
	io.Reader
	io.Closer
}

// limited fails, rather than ends, at its limit: half a list must not pass for
// a whole one.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("the list of references is longer than %d bytes", maxListBytes)
	}
	return n, err
}
