package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
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
	// text is how much of other things than layers may yet come.
	text *allowance
	// retryAfter is when the registry last asked us to come back, in nanoseconds.
	retryAfter atomic.Int64
}

type boundsKey struct{}

func newBounds() *bounds {
	return &bounds{text: newAllowance(MaxTextBytes, maxTextElements)}
}

// allowance is how many bytes of text may yet come, and how many elements of JSON:
// what an element is decoded into can be fifty times as large as its text.
type allowance struct{ bytes, elements atomic.Int64 }

func newAllowance(bytes, elements int64) *allowance {
	a := &allowance{}
	a.bytes.Store(bytes)
	a.elements.Store(elements)
	return a
}

// spend says whether so much was left.
func (a *allowance) spend(bytes, elements int) bool {
	return a.bytes.Add(-int64(bytes)) >= 0 && a.elements.Add(-int64(elements)) >= 0
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
	answer := &bounded{ReadCloser: response.Body, left: []*allowance{session.text}}
	success := request.Method == http.MethodGet && response.StatusCode < http.StatusMultipleChoices
	switch {
	case success && isLayer(request):
		answer.left = []*allowance{newAllowance(MaxLayerBytes, 0)}
		answer.layer = true
	case isManifest(request):
		answer.left = append(answer.left, newAllowance(maxManifestBytes, maxManifestElements))
	}
	response.Body = answer
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

// isManifest says whether the request is for a manifest, or for those that refer to
// one, at the registry or where it has led to.
func isManifest(request *http.Request) bool {
	for request.Response != nil && request.Response.Request != nil {
		request = request.Response.Request
	}
	kind := path.Base(path.Dir(request.URL.Path))
	return kind == "manifests" || kind == "referrers"
}

// bounded fails, rather than ends, at its limit: half a list must not pass for
// a whole one.
type bounded struct {
	io.ReadCloser
	left  []*allowance
	layer bool // has no elements
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	count := 0
	if !b.layer {
		count = access.Elements(p[:n])
	}
	for _, left := range b.left {
		if !left.spend(n, count) {
			return 0, fmt.Errorf("the registry answers with more than it may: %d bytes for a layer, %d and %d elements for a manifest, %d and %d for all but layers",
				int64(MaxLayerBytes), maxManifestBytes, maxManifestElements, MaxTextBytes, maxTextElements)
		}
	}
	return n, err
}
