package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/headwater-dev/headwater/hub/access"
)

// guard keeps what is sent to TLS, and what is answered within the bounds of the
// session that the request is from.
type guard struct {
	http.RoundTripper
	insecure bool
}

// bounds are those of one session.
type bounds struct {
	// text is how many bytes of other things than layers may yet come.
	text atomic.Int64
	// retryAfter is when the registry last asked us to come back, in nanoseconds.
	retryAfter atomic.Int64
}

type boundsKey struct{}

func newBounds() *bounds {
	b := &bounds{}
	b.text.Store(MaxTextBytes)
	return b
}

// in makes what is asked with the context count for the session.
func (b *bounds) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, boundsKey{}, b)
}

// boundsOf are those of the session that a request is from; of a request from
// none, its own.
func boundsOf(request *http.Request) *bounds {
	if b, ok := request.Context().Value(boundsKey{}).(*bounds); ok {
		return b
	}
	return newBounds()
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
	session := boundsOf(request)
	if response.StatusCode == http.StatusTooManyRequests {
		session.retryAfter.Store(int64(access.RetryAfter(response.Header)))
	}
	left := &session.text
	if request.Method == http.MethodGet && response.StatusCode < http.StatusMultipleChoices && isLayer(request) {
		left = new(atomic.Int64)
		left.Store(MaxLayerBytes)
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
		return 0, fmt.Errorf("the registry answers with more than it may: %d bytes for a layer, %d for the rest", int64(MaxLayerBytes), int64(MaxTextBytes))
	}
	return n, err
}
