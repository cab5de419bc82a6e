package remote

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// renewPause is the shortest time between two looks at the Secret because of a
// refusal: credentials that are refused for good must not be read all the time.
const renewPause = time.Second

// wire is one way to a target: its server, a transport, and the credentials
// round it.
type wire struct {
	config    *rest.Config
	server    *url.URL
	transport *http.Transport
	// gated and raw reach the target through the gate, and past it.
	gated, raw http.RoundTripper
}

// newWire makes a way to the target without any I/O. Where only the credentials
// in the headers differ from those of another wire, it shares its connections.
func newWire(config *rest.Config, g *gate, timeout time.Duration, like *wire) (*wire, error) {
	made := &wire{config: config}
	var err error
	if made.server, _, err = rest.DefaultServerUrlFor(config); err != nil {
		return nil, refusedSettings("server of the kubeconfig", err)
	}
	if like != nil && like.sameConnection(config) {
		made.transport = like.transport
	} else if made.transport, err = newTransport(config, g, timeout); err != nil {
		return nil, err
	}
	gated := *g
	gated.next = made.transport
	if made.gated, err = rest.HTTPWrappersForConfig(config, &gated); err != nil {
		return nil, refusedSettings("credentials of the kubeconfig", err)
	}
	if made.raw, err = rest.HTTPWrappersForConfig(config, made.transport); err != nil {
		return nil, refusedSettings("credentials of the kubeconfig", err)
	}
	return made, nil
}

// sameConnection says whether a configuration needs no connection of its own.
func (w *wire) sameConnection(config *rest.Config) bool {
	return w.config.Host == config.Host && w.config.Proxy == nil && config.Proxy == nil &&
		w.config.ExecProvider == nil && config.ExecProvider == nil &&
		reflect.DeepEqual(w.config.TLSClientConfig, config.TLSClientConfig)
}

// sameCredentials says whether a configuration would be refused just as well.
func (w *wire) sameCredentials(config *rest.Config) bool {
	return w.sameConnection(config) && w.config.BearerToken == config.BearerToken &&
		w.config.Username == config.Username && w.config.Password == config.Password
}

// line is what the clients of a session hold on to: the way to the target,
// which can be changed under them.
type line struct {
	current atomic.Pointer[wire]
	// reload makes a wire of what the Secret says now; nil where it says nothing
	// new.
	reload func(context.Context, *wire) *wire

	clock clock.PassiveClock
	// renewing is held while the Secret is read after a refusal.
	renewing sync.Mutex
	renewed  time.Time
}

// put makes requests take another way from now on. Those under way, and
// watches, end on the old one.
func (l *line) put(w *wire) {
	old := l.current.Swap(w)
	if old != nil && old.transport != w.transport {
		old.transport.CloseIdleConnections()
	}
}

// renew looks for new credentials after those of the wire were refused. It says
// whether there are any.
func (l *line) renew(ctx context.Context, refused *wire) bool {
	l.renewing.Lock()
	defer l.renewing.Unlock()
	if l.current.Load() != refused {
		return true
	}
	if l.reload == nil || l.clock.Since(l.renewed) < renewPause {
		return false
	}
	l.renewed = l.clock.Now()
	made := l.reload(ctx, refused)
	if made == nil {
		return false
	}
	l.put(made)
	return true
}

// outlet is the outermost round tripper of a session.
type outlet struct {
	*line
	gated bool
}

// RoundTrip sends the request the current way. When the credentials are refused
// and the Secret has new ones, it sends it once more: a refused request has done
// nothing.
func (o *outlet) RoundTrip(request *http.Request) (*http.Response, error) {
	by := o.current.Load()
	response, err := o.send(by, request)
	if err != nil || response.StatusCode != http.StatusUnauthorized ||
		request.Body != nil && request.Body != http.NoBody && request.GetBody == nil {
		return response, err
	}
	if !o.renew(request.Context(), by) {
		return response, nil
	}
	again := request.Clone(request.Context())
	if request.GetBody != nil {
		again.Body, err = request.GetBody()
	}
	if err != nil {
		_ = response.Body.Close()
		return nil, fmt.Errorf("repeat a request that was refused: %w", err)
	}
	_ = response.Body.Close()
	return o.send(o.current.Load(), again)
}

// send sends the request to the wire's server, whatever server the session
// began with. The answer is bounded.
func (o *outlet) send(by *wire, request *http.Request) (*http.Response, error) {
	if request.URL.Host != by.server.Host || request.URL.Scheme != by.server.Scheme {
		moved := request.Clone(request.Context())
		moved.URL.Scheme, moved.URL.Host, moved.Host = by.server.Scheme, by.server.Host, ""
		request = moved
	}
	through, most := by.raw, int64(mostProbed)
	if o.gated {
		through, most = by.gated, mostAnswer
	}
	response, err := through.RoundTrip(request)
	if err == nil {
		bound(request, response, most)
	}
	return response, err
}
