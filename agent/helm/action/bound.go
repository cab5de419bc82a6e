package action

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// patience is how long a request, or post-renderers, may take before the action counts
// as one that waits: a target that hangs must not take the places of others.
const patience = 250 * time.Millisecond

// bind returns the configuration with every request bound to the context, and
// those that may write to what hold says: where it refuses one, all is ended.
func bind(ctx context.Context, access Access, end context.CancelCauseFunc) *rest.Config {
	bound := rest.CopyConfig(access.Config)
	bound.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &boundTransport{ctx: ctx, next: next, end: end, hold: access.Hold, yield: access.Yield}
	})
	return bound
}

// boundTransport ends requests with an action: most of Helm's calls have no
// context of their own.
type boundTransport struct {
	ctx   context.Context
	next  http.RoundTripper
	end   context.CancelCauseFunc
	hold  func(context.Context) error
	yield func() (resume func())
}

// RoundTrip sends the request while the action goes on.
func (b *boundTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if b.ctx.Err() != nil {
		return nil, context.Cause(b.ctx)
	}
	if request.Method != http.MethodGet && request.Method != http.MethodHead {
		if err := b.hold(b.ctx); err != nil {
			b.end(err)
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(request.Context())
	stop := context.AfterFunc(b.ctx, cancel)
	end := func() { stop(); cancel() }
	response, err := b.send(request.WithContext(ctx))
	if err != nil {
		end()
		if errors.Is(err, reconcile.ErrNotOwner) {
			b.end(err)
		}
		return nil, err
	}
	response.Body = &endingBody{ReadCloser: response.Body, end: end}
	if err := mask(request, response); err != nil {
		_ = response.Body.Close()
		return nil, err
	}
	return response, nil
}

// send gives the action's place up while the target takes its time.
func (b *boundTransport) send(request *http.Request) (response *http.Response, err error) {
	patiently(b.yield, func() { response, err = b.next.RoundTrip(request) }) //nolint:bodyclose // who asked closes it
	return response, err
}

// patiently gives the action's place up while something takes its time.
func patiently(yield func() (resume func()), do func()) {
	resume := make(chan func(), 1)
	late := time.AfterFunc(patience, func() { resume <- yield() })
	defer func() {
		if !late.Stop() {
			(<-resume)()
		}
	}()
	do()
}

// endingBody runs end when the body is closed.
type endingBody struct {
	io.ReadCloser
	end func()
}

// Close implements io.Closer.
func (b *endingBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
