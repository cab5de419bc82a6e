package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/headwater-dev/headwater/api/meta"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// errFenceInvalid refuses a write that came too late or too early. Nothing is
// wrong with what was to be written: the run is repeated soon.
var errFenceInvalid = reconcile.Wait(meta.FenceHeldReason, "write refused: this agent does not hold the target's fence", refusedAgain)

// errFenceCut ends what shares a connection with a write that came too late. Nothing is
// wrong with that either.
var errFenceCut = reconcile.Wait(meta.FenceHeldReason, "the connection was closed under a write that this agent was too late for", refusedAgain)

// refusedAgain is how soon a run is repeated in which a write was refused.
const refusedAgain = time.Second

// readLimit is how long an answer to a question may take, in request times: a
// target that hangs after it has taken the question must not hold its run for
// ever. Watches last as long as they last.
const readLimit = 3

// gate is the innermost round tripper of a target's only transport: it lets a
// write through while the fence is valid, bounds its time at the server and here,
// and refuses everything once the key has been handed over.
type gate struct {
	next  http.RoundTripper
	fence *fence
	// closed ends all requests of the target, those in flight included.
	closed context.Context
}

// RoundTrip sends the request if it may be sent.
func (g *gate) RoundTrip(request *http.Request) (*http.Response, error) {
	if g.closed.Err() != nil {
		return nil, reconcile.ErrNotOwner
	}
	if !mutates(request) {
		return g.read(request)
	}
	return g.write(request)
}

// read passes a request that changes nothing; it ends when the target closes.
func (g *gate) read(request *http.Request) (*http.Response, error) {
	parent, expire := request.Context(), context.CancelFunc(func() {})
	if !watches(request) {
		parent, expire = context.WithTimeout(parent, readLimit*g.fence.Request)
	}
	ctx, cancel := context.WithCancelCause(parent)
	stop := context.AfterFunc(g.closed, func() { cancel(reconcile.ErrNotOwner) })
	end := func() { stop(); cancel(nil); expire() }
	response, err := g.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		end()
		return nil, g.cause(err)
	}
	response.Body = &bodyWithEnd{ReadCloser: response.Body, end: end}
	return response, nil
}

// write passes a request that changes the target. The server is told to give up
// after R, since a client that goes away does not stop it.
func (g *gate) write(request *http.Request) (*http.Response, error) {
	allowed, ok := g.fence.enter()
	if !ok {
		writesRefused.Inc()
		return nil, errFenceInvalid
	}
	limit := g.fence.Request
	// What has passed since the write was allowed counts: this process may have
	// been stopped in between.
	ctx, cancel := context.WithTimeout(request.Context(), limit-g.fence.clock.Since(allowed))
	stop := context.AfterFunc(g.closed, cancel)
	end := func() { stop(); cancel() }

	bounded := request.Clone(ctx)
	query := bounded.URL.Query()
	query.Set("timeout", limit.Truncate(time.Millisecond).String())
	bounded.URL.RawQuery = query.Encode()
	response, err := g.next.RoundTrip(bounded)
	g.fence.leave()
	if err != nil {
		end()
		g.fence.unsettle()
		return nil, g.cause(fmt.Errorf("write to the target ended without an answer: %w", err))
	}
	if response.StatusCode == http.StatusBadGateway || response.StatusCode == http.StatusGatewayTimeout {
		// Whoever answered does not know whether it was done.
		g.fence.unsettle()
	}
	response.Body = &bodyWithEnd{ReadCloser: response.Body, end: end}
	return response, nil
}

// cause is why a request has failed: what the hand-over or the fence has cut off has
// not. Only this side closes a connection under a request.
func (g *gate) cause(err error) error {
	switch {
	case g.closed.Err() != nil:
		return reconcile.ErrNotOwner
	case errors.Is(err, net.ErrClosed):
		return errFenceCut
	}
	return err
}

// watches says whether an answer lasts as long as it lasts.
func watches(request *http.Request) bool {
	watch := request.URL.Query().Get("watch")
	return watch != "" && watch != "false"
}

// mutates says whether a request can change the target. Dry runs and the
// reviews that are POSTs in form only do not.
func mutates(request *http.Request) bool {
	switch request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	if request.URL.Query().Get("dryRun") == "All" {
		return false
	}
	return request.Method != http.MethodPost ||
		!strings.HasPrefix(request.URL.Path, "/apis/authorization.k8s.io/") &&
			!strings.HasPrefix(request.URL.Path, "/apis/authentication.k8s.io/")
}

// dial opens connections that the fence guards.
func (g *gate) dial(by *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := by.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &guardedConn{Conn: conn, fence: g.fence}, nil
	}
}

// guardedConn sends nothing while a write is overdue: a process that was stopped
// in the middle of a write, and continued when another agent had the fence, would
// else send the rest of it. The connection is of no use then.
type guardedConn struct {
	net.Conn
	fence *fence
}

// Write implements net.Conn.
func (c *guardedConn) Write(b []byte) (int, error) {
	if c.fence.overdue() {
		_ = c.Close()
		return 0, errFenceInvalid
	}
	return c.Conn.Write(b)
}

// bodyWithEnd runs end when the body is closed.
type bodyWithEnd struct {
	io.ReadCloser
	end func()
}

func (b *bodyWithEnd) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
